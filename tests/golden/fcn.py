"""Writes fcn32s.npz, fcn16s.npz, fcn8s.npz and fcn_alexnet.npz: narrow FCNs in torch.

python tests/golden/fcn.py    (made with torch 2.13)

Layers, paddings, roundings and crops are written out after the net.py files of the authors' release
(voc-fcn32s, voc-fcn16s, voc-fcn8s-atonce, voc-fcn-alexnet), with fewer channels and convolutions.
"""

import torch
import torch.nn.functional as F
from reference import save
from torch import nn

CLASSES, HIDDEN = 3, 6


def cut(x: torch.Tensor, offset: int, like: torch.Tensor) -> torch.Tensor:
    height, width = like.shape[2:]
    x = x[:, :, offset : offset + height, offset : offset + width]
    assert x.shape[2:] == like.shape[2:]
    return x


def pool(x: torch.Tensor) -> torch.Tensor:
    return F.max_pool2d(x, 2, 2, ceil_mode=True)


class VGGs(nn.Module):
    """FCN-32s, 16s or 8s on a VGG of one convolution a stage, but two in the second."""

    def __init__(self, stride: int, scale_pool4: float = 1, scale_pool3: float = 1) -> None:
        super().__init__()
        self.stride, self.scale_pool4, self.scale_pool3 = stride, scale_pool4, scale_pool3
        self.conv1_1 = nn.Conv2d(3, 3, 3, padding=100)
        self.conv2_1 = nn.Conv2d(3, 4, 3, padding=1)
        self.conv2_2 = nn.Conv2d(4, 4, 3, padding=1)
        self.conv3_1 = nn.Conv2d(4, 5, 3, padding=1)
        self.conv4_1 = nn.Conv2d(5, 6, 3, padding=1)
        self.conv5_1 = nn.Conv2d(6, 5, 3, padding=1)
        self.fc6 = nn.Conv2d(5, HIDDEN, 7)
        self.fc7 = nn.Conv2d(HIDDEN, HIDDEN, 1)
        self.score_fr = nn.Conv2d(HIDDEN, CLASSES, 1)
        if stride == 32:
            self.upscore = nn.ConvTranspose2d(CLASSES, CLASSES, 64, 32, bias=False)
            return
        self.upscore2 = nn.ConvTranspose2d(CLASSES, CLASSES, 4, 2, bias=False)
        self.score_pool4 = nn.Conv2d(6, CLASSES, 1)
        if stride == 16:
            self.upscore16 = nn.ConvTranspose2d(CLASSES, CLASSES, 32, 16, bias=False)
            return
        self.upscore_pool4 = nn.ConvTranspose2d(CLASSES, CLASSES, 4, 2, bias=False)
        self.score_pool3 = nn.Conv2d(5, CLASSES, 1)
        self.upscore8 = nn.ConvTranspose2d(CLASSES, CLASSES, 16, 8, bias=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = pool(F.relu(self.conv1_1(image)))
        x = pool(F.relu(self.conv2_2(F.relu(self.conv2_1(x)))))
        pool3 = pool(F.relu(self.conv3_1(x)))
        pool4 = pool(F.relu(self.conv4_1(pool3)))
        pool5 = pool(F.relu(self.conv5_1(pool4)))
        score = self.score_fr(F.relu(self.fc7(F.relu(self.fc6(pool5)))))
        if self.stride == 32:
            return cut(self.upscore(score), 19, image)
        upscore2 = self.upscore2(score)
        fused = upscore2 + cut(self.score_pool4(pool4 * self.scale_pool4), 5, upscore2)
        if self.stride == 16:
            return cut(self.upscore16(fused), 27, image)
        upscore_pool4 = self.upscore_pool4(fused)
        skip = cut(self.score_pool3(pool3 * self.scale_pool3), 9, upscore_pool4)
        return cut(self.upscore8(upscore_pool4 + skip), 31, image)


class AlexNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 11, 4, padding=100)
        self.conv2 = nn.Conv2d(4, 6, 5, padding=2, groups=2)
        self.conv3 = nn.Conv2d(6, 4, 3, padding=1)
        self.conv4 = nn.Conv2d(4, 6, 3, padding=1, groups=2)
        self.conv5 = nn.Conv2d(6, 4, 3, padding=1, groups=2)
        self.fc6 = nn.Conv2d(4, HIDDEN, 6)
        self.fc7 = nn.Conv2d(HIDDEN, HIDDEN, 1)
        self.score_fr = nn.Conv2d(HIDDEN, CLASSES, 1)
        self.upscore = nn.ConvTranspose2d(CLASSES, CLASSES, 63, 32, bias=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        norm = nn.LocalResponseNorm(5, 1e-4, 0.75)
        x = norm(pool(F.relu(self.conv1(100 * image))))  # large, so that the norm divides
        x = norm(pool(F.relu(self.conv2(x))))
        x = F.relu(self.conv5(F.relu(self.conv4(F.relu(self.conv3(x))))))
        x = F.relu(self.fc7(F.relu(self.fc6(pool(x)))))
        return cut(self.upscore(self.score_fr(x)), 18, image)


save("fcn32s", VGGs(32), (23, 38))
save("fcn16s", VGGs(16), (30, 17))
save("fcn8s", VGGs(8, 0.5, 2), (23, 38), batch=3)
save("fcn_alexnet", AlexNet(), (21, 34))
