"""U-Net that fills holes in photographs, which it sees with a mask of the holes beside.

    python -m segjax.main --config=configs/inpainting.py --config.root=photos
    python -m segjax.main --config=configs/inpainting.py --config.manual_dir=camvid

The first learns from a folder of photographs, of any size and in any folders below it; the second
from CamVid's. They are shrunk to a shorter side of `side`. Holes are boxes at random places; an
error in them costs 6 times as much as elsewhere (Liu et al. 2018, arXiv:1804.07723, equation 7).
PSNR and SSIM are of the whole picture, with the holes filled.
"""

from typing import Any

import jax
from ml_collections import ConfigDict

from segjax.core import Experiment
from segjax.models.unet import unet_padded
from segjax.recipes import image_to_image
from segjax.tasks.image_to_image import filled, image_from_rest


def get_config() -> ConfigDict:
    return image_to_image.get_config(width=16)


def build(config: Any, facts: Any = None) -> Experiment:
    network = unet_padded(3, config.model.width)  # red, green and blue
    making = {"pair": image_from_rest, "show": filled, "activation": jax.nn.sigmoid}
    return image_to_image.build(config, network, facts, **making)
