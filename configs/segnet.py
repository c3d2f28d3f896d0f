"""SegNet (Badrinarayanan et al. 2017) on CamVid.

    python -m segjax.main --config=configs/segnet.py --config.manual_dir=camvid
    python -m segjax.main --config=configs/segnet.py --config.dataset=cells \\
        --config.model.width=16
    python -m segjax.main --config=configs/segnet.py --config.manual_dir=camvid \\
        --config.init_from=vgg16_bn-6c64b313.pth:backbone

The paper's test mIoU is 60.1, with 367 images of 360 x 480, SGD at 0.1 and median-frequency
weights. The defaults are its network, on images of half that size.
"""

from typing import Any

from ml_collections import ConfigDict

from segjax import recipe
from segjax.backbones.vgg import vgg16_bn
from segjax.core import Experiment, Task
from segjax.models.segnet import SegNet


def get_config() -> ConfigDict:
    return recipe.get_config(width=64)


def model(config: Any, card: dict) -> SegNet:
    widths = tuple(config.model.width * n for n in (1, 2, 4, 8, 8))
    backbone = vgg16_bn(widths, pool_rounding="ceil", **recipe.backbone_options(config))
    return SegNet(len(card["class_names"]), backbone, **recipe.options(config))


sources, card = recipe.sources, recipe.card


def task(config: Any, card: dict) -> Task:
    return recipe.task(config, card, model(config, card))


def build(config: Any) -> Experiment:
    return recipe.build(config, task)
