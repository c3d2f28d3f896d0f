"""U-Net that colours photographs: from the lightness of CIE Lab, its a and b.

    python -m segjax.main --config=configs/colourisation.py --config.root=photos
    python -m segjax.main --config=configs/colourisation.py --config.manual_dir=camvid

The first learns from a folder of colour photographs, of any size and in any folders below it; the
second from CamVid's. They are shrunk to a shorter side of `side`. Any L1 loss is safest at a grey
that is the median of what a surface may be, so colours come out pale (Zhang et al. 2016,
arXiv:1603.08511, predict 313 classes of colour instead).
"""

from typing import Any

import jax.numpy as jnp

from segjax import image_recipe
from segjax.core import Experiment, Task
from segjax.models.unet import UNet
from segjax.nn.layers import BatchNorm
from segjax.tasks.image_to_image import colour_from_lightness, coloured

get_config, sources, card = image_recipe.get_config, image_recipe.sources, image_recipe.card


def model(config: Any, card: dict) -> UNet:
    del card
    return UNet(2, width=config.width, padding="same", norm=BatchNorm, dropout=0.0)  # a and b


def task(config: Any, card: dict) -> Task:
    return image_recipe.task(
        config, model(config, card), pair=colour_from_lightness, show=coloured, activation=jnp.tanh
    )


def build(config: Any) -> Experiment:
    return image_recipe.build(config, task)
