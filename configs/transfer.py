"""Transfer learning: an ImageNet backbone as it is, and a decoder trained on it.

    python -m segjax.main --config=configs/transfer.py --config.manual_dir=camvid \\
        --config.init_from=resnet34-b627a593.pth:backbone

Neither the weights nor the statistics of the backbone change, so a step needs no gradient of it and
the optimiser keeps nothing for it. docs/weights.md lists the files.
"""

from typing import Any

from ml_collections import ConfigDict

from segjax import recipe
from segjax.backbones.resnet import resnet34
from segjax.core import Experiment, Task
from segjax.models.encoder_unet import EncoderUNet


def get_config() -> ConfigDict:
    config = recipe.get_config(width=16)
    config.backbone_rate = 0.0  # it stays as it is
    return config


def model(config: Any, card: dict) -> EncoderUNet:
    backbone = resnet34(**recipe.backbone_options(config))
    widths = tuple(config.model.width * n for n in (16, 8, 4, 2, 1))
    return EncoderUNet(len(card["class_names"]), backbone, widths, **recipe.options(config))


sources, card = recipe.sources, recipe.card


def task(config: Any, card: dict) -> Task:
    recipe.require_init_from(config)
    return recipe.task(config, card, model(config, card))


def build(config: Any) -> Experiment:
    return recipe.build(config, task)
