"""Writes m_net_torch.npz: a narrow M-Net in torch, after the authors' Keras code.

python tests/golden/m_net.py    (made with torch 2.13)
"""

import torch
from reference import save
from torch import nn
from torch.nn import functional


class MNet(nn.Module):
    def __init__(self, classes, width):
        super().__init__()
        w, channels = [width * 2**i for i in range(5)], 3
        for block in range(1, 6):
            features = w[block - 1]
            if 1 < block < 5:
                self.add_module(f"block{block}_input1", nn.Conv2d(3, features, 3, padding=1))
                channels += features
            self.pair(block, channels, features)
            channels = features
        for block, features in zip((6, 7, 8, 9), w[3::-1], strict=True):
            up = nn.ConvTranspose2d(channels, features, 2, 2)
            self.add_module(f"block{block}_dconv", up)
            self.pair(block, 2 * features, features)
            self.add_module(f"side_{block}3", nn.Conv2d(features, classes, 1))
            channels = features

    def pair(self, block, channels, features):
        self.add_module(f"block{block}_conv1", nn.Conv2d(channels, features, 3, padding=1))
        self.add_module(f"block{block}_conv2", nn.Conv2d(features, features, 3, padding=1))

    def convs(self, block, x):
        for i in (1, 2):
            x = torch.relu(getattr(self, f"block{block}_conv{i}")(x))
        return x

    def forward(self, image):
        x, scaled, skips = image, image, []
        for block in range(1, 5):
            if block > 1:
                scaled = functional.avg_pool2d(scaled, 2)
                beside = torch.relu(getattr(self, f"block{block}_input1")(scaled))
                x = torch.cat([beside, x], 1)
            skips.append(self.convs(block, x))
            x = functional.max_pool2d(skips[-1], 2)
        x = self.convs(5, x)
        out, probabilities = {}, []
        for block in (6, 7, 8, 9):
            up = getattr(self, f"block{block}_dconv")(x)
            x = self.convs(block, torch.cat([up, skips.pop()], 1))
            large = functional.interpolate(x, scale_factor=2 ** (9 - block))
            out[f"side{block}"] = getattr(self, f"side_{block}3")(large)
            probabilities.append(torch.sigmoid(out[f"side{block}"]))
        return {**out, "average": sum(probabilities) / 4}


save("m_net_torch", MNet(2, 3), (32, 48), batch=2)
