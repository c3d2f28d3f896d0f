"""Convolutions at full resolution alone: what an encoder saves, on CamVid.

    python -m segjax.main --config=configs/naive_fcn.py --config.manual_dir=camvid
    python -m segjax.main --config=configs/naive_fcn.py --config.dataset=cells \\
        --config.model.width=16

Memory and time grow with the image at every layer, and the receptive field is 2 * depth + 1 pixels.
"""

from typing import Any

from ml_collections import ConfigDict

from segjax import recipe
from segjax.core import Experiment, Task
from segjax.models.naive_fcn import NaiveFCN


def get_config() -> ConfigDict:
    return recipe.get_config(width=64, depth=8)


def model(config: Any, card: dict) -> NaiveFCN:
    options = recipe.options_without_upsampler(config)
    return NaiveFCN(len(card["class_names"]), config.model.width, config.model.depth, **options)


sources, card = recipe.sources, recipe.card


def task(config: Any, card: dict) -> Task:
    return recipe.task(config, card, model(config, card))


def build(config: Any) -> Experiment:
    return recipe.build(config, task)
