"""Writes attention_m_net_torch.npz: a narrow net in torch, after Abraham and Khan's Keras code.

The transposed convolutions crop as torch's do, the first row and column.

python tests/golden/attention_m_net.py    (made with torch 2.13)
"""

import torch
from reference import save
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    def __init__(self, channels, features, size):
        super().__init__()
        self.conv = nn.Conv2d(channels, features, size, padding=size // 2)
        self.norm = nn.BatchNorm2d(features, 1e-3)

    def forward(self, x):
        return torch.relu(self.norm(self.conv(x)))


class Gate(nn.Module):
    def __init__(self, skip, signal, features, stride):
        super().__init__()
        self.theta = nn.Conv2d(skip, features, 2, 2)
        self.phi = nn.Conv2d(signal, features, 1)
        self.phi_up = nn.ConvTranspose2d(features, features, 3, stride, 1, stride - 1)
        self.psi = nn.Conv2d(features, 1, 1)
        self.out = nn.Conv2d(skip, skip, 1)
        self.norm = nn.BatchNorm2d(skip, 1e-3)

    def forward(self, skip, signal):
        attention = torch.relu(self.phi_up(self.phi(signal)) + self.theta(skip))
        attention = functional.interpolate(torch.sigmoid(self.psi(attention)), scale_factor=2)
        return self.norm(self.out(attention * skip))


class AttentionMNet(nn.Module):
    def __init__(self, classes, w):
        super().__init__()
        pairs = {
            "conv1": (3, w),
            "conv2": (2 * w + w, 2 * w),
            "conv3": (4 * w + 2 * w, 4 * w),
            "conv4": (8 * w + 4 * w, 2 * w),
            "center": (2 * w, 16 * w),
            "conv6": (3 * w, 8 * w),
            "conv7": (6 * w, 4 * w),
            "conv8": (3 * w, 2 * w),
            "conv9": (2 * w, w),
        }
        for name, (channels, features) in pairs.items():
            self.add_module(f"{name}_1", Block(channels, features, 3))
            self.add_module(f"{name}_2", Block(features, features, 3))
        for level, features in ((2, 2 * w), (3, 4 * w), (4, 8 * w)):
            self.add_module(f"conv_scale{level}", nn.Conv2d(3, features, 3, padding=1))
        self.g1, self.g2, self.g3 = (Block(n, n, 1) for n in (16 * w, 3 * w, 3 * w))
        self.attn1 = Gate(2 * w, 16 * w, 4 * w, 1)
        self.attn2 = Gate(4 * w, 3 * w, 2 * w, 1)
        self.attn3 = Gate(2 * w, 3 * w, w, 2)
        ups = ((16 * w, w), (3 * w, 2 * w), (6 * w, w), (3 * w, w))
        for i, (channels, features) in enumerate(ups, 1):
            self.add_module(f"up{i}", nn.ConvTranspose2d(channels, features, 3, 2, 1, 1))
        for name, features in (("pred1", 8), ("pred2", 4), ("pred3", 2), ("final", 1)):
            self.add_module(name, nn.Conv2d(features * w, classes, 1))

    def pair(self, name, x):
        return getattr(self, f"{name}_2")(getattr(self, f"{name}_1")(x))

    def forward(self, image):
        x, scaled, skips = image, image, []
        for level in (1, 2, 3, 4):
            if level > 1:
                scaled = functional.avg_pool2d(scaled, 2)
                beside = torch.relu(getattr(self, f"conv_scale{level}")(scaled))
                x = torch.cat([beside, x], 1)
            skips.append(self.pair(f"conv{level}", x))
            x = functional.max_pool2d(skips[-1], 2)
        conv1, conv2, conv3, conv4 = skips
        center = self.pair("center", x)
        up1 = torch.cat([torch.relu(self.up1(center)), self.attn1(conv4, self.g1(center))], 1)
        up2 = torch.cat([torch.relu(self.up2(up1)), self.attn2(conv3, self.g2(up1))], 1)
        up3 = torch.cat([torch.relu(self.up3(up2)), self.attn3(conv2, self.g3(up1))], 1)
        up4 = torch.cat([torch.relu(self.up4(up3)), conv1], 1)
        names = ("pred1", "pred2", "pred3", "final")
        out = {}
        for i, (name, x) in enumerate(zip(names, (up1, up2, up3, up4), strict=True)):
            x = getattr(self, name)(self.pair(f"conv{6 + i}", x))
            out[name] = functional.interpolate(x, image.shape[2:], mode="bilinear")
        return out


if __name__ == "__main__":
    save("attention_m_net_torch", AttentionMNet(2, 2), (32, 48), batch=2)
    print(sum(x.numel() for x in AttentionMNet(1, 32).parameters()))
