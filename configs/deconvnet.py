"""DeconvNet (Noh et al. 2015) on CamVid.

    python -m segjax.main --config=configs/deconvnet.py --config.manual_dir=camvid
    python -m segjax.main --config=configs/deconvnet.py --config.manual_dir=camvid \\
        --config.model.width=16 --config.model.hidden=256

The paper's VOC 2012 test mean IoU is 69.6, after two stages of training on crops of 224 pixels:
first around one object, then around proposals. Here it sees whole images, in one stage.
"""

from typing import Any

from ml_collections import ConfigDict

from segjax import recipe
from segjax.backbones.vgg import vgg16_bn
from segjax.core import Experiment, Task
from segjax.models.deconvnet import DeconvNet


def get_config() -> ConfigDict:
    return recipe.get_config(width=64, hidden=4096)


def model(config: Any, card: dict) -> DeconvNet:
    widths = tuple(config.model.width * n for n in (1, 2, 4, 8, 8))
    backbone = vgg16_bn(widths, pool_rounding="ceil", **recipe.backbone_options(config))
    return DeconvNet(
        len(card["class_names"]), backbone, hidden=config.model.hidden, **recipe.options(config)
    )


sources, card = recipe.sources, recipe.card


def task(config: Any, card: dict) -> Task:
    return recipe.task(config, card, model(config, card))


def build(config: Any) -> Experiment:
    return recipe.build(config, task)
