"""PSPNet (Zhao et al. 2017) on CamVid.

    python -m segjax.main --config=configs/pspnet.py --config.manual_dir=camvid
    python -m segjax.main --config=configs/pspnet.py --config.manual_dir=camvid \\
        --config.model.backbone=resnet101

The paper's VOC 2012 test mIoU is 85.4 with ResNet-101, COCO and several scales.
"""

from typing import Any

from ml_collections import ConfigDict

from segjax import recipe
from segjax.backbones.resnet import resnet50, resnet101, resnet152
from segjax.core import Experiment, Task
from segjax.errors import choose
from segjax.models.pspnet import PSPNet

RESNETS = {"resnet50": resnet50, "resnet101": resnet101, "resnet152": resnet152}


def get_config() -> ConfigDict:
    return recipe.get_config(backbone="resnet50", width=64)


def model(config: Any, card: dict) -> PSPNet:
    resnet = choose(RESNETS, config.model.backbone, "config.model.backbone")
    width = config.model.width
    backbone = resnet(
        width=width,
        stem=(width, width, 2 * width),
        output_stride=8,
        first_unit="new",
        **recipe.backbone_options(config),
    )
    return PSPNet(len(card["class_names"]), backbone, features=8 * width, **recipe.options(config))


sources, card = recipe.sources, recipe.card


def task(config: Any, card: dict) -> Task:
    return recipe.task(config, card, model(config, card), {"aux": 0.4})


def build(config: Any) -> Experiment:
    return recipe.build(config, task)
