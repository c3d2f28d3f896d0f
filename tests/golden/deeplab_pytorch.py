"""Writes deeplab_v3_pytorch.npz and deeplab_v3plus_pytorch.npz: deeplab-pytorch's, by its own code.

python tests/golden/deeplab_pytorch.py CHECKOUT    (made with torch 2.13)

CHECKOUT is https://github.com/kazuto1011/deeplab-pytorch at 4219467. Its classes `DeepLabV3`, at
output stride 16, and `DeepLabV3Plus`, at 8, run with a sixteenth of their channels and fewer units,
with the multi-grid and the rates of its `DeepLabV3_ResNet101_MSC`, at one scale. The logits of the
first are resized to the image as its main.py does. Of the names, 'base.' is the multi-scale
wrapper's.
"""

import sys

from authors_code import load
from reference import save
from torch import nn
from torch.nn import functional as F

CHANNELS = {"64 * 2 ** p": "4 * 2 ** p", "256": "16", "304": "19", "48, 1": "3, 1"}
models = load(sys.argv[1], "libs.models", CHANNELS)
UNITS = {"n_blocks": [1, 1, 2, 3], "multi_grids": [1, 2, 4]}


class Resized(nn.Module):
    def __init__(self, base):
        super().__init__()
        self.base = base

    def forward(self, image):
        x = self.base(image)
        return F.interpolate(x, size=image.shape[2:], mode="bilinear", align_corners=False)


v3 = models.DeepLabV3(3, atrous_rates=[6, 12, 18], output_stride=16, **UNITS)
save("deeplab_v3_pytorch", Resized(v3), (97, 129), double=True)
v3plus = models.DeepLabV3Plus(3, atrous_rates=[12, 24, 36], output_stride=8, **UNITS)
save("deeplab_v3plus_pytorch", Resized(v3plus), (66, 49), batch=2, double=True)
