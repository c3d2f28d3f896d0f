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

from segjax import image_recipe
from segjax.core import Experiment, Task
from segjax.models.unet import UNet
from segjax.nn.layers import BatchNorm
from segjax.tasks.image_to_image import filled, image_from_rest

get_config, sources, card = image_recipe.get_config, image_recipe.sources, image_recipe.card


def model(config: Any, card: dict) -> UNet:
    del card
    return UNet(3, width=config.width, padding="same", norm=BatchNorm, dropout=0.0)  # RGB


def task(config: Any, card: dict) -> Task:
    return image_recipe.task(
        config, model(config, card), pair=image_from_rest, show=filled, activation=jax.nn.sigmoid
    )


def build(config: Any) -> Experiment:
    return image_recipe.build(config, task)
