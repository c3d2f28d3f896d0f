"""Writes deeplab_v1*.npz: a narrow DeepLab-LargeFOV in torch, one convolution a stage, dilation 3.

python tests/golden/deeplab_v1.py    (made with torch 2.13)

After train.prototxt of the authors' DeepLab-LargeFOV, with fc6 of dilation 3 instead of 12, which
the small map would not show. Caffe's pools round up. deeplab_v1_even.npz has even sides, which the
corners of the map exceed; there the upsampling goes to the image's size.
"""

import torch
import torch.nn.functional as F
from reference import save
from torch import nn


class LargeFOV(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1_1 = nn.Conv2d(3, 3, 3, padding=1)
        self.conv2_1 = nn.Conv2d(3, 4, 3, padding=1)
        self.conv3_1 = nn.Conv2d(4, 4, 3, padding=1)
        self.conv4_1 = nn.Conv2d(4, 5, 3, padding=1)
        self.conv5_1 = nn.Conv2d(5, 6, 3, padding=2, dilation=2)
        self.fc6 = nn.Conv2d(6, 5, 3, padding=3, dilation=3)
        self.fc7 = nn.Conv2d(5, 5, 1)
        self.fc8_voc12 = nn.Conv2d(5, 3, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = image
        for conv in (self.conv1_1, self.conv2_1, self.conv3_1):
            x = F.max_pool2d(F.relu(conv(x)), 3, 2, 1, ceil_mode=True)
        for conv in (self.conv4_1, self.conv5_1):
            x = F.max_pool2d(F.relu(conv(x)), 3, 1, 1, ceil_mode=True)
        x = F.avg_pool2d(x, 3, 1, 1)
        x = self.fc8_voc12(F.relu(self.fc7(F.relu(self.fc6(x)))))
        size = image.shape[2:]  # 8 (n - 1) + 1 at odd sides: Caffe's Interp with zoom_factor 8
        return F.interpolate(x, size, mode="bilinear", align_corners=True)


save("deeplab_v1", LargeFOV(), (57, 41), batch=3)
save("deeplab_v1_even", LargeFOV(), (50, 68))
