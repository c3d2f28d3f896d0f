"""Writes pspnet_semseg.npz: PSPNet under the names of its authors' PyTorch code, semseg.

python tests/golden/pspnet.py    (made with torchvision 0.28)

semseg is no package; this is its network from torchvision's parts: a stem of three convolutions,
all units of stages 3 and 4 dilated by 2 and 4, and corner-aligned resizing. A sixteenth as wide.
"""

import torch
from reference import save
from torch import nn
from torch.nn import functional as F
from torchvision.models.resnet import Bottleneck


def conv(channels, features, size, **options):
    return nn.Conv2d(channels, features, size, padding=size // 2, bias=False, **options)


def block(channels, features, size, **options):
    return [conv(channels, features, size, **options), nn.BatchNorm2d(features), nn.ReLU()]


def stage(channels, width, units, stride, dilation):
    skip = nn.Sequential(conv(channels, 4 * width, 1, stride=stride), nn.BatchNorm2d(4 * width))
    first = Bottleneck(channels, width, stride, skip, dilation=dilation)
    rest = (Bottleneck(4 * width, width, dilation=dilation) for _ in range(units - 1))
    return nn.Sequential(first, *rest)


def head(channels, features, classes):
    return nn.Sequential(
        *block(channels, features, 3), nn.Dropout2d(0.1), nn.Conv2d(features, classes, 1)
    )


class PyramidPooling(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.features = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(bins), *block(channels, channels // 4, 1))
            for bins in (1, 2, 3, 6)
        )

    def forward(self, x):
        levels = [
            F.interpolate(level(x), x.shape[2:], mode="bilinear", align_corners=True)
            for level in self.features
        ]
        return torch.cat([x, *levels], 1)


class PSPNet(nn.Module):
    def __init__(self, classes):
        super().__init__()
        stem = (*block(3, 4, 3, stride=2), *block(4, 4, 3), *block(4, 8, 3))
        self.layer0 = nn.Sequential(*stem, nn.MaxPool2d(3, 2, 1))
        self.layer1 = stage(8, 4, 1, 1, 1)
        self.layer2 = stage(16, 8, 1, 2, 1)
        self.layer3 = stage(32, 16, 2, 1, 2)
        self.layer4 = stage(64, 32, 2, 1, 4)
        self.ppm = PyramidPooling(128)
        self.cls = head(256, 32, classes)
        self.aux = head(64, 16, classes)

    def forward(self, image):
        middle = self.layer3(self.layer2(self.layer1(self.layer0(image))))
        out = {"out": self.cls(self.ppm(self.layer4(middle))), "aux": self.aux(middle)}
        return {
            key: F.interpolate(x, image.shape[2:], mode="bilinear", align_corners=True)
            for key, x in out.items()
        }


save("pspnet_semseg", PSPNet(3), (41, 57), batch=3)
