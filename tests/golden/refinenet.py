"""Writes refinenet_{full,light}.npz: RefineNet and Light-Weight RefineNet, small.

python tests/golden/refinenet.py    (made with torch 2.13)

Written down from the layers of the PyTorch port, under its names, and resized to the image.
"""

import torch.nn.functional as F
from narrow_resnet import narrow_resnet
from reference import save
from torch import nn
from torchvision.models.resnet import Bottleneck

WIDTH, FEATURES, CLASSES = 4, 8, 3
CHANNELS = [32 * WIDTH, 16 * WIDTH, 8 * WIDTH, 4 * WIDTH]  # of the backbone, from the deepest
SECOND = "_conv_relu_varout_dimred"


class RefineNet(nn.Module):
    def __init__(self, size, units):
        super().__init__()
        self.units = units
        for name, module in narrow_resnet(Bottleneck, (1, 1, 1, 1), WIDTH).named_children():
            if name != "fc":
                setattr(self, name, module)
        for n, channels in enumerate(CHANNELS, 1):
            features = 2 * FEATURES if n == 1 else FEATURES

            def conv(m, f, k=size, bias=False):
                return nn.Conv2d(m, f, k, padding=k // 2, bias=bias)

            def rcus(count, f=features):
                layers = nn.Module()
                for i in range(1, count + 1):
                    layers.add_module(f"{i}_conv", nn.Conv2d(f, f, 3, padding=1))
                    layers.add_module(f"{i}{SECOND}", nn.Conv2d(f, f, 3, padding=1, bias=False))
                return nn.Sequential(layers)

            pools = nn.Module()
            for i in range(1, 5):
                pools.add_module(f"{i}_outvar_dimred", conv(features, features))
            self.add_module(f"p_ims1d2_outl{n}_dimred", conv(channels, features))
            self.add_module(f"mflow_conv_g{n}_pool", nn.Sequential(pools))
            if n > 1:
                self.add_module(f"adapt_stage{n}_b2_joint_varout_dimred", conv(features, features))
            if n < 4:
                joint = conv(features, FEATURES)
                self.add_module(f"mflow_conv_g{n}_b3_joint_varout_dimred", joint)
            self.add_module(f"adapt_stage{n}_b", rcus(units[0]))
            self.add_module(f"mflow_conv_g{n}_b", rcus(units[1]))
        self.clf_conv = nn.Conv2d(FEATURES, CLASSES, 3, padding=1)

    def rcu(self, name, count, x):
        layers = getattr(self, name)[0]
        for i in range(1, count + 1):
            y = getattr(layers, f"{i}_conv")(F.relu(x))
            x = x + getattr(layers, f"{i}{SECOND}")(F.relu(y))
        return x

    def forward(self, image):
        x = self.maxpool(F.relu(self.bn1(self.conv1(image))))
        maps = []
        for i in (1, 2, 3, 4):
            x = getattr(self, f"layer{i}")(x)
            maps.insert(0, x)
        path = None
        for n, x in enumerate(maps, 1):
            x = getattr(self, f"p_ims1d2_outl{n}_dimred")(x)
            x = self.rcu(f"adapt_stage{n}_b", self.units[0], x)
            if path is not None:
                path = getattr(self, f"mflow_conv_g{n - 1}_b3_joint_varout_dimred")(path)
                path = F.interpolate(path, x.shape[2:], mode="bilinear", align_corners=True)
                x = getattr(self, f"adapt_stage{n}_b2_joint_varout_dimred")(x) + path
            x = F.relu(x)
            top = x
            for i in range(1, 5):
                pools = getattr(self, f"mflow_conv_g{n}_pool")[0]
                top = getattr(pools, f"{i}_outvar_dimred")(F.max_pool2d(top, 5, 1, 2))
                x = x + top
            path = self.rcu(f"mflow_conv_g{n}_b", self.units[1], x)
        scores = self.clf_conv(path)
        return F.interpolate(scores, image.shape[2:], mode="bilinear", align_corners=True)


save("refinenet_full", RefineNet(3, (2, 3)), (65, 49))
save("refinenet_light", RefineNet(1, (0, 0)), (47, 65), batch=3)
