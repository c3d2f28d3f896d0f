"""Fine-tuning: all of a network from ImageNet's backbone, which learns at a tenth of the rate.

    python -m segjax.main --config=configs/finetune.py --config.manual_dir=camvid \\
        --config.init_from=resnet34-b627a593.pth:backbone

Or from a run of your own, all of it: `--config.init_from=runs/mine`. If the classes differ, their
layer starts anew. docs/weights.md lists the files of other libraries.
"""

from typing import Any

from ml_collections import ConfigDict

from segjax import recipe
from segjax.backbones.resnet import resnet34
from segjax.core import Experiment, Task
from segjax.models.encoder_unet import EncoderUNet


def get_config() -> ConfigDict:
    config = recipe.get_config(width=16)
    config.backbone_rate = 0.1
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
