"""Writes refinenet_{full,light}.npz: RefineNet and Light-Weight RefineNet, by the ports' own code.

python tests/golden/refinenet.py FULL LIGHT    (made with torch 2.13)

They are checkouts of https://github.com/DrSleep/refinenet-pytorch at 8f25c07, and of
https://github.com/DrSleep/light-weight-refinenet at 538fe8b, with a sixteenth of the channels and
one unit a stage. The logits are resized to the image with aligned corners, where their scripts
leave that to OpenCV.
"""

import sys

from authors_code import load
from reference import save
from torch.nn import functional as F

NARROW = {str(16 * n): str(n) for n in (4, 8, 16, 32, 64, 128)}


def resized(network):
    class Resized(network):
        def forward(self, image):
            logits = super().forward(image)
            return F.interpolate(logits, image.shape[2:], mode="bilinear", align_corners=True)

    return Resized


full = load(sys.argv[1], "models.resnet", NARROW)
save("refinenet_full", resized(full.RefineNet)(full.Bottleneck, [1, 1, 1, 1], 3), (65, 49))
for name in [name for name in sys.modules if name.split(".")[0] in ("models", "utils")]:
    del sys.modules[name]  # the other checkout has its own
light = load(sys.argv[2], "models.resnet", NARROW)
net = resized(light.ResNetLW)(light.Bottleneck, [1, 1, 1, 1], 3)
save("refinenet_light", net, (47, 65), batch=3)
