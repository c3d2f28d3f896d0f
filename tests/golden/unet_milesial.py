"""Writes unet_milesial{,_bilinear}.npz: the common padded U-Net, by its own code.

python tests/golden/unet_milesial.py CHECKOUT    (made with torch 2.13)

CHECKOUT is https://github.com/milesial/Pytorch-UNet at 21d7850, with a sixteenth of the channels;
sizes are multiples of 16, so that nothing is padded.
"""

import sys

from authors_code import load
from reference import save

unet = load(sys.argv[1], "unet", {str(16 * n): str(n) for n in (4, 8, 16, 32, 64)})
save("unet_milesial", unet.UNet(3, 2), (48, 32))
save("unet_milesial_bilinear", unet.UNet(3, 2, bilinear=True), (32, 48), batch=3)
