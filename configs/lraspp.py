"""LR-ASPP on MobileNetV3 (Howard et al. 2019) on CamVid: the small and fast one.

    python -m segjax.main --config=configs/lraspp.py --config.manual_dir=camvid
    python -m segjax.main --config=configs/lraspp.py --config.manual_dir=camvid \\
        --config.init_from=lraspp_mobilenet_v3_large-d234d4ea.pth

torchvision's mIoU on COCO images with VOC labels is 57.9.
"""

from typing import Any

from ml_collections import ConfigDict

from segjax.core import Experiment
from segjax.models.lraspp import LRASPP, lraspp
from segjax.recipes import networks, semantic


def get_config() -> ConfigDict:
    return semantic.get_config()


def model(config: Any, num_classes: int) -> LRASPP:
    net = lraspp(num_classes, **networks.options(config))
    return net.clone(backbone=networks.prepared(net.backbone, config))


def build(config: Any, facts: Any = None) -> Experiment:
    return semantic.build(config, model, facts)
