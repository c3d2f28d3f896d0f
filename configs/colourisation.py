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
from ml_collections import ConfigDict

from segjax.core import Experiment
from segjax.models.unet import unet_padded
from segjax.recipes import image_to_image
from segjax.tasks.image_to_image import colour_from_lightness, coloured


def get_config() -> ConfigDict:
    return image_to_image.get_config(width=16)


def build(config: Any, facts: Any = None) -> Experiment:
    network = unet_padded(2, config.model.width)  # a and b
    making = {"pair": colour_from_lightness, "show": coloured, "activation": jnp.tanh}
    return image_to_image.build(config, network, facts, **making)
