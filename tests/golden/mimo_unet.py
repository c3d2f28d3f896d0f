"""Writes mimo_unet_torch.npz: a small MIMO-UNet by its authors' code.

python tests/golden/mimo_unet.py CHECKOUT    (made with torch 2.13)

CHECKOUT is https://github.com/chosj95/MIMO-UNet at 5c58013, with a quarter of the channels and
fewer units.
"""

import sys

from authors_code import load
from reference import save

mimo = load(sys.argv[1], "models.MIMOUNet", {"base_channel = 32": "base_channel = 8"})


class Named(mimo.MIMOUNet):
    def forward(self, image):
        return dict(zip(("quarter", "half", "full"), super().forward(image), strict=True))


save("mimo_unet_torch", Named(num_res=2), (16, 28), batch=2)
