"""U-Net on CamVid (11 classes of street scenes, the SegNet split), sized for two CPU cores.

    python -m segjax.main --config=configs/unet_camvid.py --config.manual_dir=camvid

Padded convolutions, BatchNorm and dropout, not the paper's. Images are halved to 240 x 180, so that
an epoch takes minutes; `--config.scale=1` is the full size. config.model.variant is transposed or
bilinear, milesial/Pytorch-UNet's two: what halves the channels on the way up.
"""

from typing import Any

from ml_collections import ConfigDict

from segjax import recipe
from segjax.core import Experiment, Task
from segjax.errors import choose
from segjax.models.unet import PADDED, UNet


def get_config() -> ConfigDict:
    config = recipe.get_config(variant="transposed", width=16, dropout=0.2)
    config.learning_rate = 2e-3
    return config


def model(config: Any, card: dict) -> UNet:
    make = choose(PADDED, config.model.variant, "config.model.variant")
    return make(
        len(card["class_names"]),
        width=config.model.width,
        dropout=config.model.dropout,
        **recipe.options(config),
    )


sources, card = recipe.sources, recipe.card


def task(config: Any, card: dict) -> Task:
    return recipe.task(config, card, model(config, card))


def build(config: Any) -> Experiment:
    return recipe.build(config, task)
