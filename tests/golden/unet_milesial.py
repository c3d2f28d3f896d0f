"""Writes unet_milesial{,_bilinear}.npz: the common padded U-Net under its checkpoints' names.

python tests/golden/unet_milesial.py    (made with torch 2.13)

Written after https://github.com/milesial/Pytorch-UNet (unet/unet_parts.py, unet/unet_model.py) with
a sixteenth of its width; sizes are multiples of 16, so that nothing is padded.
"""

import torch
from reference import save
from torch import nn


class DoubleConv(nn.Module):
    def __init__(self, channels, out, mid=None):
        super().__init__()
        mid = mid or out
        self.double_conv = nn.Sequential(
            nn.Conv2d(channels, mid, 3, padding=1, bias=False),
            nn.BatchNorm2d(mid),
            nn.ReLU(),
            nn.Conv2d(mid, out, 3, padding=1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(),
        )

    def forward(self, x):
        return self.double_conv(x)


class Down(nn.Module):
    def __init__(self, channels, out):
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), DoubleConv(channels, out))

    def forward(self, x):
        return self.maxpool_conv(x)


class Up(nn.Module):
    def __init__(self, channels, out, bilinear):
        super().__init__()
        if bilinear:
            self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
            self.conv = DoubleConv(channels, out, channels // 2)
        else:
            self.up = nn.ConvTranspose2d(channels, channels // 2, 2, stride=2)
            self.conv = DoubleConv(channels, out)

    def forward(self, below, skip):
        return self.conv(torch.cat([skip, self.up(below)], dim=1))


class OutConv(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.conv = nn.Conv2d(channels, classes, 1)

    def forward(self, x):
        return self.conv(x)


class UNet(nn.Module):
    def __init__(self, channels, classes, bilinear, width):
        super().__init__()
        w = [width * 2**i for i in range(5)]
        factor = 2 if bilinear else 1
        self.inc = DoubleConv(channels, w[0])
        self.down1 = Down(w[0], w[1])
        self.down2 = Down(w[1], w[2])
        self.down3 = Down(w[2], w[3])
        self.down4 = Down(w[3], w[4] // factor)
        self.up1 = Up(w[4], w[3] // factor, bilinear)
        self.up2 = Up(w[3], w[2] // factor, bilinear)
        self.up3 = Up(w[2], w[1] // factor, bilinear)
        self.up4 = Up(w[1], w[0], bilinear)
        self.outc = OutConv(w[0], classes)

    def forward(self, x):
        skips = [x1 := self.inc(x), x2 := self.down1(x1), x3 := self.down2(x2)]
        skips.append(self.down3(x3))
        x = self.down4(skips[3])
        for up, skip in zip((self.up1, self.up2, self.up3, self.up4), skips[::-1], strict=True):
            x = up(x, skip)
        return self.outc(x)


save("unet_milesial", UNet(3, 2, bilinear=False, width=4), (48, 32), batch=1)
save("unet_milesial_bilinear", UNet(3, 2, bilinear=True, width=4), (32, 48), batch=3)
