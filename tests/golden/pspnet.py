"""Writes pspnet_semseg.npz: PSPNet by its authors' PyTorch code, semseg.

python tests/golden/pspnet.py CHECKOUT    (made with torch 2.13)

CHECKOUT is https://github.com/hszhao/semseg at 4f274c3, with a sixteenth of the channels and fewer
units, zoomed to the image as in its configs. The statistics stay when it is asked for its losses.
"""

import sys

from authors_code import load
from reference import save
from torch import nn

NARROW = {str(16 * n): str(n) for n in (4, 8, 16, 32, 64, 128)}
pspnet = load(sys.argv[1], "model.pspnet", {**NARROW, "[3, 4, 6, 3]": "[1, 1, 2, 2]"})


class Outputs(pspnet.PSPNet):
    def forward(self, image):
        self.training = True  # of itself alone
        _, logits, aux = super().forward(image)
        return {"out": logits, "aux": aux}


net = Outputs(50, classes=3, zoom_factor=8, criterion=lambda logits, _: logits, pretrained=False)
assert isinstance(net.cls[3], nn.Dropout2d)
save("pspnet_semseg", net, (41, 57), batch=3)
