"""Writes deconvnet.npz: DeconvNet in torch with two narrow stages and fc6 of 3x3.

python tests/golden/deconvnet.py    (made with torch 2.13)

After DeconvNet_inference_deploy.prototxt of the authors' release.
"""

import torch
import torch.nn.functional as F
from reference import save
from torch import nn


class DeconvNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for name, norm, layer in (
            ("conv1_1", "bn1_1", nn.Conv2d(3, 4, 3, padding=1)),
            ("conv1_2", "bn1_2", nn.Conv2d(4, 4, 3, padding=1)),
            ("conv2_1", "bn2_1", nn.Conv2d(4, 5, 3, padding=1)),
            ("conv2_2", "bn2_2", nn.Conv2d(5, 5, 3, padding=1)),
            ("fc6", "bnfc6", nn.Conv2d(5, 6, 3)),
            ("fc7", "bnfc7", nn.Conv2d(6, 6, 1)),
            ("fc6-deconv", "fc6-deconv-bn", nn.ConvTranspose2d(6, 5, 3)),
            ("deconv2_1", "debn2_1", nn.ConvTranspose2d(5, 5, 3, padding=1)),
            ("deconv2_2", "debn2_2", nn.ConvTranspose2d(5, 4, 3, padding=1)),
            ("deconv1_1", "debn1_1", nn.ConvTranspose2d(4, 4, 3, padding=1)),
            ("deconv1_2", "debn1_2", nn.ConvTranspose2d(4, 4, 3, padding=1)),
        ):
            self.add_module(name, layer)
            self.add_module(norm, nn.BatchNorm2d(layer.out_channels))
        self.add_module("seg-score-voc", nn.Conv2d(4, 3, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        def layer(name: str, norm: str, x: torch.Tensor) -> torch.Tensor:
            return F.relu(getattr(self, norm)(getattr(self, name)(x)))

        x = before1 = layer("conv1_2", "bn1_2", layer("conv1_1", "bn1_1", x))
        x, indices1 = F.max_pool2d(x, 2, 2, ceil_mode=True, return_indices=True)
        x = before2 = layer("conv2_2", "bn2_2", layer("conv2_1", "bn2_1", x))
        x, indices2 = F.max_pool2d(x, 2, 2, ceil_mode=True, return_indices=True)
        x = layer("fc7", "bnfc7", layer("fc6", "bnfc6", x))
        x = layer("fc6-deconv", "fc6-deconv-bn", x)
        x = F.max_unpool2d(x, indices2, 2, 2, output_size=before2.shape[2:])
        x = layer("deconv2_2", "debn2_2", layer("deconv2_1", "debn2_1", x))
        x = F.max_unpool2d(x, indices1, 2, 2, output_size=before1.shape[2:])
        x = layer("deconv1_2", "debn1_2", layer("deconv1_1", "debn1_1", x))
        return getattr(self, "seg-score-voc")(x)


save("deconvnet", DeconvNet(), (19, 26), batch=3)
