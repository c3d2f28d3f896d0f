"""Writes hourglass_torch.npz: a hourglass that unpools with its max-pools' positions, in torch.

python tests/golden/hourglass.py    (made with torch 2.13)
"""

import torch
from reference import save
from torch import nn


class Block(nn.Module):
    def __init__(self, channels, features):
        super().__init__()
        self.conv = nn.Conv2d(channels, features, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(features)

    def forward(self, x):
        return torch.relu(self.norm(self.conv(x)))


class Up(nn.Module):
    def __init__(self, channels, features):
        super().__init__()
        if channels != features:
            self.project = nn.Conv2d(channels, features, 1)

    def forward(self, x, positions):
        x = self.project(x) if hasattr(self, "project") else x
        return nn.functional.max_unpool2d(x, positions, 2)


class Hourglass(nn.Module):
    def __init__(self, classes, width, depth):
        super().__init__()
        channels = 3
        for level in range(depth):
            for i in (1, 2):
                self.add_module(f"down{level}_{i}", Block(channels, width * 2**level))
                channels = width * 2**level
        for level in reversed(range(depth)):
            self.add_module(f"up{level}", Up(channels, width * 2**level))
            channels = 2 * width * 2**level
            for i in (1, 2):
                self.add_module(f"merge{level}_{i}", Block(channels, width * 2**level))
                channels = width * 2**level
        self.head = nn.Conv2d(channels, classes, 1)
        self.depth = depth

    def forward(self, x):
        skips = []
        for level in range(self.depth):
            for i in (1, 2):
                x = getattr(self, f"down{level}_{i}")(x)
            pooled, positions = nn.functional.max_pool2d(x, 2, return_indices=True)
            skips.append((x, positions))
            x = pooled
        for level in reversed(range(self.depth)):
            skip, positions = skips[level]
            x = torch.cat([skip, getattr(self, f"up{level}")(x, positions)], 1)
            for i in (1, 2):
                x = getattr(self, f"merge{level}_{i}")(x)
        return self.head(x)


save("hourglass_torch", Hourglass(3, 4, 3), (24, 40), batch=2)
