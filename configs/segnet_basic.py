"""SegNet-Basic (Badrinarayanan et al. 2017) on CamVid.

    python -m segjax.main --config=configs/segnet_basic.py --config.manual_dir=camvid
    python -m segjax.main --config=configs/segnet_basic.py --config.dataset=cells \\
        --config.model.width=16
"""

from typing import Any

from ml_collections import ConfigDict

from segjax import recipe
from segjax.core import Experiment, Task
from segjax.models.segnet import SegNetBasic


def get_config() -> ConfigDict:
    config = recipe.get_config(width=64)
    config.input = "segnet"  # its first layer, local response normalisation, needs large values
    return config


def model(config: Any, card: dict) -> SegNetBasic:
    return SegNetBasic(len(card["class_names"]), config.model.width, **recipe.options(config))


sources, card = recipe.sources, recipe.card


def task(config: Any, card: dict) -> Task:
    return recipe.task(config, card, model(config, card))


def build(config: Any) -> Experiment:
    return recipe.build(config, task)
