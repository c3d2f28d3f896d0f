"""FCN-16s (Long et al. 2015) on CamVid, in the geometry of the authors' Caffe network.

    python -m segjax.main --config=configs/fcn16s.py --config.manual_dir=camvid \\
        --config.init_from=runs/fcn32s:backbone,fc6,fc7,score_fr

The second of three stages: it starts from the weights of FCN-32s. The paper's mean IU on VOC 2011
val is 65.0.
"""

from typing import Any

from ml_collections import ConfigDict

from segjax import recipe
from segjax.core import Experiment, Task
from segjax.models.fcn import FCN, fcn16s, padded_vgg16


def get_config() -> ConfigDict:
    return recipe.get_config(width=64, hidden=4096)


def model(config: Any, card: dict) -> FCN:
    options = recipe.options(config)
    backbone = padded_vgg16(config.model.width, dtype=options["dtype"])
    return fcn16s(
        len(card["class_names"]), backbone=backbone, hidden=config.model.hidden, **options
    )


sources, card = recipe.sources, recipe.card


def task(config: Any, card: dict) -> Task:
    return recipe.task(config, card, model(config, card))


def build(config: Any) -> Experiment:
    return recipe.build(config, task)
