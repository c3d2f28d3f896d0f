"""Writes linknet_{paper,smp}.npz: two LinkNets, small.

python tests/golden/linknet.py    (made with torch 2.13, segmentation-models-pytorch 0.6.0)

'paper' is written down from the layers of the Lua release, under names of its own. That of the
surgical-instrument release is in ternausnet.py.
"""

import segmentation_models_pytorch as smp
import torch.nn.functional as F
from narrow_resnet import narrow_resnet
from reference import save
from segmentation_models_pytorch.encoders.resnet import ResNetEncoder
from torch import nn
from torchvision.models.resnet import BasicBlock

WIDTH = 8


class Decoder(nn.Module):
    def __init__(self, channels, features, deconv, eps):
        super().__init__()
        quarter = channels // 4
        self.conv1 = nn.Conv2d(channels, quarter, 1)
        self.norm1 = nn.BatchNorm2d(quarter, eps)
        self.deconv2 = deconv(quarter, quarter)
        self.norm2 = nn.BatchNorm2d(quarter, eps)
        self.conv3 = nn.Conv2d(quarter, features, 1)
        self.norm3 = nn.BatchNorm2d(features, eps)

    def forward(self, x):
        x = F.relu(self.norm1(self.conv1(x)))
        x = F.relu(self.norm2(self.deconv2(x)))
        return F.relu(self.norm3(self.conv3(x)))


class LinkNet(nn.Module):
    """The encoder and the decoders."""

    def __init__(self, deconvs, eps):
        super().__init__()
        resnet = narrow_resnet(BasicBlock, (1, 1, 1, 1), WIDTH)
        self.firstconv, self.firstbn, self.pool = resnet.conv1, resnet.bn1, resnet.maxpool
        widths = [WIDTH, WIDTH, 2 * WIDTH, 4 * WIDTH, 8 * WIDTH]
        for i in (1, 2, 3, 4):
            setattr(self, f"encoder{i}", getattr(resnet, f"layer{i}"))
            setattr(self, f"decoder{i}", Decoder(widths[i], widths[i - 1], deconvs[i - 1], eps))

    def encode(self, x):
        maps = [self.pool(F.relu(self.firstbn(self.firstconv(x))))]
        for encoder in (self.encoder1, self.encoder2, self.encoder3, self.encoder4):
            maps.append(encoder(maps[-1]))
        return maps


class Paper(LinkNet):
    def __init__(self):
        def strided(m, n):
            return nn.ConvTranspose2d(m, n, 3, 2, padding=1, output_padding=1)

        def unit(m, n):
            return nn.ConvTranspose2d(m, n, 3, 1, padding=1)

        super().__init__([unit, strided, strided, strided], eps=1e-3)
        self.up1, self.norm1 = strided(WIDTH, 4), nn.BatchNorm2d(4, 1e-5)
        self.conv, self.norm2 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4, 1e-3)
        self.up2 = nn.ConvTranspose2d(4, 3, 2, 2)

    def forward(self, x):
        maps = self.encode(x)
        x = F.relu(self.decoder4(maps[4]) + maps[3])
        x = F.relu(self.decoder3(x) + maps[2])
        x = F.relu(self.decoder2(x) + maps[1])
        x = F.relu(self.decoder1(x) + maps[0])
        x = F.relu(self.norm1(self.up1(x)))
        return self.up2(F.relu(self.norm2(self.conv(x))))


save("linknet_paper", Paper(), (32, 64), batch=3)
model = smp.Linknet("resnet18", encoder_weights=None, classes=3)
model.encoder = ResNetEncoder(
    out_channels=(3, 64, 64, 128, 256, 512), block=BasicBlock, layers=[1, 1, 1, 1]
)
save("linknet_smp", model, (64, 32))
