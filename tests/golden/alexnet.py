"""Writes alexnet_torchvision.npz: the features of torchvision's AlexNet.

python tests/golden/alexnet.py    (made with torchvision 0.28)
"""

import torch
from reference import save
from torchvision.models import alexnet


class Features(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = alexnet().features

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        maps = {}
        for i, layer in enumerate(self.features):
            x = layer(x)
            maps[i] = x
        return {"c4": maps[11], "c5": maps[12]}  # a ReLU and the last pool


save("alexnet_torchvision", Features(), (79, 115))
