"""FCN on a dilated ResNet, torchvision's network, on CamVid.

    python -m segjax.main --config=configs/fcn_resnet.py --config.manual_dir=camvid
    python -m segjax.main --config=configs/fcn_resnet.py --config.manual_dir=camvid \\
        --config.init_from=resnet50-0676ba61.pth:backbone
    python -m segjax.main --config=configs/fcn_resnet.py --config.manual_dir=camvid \\
        --config.model.backbone=resnet101

torchvision's mIoU on COCO images with VOC labels is 60.5 with ResNet-50, 63.7 with ResNet-101.
"""

from typing import Any

from ml_collections import ConfigDict

from segjax.backbones.resnet import resnet50, resnet101, resnet152
from segjax.core import Experiment
from segjax.errors import choose
from segjax.models.fcn_resnet import FCNResNet
from segjax.recipes import networks, semantic

RESNETS = {"resnet50": resnet50, "resnet101": resnet101, "resnet152": resnet152}


def get_config() -> ConfigDict:
    return semantic.get_config(backbone="resnet50", width=64)


def model(config: Any, num_classes: int) -> FCNResNet:
    resnet = choose(RESNETS, config.model.backbone, "config.model.backbone")
    width = config.model.width
    backbone = resnet(
        width=width, stem=(width,), output_stride=8, **networks.backbone_options(config)
    )
    return FCNResNet(num_classes, backbone, **networks.options(config))


def build(config: Any, facts: Any = None) -> Experiment:
    return semantic.build(config, model, facts, auxiliary={"aux": 0.5})
