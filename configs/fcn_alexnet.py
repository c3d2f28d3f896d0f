"""FCN-AlexNet (Long et al. 2015) on CamVid.

    python -m segjax.main --config=configs/fcn_alexnet.py --config.manual_dir=camvid

The paper's mean IU on VOC 2011 val is 48.0 in the authors' release.
"""

from typing import Any

from ml_collections import ConfigDict

from segjax import recipe
from segjax.backbones.alexnet import caffenet
from segjax.core import Experiment, Task
from segjax.models.fcn import fcn_alexnet


def get_config() -> ConfigDict:
    return recipe.get_config(width=96, hidden=4096)


def model(config: Any, card: dict) -> Any:
    options, width = recipe.options(config), config.model.width
    widths = (width, width * 8 // 3, width * 4, width * 4, width * 8 // 3)
    backbone = caffenet(widths, first_padding=100, dtype=options["dtype"])
    return fcn_alexnet(
        len(card["class_names"]), backbone=backbone, hidden=config.model.hidden, **options
    )


sources, card = recipe.sources, recipe.card


def task(config: Any, card: dict) -> Task:
    return recipe.task(config, card, model(config, card))


def build(config: Any) -> Experiment:
    return recipe.build(config, task)
