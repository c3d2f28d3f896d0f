"""DeepLab v3+ (Chen et al. 2018) on CamVid.

    python -m segjax.main --config=configs/deeplab_v3plus.py --config.manual_dir=camvid
    python -m segjax.main --config=configs/deeplab_v3plus.py --config.manual_dir=camvid \\
        --config.init_from=resnet50-0676ba61.pth:backbone
    python -m segjax.main --config=configs/deeplab_v3plus.py --config.manual_dir=camvid \\
        --config.model.output_stride=8

The paper's VOC 2012 test mIoU is 87.8, with Xception-65 and COCO.
"""

import functools
from typing import Any

from ml_collections import ConfigDict

from segjax import recipe
from segjax.backbones.resnet import resnet50, resnet101
from segjax.core import Experiment, Task
from segjax.errors import choose
from segjax.models.deeplab_v3plus import DeepLabV3Plus
from segjax.nn.aspp import ASPP

RESNETS = {"resnet50": resnet50, "resnet101": resnet101}
RATES = {16: (6, 12, 18), 8: (12, 24, 36)}  # by output stride


def get_config() -> ConfigDict:
    return recipe.get_config(backbone="resnet50", width=64, output_stride=16)


def model(config: Any, card: dict) -> DeepLabV3Plus:
    resnet = choose(RESNETS, config.model.backbone, "config.model.backbone")
    width, output_stride = config.model.width, config.model.output_stride
    rates = choose(RATES, output_stride, "config.model.output_stride")
    backbone = resnet(
        width=width,
        stem=(width,),
        output_stride=output_stride,
        first_unit="new",
        multi_grid=(1, 2, 4),
        **recipe.backbone_options(config),
    )
    features = 4 * width  # 256 in the paper
    aspp = functools.partial(ASPP, rates=rates)
    return DeepLabV3Plus(
        len(card["class_names"]),
        backbone,
        features=features,
        low_features=3 * width // 4,
        aspp=aspp,
        **recipe.options(config),
    )


sources, card = recipe.sources, recipe.card


def task(config: Any, card: dict) -> Task:
    return recipe.task(config, card, model(config, card))


def build(config: Any) -> Experiment:
    return recipe.build(config, task)
