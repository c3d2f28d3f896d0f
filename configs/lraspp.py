"""LR-ASPP on MobileNetV3 (Howard et al. 2019) on CamVid: the small and fast one.

    python -m segjax.main --config=configs/lraspp.py --config.manual_dir=camvid
    python -m segjax.main --config=configs/lraspp.py --config.manual_dir=camvid \\
        --config.init_from=lraspp_mobilenet_v3_large-d234d4ea.pth

torchvision's mIoU on COCO images with VOC labels is 57.9.
"""

from typing import Any

from ml_collections import ConfigDict

from segjax import recipe
from segjax.core import Experiment, Task
from segjax.models.lraspp import LRASPP, lraspp


def get_config() -> ConfigDict:
    return recipe.get_config()


def model(config: Any, card: dict) -> LRASPP:
    net = lraspp(len(card["class_names"]), **recipe.options(config))
    return net.clone(backbone=recipe.prepared(net.backbone, config))


sources, card = recipe.sources, recipe.card


def task(config: Any, card: dict) -> Task:
    return recipe.task(config, card, model(config, card))


def build(config: Any) -> Experiment:
    return recipe.build(config, task)
