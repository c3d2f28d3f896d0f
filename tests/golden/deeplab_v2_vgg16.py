"""Writes deeplab_v2_vgg16.npz: a narrow DeepLab v2 on VGG-16 in torch, one convolution a stage.

python tests/golden/deeplab_v2_vgg16.py    (made with torch 2.13)

After figure 7(b) of the paper, with two rates that a small map shows. Caffe's pools round up, which
even sides show.
"""

import torch
import torch.nn.functional as F
from reference import save
from torch import nn


class VGGWithASPP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1_1 = nn.Conv2d(3, 3, 3, padding=1)
        self.conv2_1 = nn.Conv2d(3, 4, 3, padding=1)
        self.conv3_1 = nn.Conv2d(4, 4, 3, padding=1)
        self.conv4_1 = nn.Conv2d(4, 5, 3, padding=1)
        self.conv5_1 = nn.Conv2d(5, 6, 3, padding=2, dilation=2)
        for i, rate in ((1, 2), (2, 3)):
            self.add_module(f"fc6_{i}", nn.Conv2d(6, 5, 3, padding=rate, dilation=rate))
            self.add_module(f"fc7_{i}", nn.Conv2d(5, 5, 1))
            self.add_module(f"fc8_{i}", nn.Conv2d(5, 3, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = image
        for conv in (self.conv1_1, self.conv2_1, self.conv3_1):
            x = F.max_pool2d(F.relu(conv(x)), 3, 2, 1, ceil_mode=True)
        for conv in (self.conv4_1, self.conv5_1):
            x = F.max_pool2d(F.relu(conv(x)), 3, 1, 1, ceil_mode=True)
        total = 0
        for i in (1, 2):
            fc6, fc7, fc8 = (getattr(self, f"fc{n}_{i}") for n in (6, 7, 8))
            total = total + fc8(F.relu(fc7(F.relu(fc6(x)))))
        return F.interpolate(total, image.shape[2:], mode="bilinear", align_corners=True)


save("deeplab_v2_vgg16", VGGWithASPP(), (50, 68))
