"""FCN-16s (Long et al. 2015) on CamVid, in the geometry of the authors' Caffe network.

    python -m segjax.main --config=configs/fcn16s.py --config.manual_dir=camvid \\
        --config.init_from=runs/fcn32s:backbone,fc6,fc7,score_fr

The second of three stages: it starts from the weights of FCN-32s. The paper's mean IU on VOC 2011
val is 65.0.
"""

from typing import Any

from ml_collections import ConfigDict

from segjax import recipe
from segjax.backbones.vgg import vgg16
from segjax.core import Experiment, Task
from segjax.models.fcn import FCN


def get_config() -> ConfigDict:
    return recipe.get_config(width=64, hidden=4096)


def model(config: Any, card: dict) -> FCN:
    widths = tuple(config.model.width * n for n in (1, 2, 4, 8, 8))
    options = recipe.options(config)
    backbone = vgg16(widths, pool_rounding="ceil", first_padding=100, dtype=options["dtype"])
    return FCN(
        len(card["class_names"]),
        backbone,
        stride=16,
        hidden=config.model.hidden,
        **options,
    )


sources, card = recipe.sources, recipe.card


def task(config: Any, card: dict) -> Task:
    return recipe.task(config, card, model(config, card))


def build(config: Any) -> Experiment:
    return recipe.build(config, task)
