"""Writes segnet.npz and segnet_basic.npz: narrow SegNets in torch, on sides that pools round up.

python tests/golden/segnet.py    (made with torch 2.13)

After segnet_train.prototxt and segnet_basic_train.prototxt of the authors' SegNet-Tutorial.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from reference import save
from torch import nn

CLASSES = 3


def pool(x: torch.Tensor) -> tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]:
    """The pooled map, and what unpools another map with its indices to the size of x."""
    y, indices = F.max_pool2d(x, 2, 2, ceil_mode=True, return_indices=True)
    return y, lambda z: F.max_unpool2d(z, indices, 2, 2, output_size=x.shape[2:])


class SegNet(nn.Module):
    """Three stages of 2, 1 and 2 convolutions."""

    def __init__(self) -> None:
        super().__init__()
        layers = [
            ("conv1_1", 3, 4),
            ("conv1_2", 4, 4),
            ("conv2_1", 4, 6),
            ("conv3_1", 6, 5),
            ("conv3_2", 5, 5),
            ("conv3_2_D", 5, 5),
            ("conv3_1_D", 5, 6),
            ("conv2_1_D", 6, 4),
            ("conv1_2_D", 4, 4),
        ]
        for name, channels, features in layers:
            self.add_module(name, nn.Conv2d(channels, features, 3, padding=1))
            self.add_module(f"{name}_bn", nn.BatchNorm2d(features))
        self.conv1_1_D = nn.Conv2d(4, CLASSES, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        def layer(name: str, x: torch.Tensor) -> torch.Tensor:
            return F.relu(getattr(self, f"{name}_bn")(getattr(self, name)(x)))

        x, unpool1 = pool(layer("conv1_2", layer("conv1_1", x)))
        x, unpool2 = pool(layer("conv2_1", x))
        x, unpool3 = pool(layer("conv3_2", layer("conv3_1", x)))
        x = layer("conv3_1_D", layer("conv3_2_D", unpool3(x)))
        x = layer("conv2_1_D", unpool2(x))
        return self.conv1_1_D(layer("conv1_2_D", unpool1(x)))


class SegNetBasic(nn.Module):
    """Two of the four 7x7 convolutions on either side."""

    def __init__(self) -> None:
        super().__init__()
        for name, channels in (
            ("conv1", 3),
            ("conv2", 4),
            ("conv_decode2", 4),
            ("conv_decode1", 4),
        ):
            self.add_module(name, nn.Conv2d(channels, 4, 7, padding=3))
            self.add_module(f"{name}_bn", nn.BatchNorm2d(4))
        self.conv_classifier = nn.Conv2d(4, CLASSES, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        def layer(name: str, x: torch.Tensor) -> torch.Tensor:
            return getattr(self, f"{name}_bn")(getattr(self, name)(x))

        x = nn.LocalResponseNorm(5, 1e-4, 0.75)(100 * x)  # large, so that the norm divides
        x, unpool1 = pool(F.relu(layer("conv1", x)))
        x, unpool2 = pool(F.relu(layer("conv2", x)))
        x = layer("conv_decode2", unpool2(x))
        return self.conv_classifier(layer("conv_decode1", unpool1(x)))


save("segnet", SegNet(), (21, 30), batch=3)
save("segnet_basic", SegNetBasic(), (25, 18))
