"""PSPNet (Zhao et al. 2017) on CamVid.

    python -m segjax.main --config=configs/pspnet.py --config.manual_dir=camvid
    python -m segjax.main --config=configs/pspnet.py --config.manual_dir=camvid \\
        --config.model.backbone=resnet101
    python -m segjax.main --config=configs/pspnet.py --config.manual_dir=camvid \\
        --config.model.variant=mmseg --config.init_from=FILE

config.model.variant is paper, whose weights are those of semseg, or mmseg (mmsegmentation). The
paper's VOC 2012 test mIoU is 85.4 with ResNet-101, COCO and several scales.
"""

import functools
from typing import Any

from ml_collections import ConfigDict

from segjax.backbones.resnet import resnet50, resnet101, resnet152
from segjax.core import Experiment
from segjax.errors import choose
from segjax.models.pspnet import PSPNet, pspnet_mmseg
from segjax.recipes import networks, semantic

RESNETS = {"resnet50": resnet50, "resnet101": resnet101, "resnet152": resnet152}


def get_config() -> ConfigDict:
    return semantic.get_config(variant="paper", backbone="resnet50", width=64)


def paper(config: Any, num_classes: int, resnet: Any) -> PSPNet:
    width = config.model.width
    backbone = resnet(
        stem=(width, width, 2 * width),
        output_stride=8,
        first_unit="new",
        **networks.backbone_options(config),
    )
    return PSPNet(num_classes, backbone, features=8 * width, **networks.options(config))


def mmseg(config: Any, num_classes: int, resnet: Any) -> PSPNet:
    width, options = config.model.width, networks.options(config)
    make = functools.partial(resnet, stem=(width // 2, width // 2, width))
    net = pspnet_mmseg(make, num_classes, features=8 * width, **options)
    return net.clone(backbone=networks.prepared(net.backbone, config))


VARIANTS = {"paper": paper, "mmseg": mmseg}


def model(config: Any, num_classes: int) -> PSPNet:
    resnet = choose(RESNETS, config.model.backbone, "config.model.backbone")
    resnet = functools.partial(resnet, width=config.model.width)
    make = choose(VARIANTS, config.model.variant, "config.model.variant")
    return make(config, num_classes, resnet)


def build(config: Any, facts: Any = None) -> Experiment:
    return semantic.build(config, model, facts, auxiliary={"aux": 0.4})
