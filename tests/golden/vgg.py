"""Writes vgg_torchvision.npz and vgg_bn_torchvision.npz: narrow VGGs of torchvision.

python tests/golden/vgg.py    (made with torchvision 0.28)

The classifier has the layers of torchvision's, but 8 channels; it sees 7x7 features, as that
on 224 pixels does, after two pools instead of five.
"""

import torch
from reference import save
from torch import nn
from torchvision.models.vgg import VGG, make_layers

model = VGG(make_layers([4, "M", 6, "M"]), num_classes=5, init_weights=False)
model.classifier = nn.Sequential(
    nn.Linear(6 * 7 * 7, 8),
    nn.ReLU(),
    nn.Dropout(),
    nn.Linear(8, 8),
    nn.ReLU(),
    nn.Dropout(),
    nn.Linear(8, 5),
)
save("vgg_torchvision", model, (28, 28), batch=3)


class Features(nn.Module):
    """What each pool of a VGG sees, c0 to c4, and what the last gives, c5."""

    def __init__(self, config: list[str | int]) -> None:
        super().__init__()
        self.features = make_layers(config, batch_norm=True)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        maps = {}
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                maps[f"c{len(maps)}"] = x
            x = layer(x)
        return {**maps, "c5": x}


vgg16 = [3, 3, "M", 4, 4, "M", 5, 5, 5, "M", 6, 6, 6, "M", 7, 7, 7, "M"]
save("vgg_bn_torchvision", Features(vgg16), (45, 70))
