"""Convolutions at full resolution alone: what an encoder saves, on CamVid.

    python -m segjax.main --config=configs/naive_fcn.py --config.manual_dir=camvid
    python -m segjax.main --config=configs/naive_fcn.py --config.dataset=cells \\
        --config.model.width=16

Memory and time grow with the image at every layer, and the receptive field is 2 * depth + 1 pixels.
"""

from typing import Any

from ml_collections import ConfigDict

from segjax.core import Experiment
from segjax.models.naive_fcn import NaiveFCN
from segjax.recipes import networks, semantic


def get_config() -> ConfigDict:
    return semantic.get_config(width=64, depth=8)


def model(config: Any, num_classes: int) -> NaiveFCN:
    options = networks.options_without_upsampler(config)
    return NaiveFCN(num_classes, config.model.width, config.model.depth, **options)


def build(config: Any, facts: Any = None) -> Experiment:
    return semantic.build(config, model, facts)
