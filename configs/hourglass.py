"""An encoder-decoder with any upsampler and any skip, on CamVid.

    python -m segjax.main --config=configs/hourglass.py --config.manual_dir=camvid
    python -m segjax.main --config=configs/hourglass.py --config.manual_dir=camvid \\
        --config.model.upsample=max_unpool --config.model.merge=add

config.model.down is max_pool or strided_conv, config.model.merge is none, concatenate or add.
"""

from typing import Any

from ml_collections import ConfigDict

from segjax import recipe
from segjax.core import Experiment, Task
from segjax.errors import choose
from segjax.models import hourglass, unet

MERGES = {"none": unet.without_skip, "concatenate": unet.concatenate, "add": hourglass.add}


def get_config() -> ConfigDict:
    return recipe.get_config(width=64, depth=4, down="max_pool", merge="none")


def model(config: Any, card: dict) -> hourglass.Hourglass:
    return hourglass.Hourglass(
        len(card["class_names"]),
        width=config.model.width,
        depth=config.model.depth,
        down=config.model.down,
        merge=choose(MERGES, config.model.merge, "config.model.merge"),
        **recipe.options(config),
    )


sources, card = recipe.sources, recipe.card


def task(config: Any, card: dict) -> Task:
    return recipe.task(config, card, model(config, card))


def build(config: Any) -> Experiment:
    return recipe.build(config, task)
