"""Writes unet3d_torch.npz and unet3d_torch_same.npz: small 3D U-Nets in torch, Çiçek et al. 2016.

python tests/golden/unet3d.py    (made with torch 2.13)
"""

import torch
from reference import save
from torch import nn


class Pair(nn.Module):
    def __init__(self, channels, first, second, padding):
        super().__init__()
        self.conv1 = nn.Conv3d(channels, first, 3, padding=padding)
        self.bn1 = nn.BatchNorm3d(first)
        self.conv2 = nn.Conv3d(first, second, 3, padding=padding)
        self.bn2 = nn.BatchNorm3d(second)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(x)))


class UNet3D(nn.Module):
    def __init__(self, channels, classes, width, depth, padding):
        super().__init__()
        self.encoder, self.decoder, self.up = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for level in range(depth):
            w = width * 2**level
            self.encoder.append(Pair(channels, w, 2 * w, padding))
            channels = 2 * w
        w = width * 2**depth
        self.bottom = Pair(channels, w, 2 * w, padding)
        for level in range(depth):
            w = width * 2 ** (level + 1)
            self.up.append(nn.ConvTranspose3d(2 * w, 2 * w, 2, 2, bias=False))
            self.decoder.append(Pair(3 * w, w, w, padding))
        self.head = nn.Conv3d(2 * width, classes, 1)

    def forward(self, x):
        skips = []
        for pair in self.encoder:
            x = pair(x)
            skips.append(x)
            x = nn.functional.max_pool3d(x, 2)
        x = self.bottom(x)
        for level in reversed(range(len(skips))):
            x, skip = self.up[level](x), skips[level]
            for axis in (2, 3, 4):
                skip = skip.narrow(axis, (skip.shape[axis] - x.shape[axis]) // 2, x.shape[axis])
            x = self.decoder[level](torch.cat([skip, x], 1))
        return self.head(x)


save("unet3d_torch", UNet3D(2, 3, 4, 1, 0), (18, 20, 24), channels=2, batch=2)
save("unet3d_torch_same", UNet3D(1, 2, 2, 2, 1), (8, 12, 16), channels=1, batch=3)
