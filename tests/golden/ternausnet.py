"""Writes {ternausnet11,ternausnet16,albunet}_authors.npz: small ones, under the authors' names.

python tests/golden/ternausnet.py    (made with torch 2.13)

Written down from the layers of the two releases. The encoder's arrays have two names each.
"""

import torch
import torch.nn.functional as F
from narrow_resnet import narrow_resnet
from reference import save
from torch import nn
from torchvision.models.resnet import BasicBlock
from torchvision.models.vgg import make_layers

CLASSES = 3


class ConvRelu(nn.Module):
    def __init__(self, channels, features):
        super().__init__()
        self.conv = nn.Conv2d(channels, features, 3, padding=1)

    def forward(self, x):
        return F.relu(self.conv(x))


class Block(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.block = nn.Sequential(*layers)

    def forward(self, x):
        return self.block(x)


def conv_up(channels, middle, features):
    deconv = nn.ConvTranspose2d(middle, features, 3, 2, padding=1, output_padding=1)
    return Block(ConvRelu(channels, middle), deconv, nn.ReLU())


def up_convs(channels, middle, features):
    up = nn.Upsample(scale_factor=2, mode="bilinear")
    return Block(up, ConvRelu(channels, middle), ConvRelu(middle, features))


class Decoder(nn.Module):
    """center, dec5, ... : `skips` are their channels from the deepest, 0 where there is none."""

    def decoder(self, block, skips, widths):
        self.names = ["center", "dec5", "dec4", "dec3", "dec2", "dec1"][: len(skips)]
        channels = skips[0]
        for name, skip, (middle, features) in zip(self.names, skips, widths, strict=True):
            setattr(self, name, block(channels, middle, features))
            channels = features + skip
        self.last = "dec1" if len(skips) == 5 else "dec0"
        setattr(self, self.last, ConvRelu(channels, features))
        self.final = nn.Conv2d(features, CLASSES, 1)

    def decode(self, maps):
        x = F.max_pool2d(maps[-1], 2)
        for name, skip in zip(self.names, [*reversed(maps), None, None], strict=False):
            x = getattr(self, name)(x)
            if skip is not None:
                x = torch.cat([x, skip], 1)
        return self.final(getattr(self, self.last)(x))


class UNet11(Decoder):
    def __init__(self):
        super().__init__()
        self.encoder = make_layers([4, "M", 6, "M", 8, 8, "M", 12, 12, "M", 10, 10, "M"])
        names = {0: "conv1", 3: "conv2", 6: "conv3s", 8: "conv3", 11: "conv4s", 13: "conv4"}
        for i, name in {**names, 16: "conv5s", 18: "conv5"}.items():
            setattr(self, name, self.encoder[i])
        widths = [(9, 8), (8, 7), (7, 6), (6, 5), (5, 4)]
        self.decoder(conv_up, [10, 12, 8, 6, 4], widths)

    def forward(self, x):
        maps = [F.relu(self.conv1(x))]
        maps.append(F.relu(self.conv2(F.max_pool2d(maps[-1], 2))))
        for first, second in (("conv3s", "conv3"), ("conv4s", "conv4"), ("conv5s", "conv5")):
            x = F.relu(getattr(self, first)(F.max_pool2d(maps[-1], 2)))
            maps.append(F.relu(getattr(self, second)(x)))
        return self.decode(maps)


class UNet16(Decoder):
    def __init__(self):
        super().__init__()
        layers = [4, 4, "M", 6, 6, "M", 8, 8, 8, "M", 12, 12, 12, "M", 10, 10, 10, "M"]
        self.encoder = make_layers(layers)
        starts = [(0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28)]
        for n, indices in enumerate(starts, 1):
            relus = [x for i in indices for x in (self.encoder[i], nn.ReLU())]
            setattr(self, f"conv{n}", nn.Sequential(*relus))
        widths = [(9, 8), (8, 7), (7, 6), (6, 5), (5, 4)]
        self.decoder(up_convs, [10, 12, 8, 6, 4], widths)

    def forward(self, x):
        maps = [self.conv1(x)]
        for n in (2, 3, 4, 5):
            maps.append(getattr(self, f"conv{n}")(F.max_pool2d(maps[-1], 2)))
        return self.decode(maps)


class AlbuNet(Decoder):
    def __init__(self):
        super().__init__()
        self.encoder = net = narrow_resnet(BasicBlock, (1, 2, 1, 1), 4)
        net.fc = nn.Linear(32, 10)
        self.conv1 = nn.Sequential(net.conv1, net.bn1, net.relu, nn.MaxPool2d(2, 2))
        self.conv2, self.conv3, self.conv4 = net.layer1, net.layer2, net.layer3
        self.conv5 = net.layer4
        widths = [(9, 8), (8, 7), (7, 6), (6, 5), (5, 4), (6, 5)]
        self.decoder(up_convs, [32, 16, 8, 4, 0, 0], widths)

    def forward(self, x):
        maps = [self.conv2(self.conv1(x))]
        for conv in (self.conv3, self.conv4, self.conv5):
            maps.append(conv(maps[-1]))
        return self.decode(maps)


save("ternausnet11_authors", UNet11(), (64, 32), batch=3)
save("ternausnet16_authors", UNet16(), (32, 64))
save("albunet_authors", AlbuNet(), (64, 128))
