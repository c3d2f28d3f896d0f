"""U-Net on CamVid (11 classes of street scenes, the SegNet split), sized for two CPU cores.

    python -m segjax.main --config=configs/unet_camvid.py --config.manual_dir=camvid

Padded convolutions, BatchNorm and dropout, not the paper's. Images are halved to 240 x 180, so that
an epoch takes minutes; `--config.scale=1` is the full size.
"""

from typing import Any

from ml_collections import ConfigDict

from segjax import recipe
from segjax.core import Experiment, Task
from segjax.models.unet import UNet
from segjax.nn.layers import BatchNorm


def get_config() -> ConfigDict:
    config = recipe.get_config(width=16, dropout=0.2)
    config.learning_rate = 2e-3
    return config


def model(config: Any, card: dict) -> UNet:
    return UNet(
        len(card["class_names"]),
        width=config.model.width,
        padding="same",
        norm=BatchNorm,
        dropout=config.model.dropout,
        **recipe.options(config),
    )


sources, card = recipe.sources, recipe.card


def task(config: Any, card: dict) -> Task:
    return recipe.task(config, card, model(config, card))


def build(config: Any) -> Experiment:
    return recipe.build(config, task)
