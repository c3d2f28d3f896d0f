"""An encoder-decoder with any upsampler and any skip, on CamVid.

    python -m segjax.main --config=configs/hourglass.py --config.manual_dir=camvid
    python -m segjax.main --config=configs/hourglass.py --config.manual_dir=camvid \\
        --config.model.upsample=max_unpool --config.model.merge=add

config.model.down is max_pool or strided_conv, config.model.merge is none, concatenate or add.
"""

from typing import Any

from ml_collections import ConfigDict

from segjax.core import Experiment
from segjax.errors import choose
from segjax.models import hourglass, unet
from segjax.recipes import networks, semantic

MERGES = {"none": unet.without_skip, "concatenate": unet.concatenate, "add": hourglass.add}


def get_config() -> ConfigDict:
    return semantic.get_config(width=64, depth=4, down="max_pool", merge="none")


def model(config: Any, num_classes: int) -> hourglass.Hourglass:
    return hourglass.Hourglass(
        num_classes,
        width=config.model.width,
        depth=config.model.depth,
        down=config.model.down,
        merge=choose(MERGES, config.model.merge, "config.model.merge"),
        **networks.options(config),
    )


def build(config: Any, facts: Any = None) -> Experiment:
    return semantic.build(config, model, facts)
