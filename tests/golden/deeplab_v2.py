"""Writes deeplab_v2_port.npz: DeepLab v2 under the names of its port to PyTorch.

python tests/golden/deeplab_v2.py    (made with torch 2.13)

The port (deeplab-pytorch by K. Nakashima) is no package; this is its network at a sixteenth of the
width: Caffe's ResNet (stride in the first 1x1, pooling rounded up, all units of a stage dilated),
ASPP by summation, three scales and their maximum. It resizes by half pixels.
"""

import torch
from reference import save
from torch import nn
from torch.nn import functional as F


def resize(x, size):
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class ConvNorm(nn.Sequential):
    def __init__(self, channels, features, size, stride=1, dilation=1):
        super().__init__()
        pad = dilation * (size - 1) // 2
        self.conv = nn.Conv2d(channels, features, size, stride, pad, dilation, bias=False)
        self.bn = nn.BatchNorm2d(features)


class Unit(nn.Module):
    def __init__(self, channels, features, stride, dilation):
        super().__init__()
        self.reduce = ConvNorm(channels, features // 4, 1, stride)
        self.conv3x3 = ConvNorm(features // 4, features // 4, 3, dilation=dilation)
        self.increase = ConvNorm(features // 4, features, 1)
        same = channels == features and stride == 1
        self.shortcut = nn.Identity() if same else ConvNorm(channels, features, 1, stride)

    def forward(self, x):
        y = F.relu(self.conv3x3(F.relu(self.reduce(x))))
        return F.relu(self.increase(y) + self.shortcut(x))


class Stage(nn.Sequential):
    def __init__(self, units, channels, features, stride, dilation):
        super().__init__()
        for i in range(1, units + 1):
            unit = Unit(channels, features, stride if i == 1 else 1, dilation)
            self.add_module(f"block{i}", unit)
            channels = features


class Stem(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.conv1 = ConvNorm(3, features, 7, 2)

    def forward(self, x):
        return F.max_pool2d(F.relu(self.conv1(x)), 3, 2, 1, ceil_mode=True)


class Pyramid(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        for i, rate in enumerate((6, 12, 18, 24)):
            branch = nn.Conv2d(channels, classes, 3, padding=rate, dilation=rate)
            self.add_module(f"c{i}", branch)

    def forward(self, x):
        return sum(branch(x) for branch in self.children())


class DeepLabV2(nn.Sequential):
    def __init__(self, classes):
        super().__init__()
        self.layer1 = Stem(4)
        self.layer2 = Stage(1, 4, 16, 1, 1)
        self.layer3 = Stage(1, 16, 32, 2, 1)
        self.layer4 = Stage(2, 32, 64, 1, 2)
        self.layer5 = Stage(1, 64, 128, 1, 4)
        self.aspp = Pyramid(128, classes)


class MultiScale(nn.Module):
    def __init__(self, base):
        super().__init__()
        self.base = base

    def forward(self, image):
        sizes = {s: [int(n * s) for n in image.shape[2:]] for s in (1, 0.75, 0.5)}
        out = {f"scale_{s:g}": self.base(resize(image, size)) for s, size in sizes.items()}
        out = {key: resize(x, out["scale_1"].shape[2:]) for key, x in out.items()}
        out["out"] = torch.stack(list(out.values())).max(0)[0]
        kept = {key: out[key] for key in ("out", "scale_0.75")}
        return {key: resize(x, image.shape[2:]) for key, x in kept.items()}


save("deeplab_v2_port", MultiScale(DeepLabV2(2)), (104, 71))
