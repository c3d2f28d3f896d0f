"""Writes mimo_unet_torch.npz: a small MIMO-UNet in torch, with the names of the authors' code.

python tests/golden/mimo_unet.py    (made with torch 2.13)
"""

import torch
from reference import save
from torch import nn
from torch.nn import functional


class Basic(nn.Module):
    """What the authors call BasicConv: a layer and, where asked, ReLU."""

    def __init__(self, channels, features, size, relu, stride=1, transpose=False):
        super().__init__()
        if transpose:
            layer = nn.ConvTranspose2d(channels, features, size, stride, size // 2 - 1)
        else:
            layer = nn.Conv2d(channels, features, size, stride, size // 2)
        self.main = nn.Sequential(layer, *([nn.ReLU()] if relu else []))

    def forward(self, x):
        return self.main(x)


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.main = nn.Sequential(Basic(width, width, 3, True), Basic(width, width, 3, False))

    def forward(self, x):
        return self.main(x) + x


class Stage(nn.Module):
    def __init__(self, width, blocks):
        super().__init__()
        self.layers = nn.Sequential(*(Residual(width) for _ in range(blocks)))

    def forward(self, x):
        return self.layers(x)


class AFF(nn.Module):
    def __init__(self, channels, features):
        super().__init__()
        first = Basic(channels, features, 1, True)
        self.conv = nn.Sequential(first, Basic(features, features, 3, False))

    def forward(self, *maps):
        return self.conv(torch.cat(maps, 1))


class SCM(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.main = nn.Sequential(
            Basic(3, features // 4, 3, True),
            Basic(features // 4, features // 2, 1, True),
            Basic(features // 2, features // 2, 3, True),
            Basic(features // 2, features - 3, 1, True),
        )
        self.conv = Basic(features, features, 1, False)

    def forward(self, x):
        return self.conv(torch.cat([x, self.main(x)], 1))


class FAM(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.merge = Basic(width, width, 3, False)

    def forward(self, x, shallow):
        return x + self.merge(x * shallow)


class MIMOUNet(nn.Module):
    def __init__(self, w, blocks):
        super().__init__()
        self.Encoder = nn.ModuleList(Stage(n, blocks) for n in (w, 2 * w, 4 * w))
        self.Decoder = nn.ModuleList(Stage(n, blocks) for n in (4 * w, 2 * w, w))
        self.feat_extract = nn.ModuleList(
            [
                Basic(3, w, 3, True),
                Basic(w, 2 * w, 3, True, 2),
                Basic(2 * w, 4 * w, 3, True, 2),
                Basic(4 * w, 2 * w, 4, True, 2, transpose=True),
                Basic(2 * w, w, 4, True, 2, transpose=True),
                Basic(w, 3, 3, False),
            ]
        )
        self.Convs = nn.ModuleList([Basic(4 * w, 2 * w, 1, True), Basic(2 * w, w, 1, True)])
        self.ConvsOut = nn.ModuleList([Basic(4 * w, 3, 3, False), Basic(2 * w, 3, 3, False)])
        self.AFFs = nn.ModuleList([AFF(7 * w, w), AFF(7 * w, 2 * w)])
        self.FAM1, self.SCM1 = FAM(4 * w), SCM(4 * w)
        self.FAM2, self.SCM2 = FAM(2 * w), SCM(2 * w)

    def forward(self, x):
        def resize(x, factor):
            return functional.interpolate(x, scale_factor=factor)

        x2 = resize(x, 0.5)
        x4 = resize(x2, 0.5)
        res1 = self.Encoder[0](self.feat_extract[0](x))
        z = self.FAM2(self.feat_extract[1](res1), self.SCM2(x2))
        res2 = self.Encoder[1](z)
        z = self.FAM1(self.feat_extract[2](res2), self.SCM1(x4))
        z = self.Encoder[2](z)
        fused2 = self.AFFs[1](resize(res1, 0.5), res2, resize(z, 2))
        fused1 = self.AFFs[0](res1, resize(res2, 2), resize(resize(z, 2), 2))
        z = self.Decoder[0](z)
        quarter = self.ConvsOut[0](z) + x4
        z = self.Decoder[1](self.Convs[0](torch.cat([self.feat_extract[3](z), fused2], 1)))
        half = self.ConvsOut[1](z) + x2
        z = self.Decoder[2](self.Convs[1](torch.cat([self.feat_extract[4](z), fused1], 1)))
        return {"full": self.feat_extract[5](z) + x, "half": half, "quarter": quarter}


if __name__ == "__main__":
    save("mimo_unet_torch", MIMOUNet(8, 2), (16, 28), batch=2)
    for blocks in (8, 20):
        print(blocks, sum(x.numel() for x in MIMOUNet(32, blocks).parameters()))
