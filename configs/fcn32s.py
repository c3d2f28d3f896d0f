"""FCN-32s (Long et al. 2015) on CamVid, in the geometry of the authors' Caffe network.

    python -m segjax.main --config=configs/fcn32s.py --config.manual_dir=camvid
    python -m segjax.main --config=configs/fcn32s.py --config.manual_dir=camvid \\
        --config.init_from=vgg16-397923af.pth:backbone

The first of three stages; `configs/fcn16s.py` starts from its weights. The paper's mean IU on VOC
2011 val is 63.6.
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
        stride=32,
        hidden=config.model.hidden,
        **options,
    )


sources, card = recipe.sources, recipe.card


def task(config: Any, card: dict) -> Task:
    return recipe.task(config, card, model(config, card))


def build(config: Any) -> Experiment:
    return recipe.build(config, task)
