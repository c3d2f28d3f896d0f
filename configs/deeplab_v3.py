"""DeepLab v3 (Chen et al. 2017) on CamVid.

    python -m segjax.main --config=configs/deeplab_v3.py --config.manual_dir=camvid
    python -m segjax.main --config=configs/deeplab_v3.py --config.manual_dir=camvid \\
        --config.init_from=resnet50-0676ba61.pth:backbone
    python -m segjax.main --config=configs/deeplab_v3.py --config.manual_dir=camvid \\
        --config.model.output_stride=8
    python -m segjax.main --config=configs/deeplab_v3.py --config.manual_dir=camvid \\
        --config.model.variant=torchvision \\
        --config.init_from=deeplabv3_resnet50_coco-cd0a2569.pth

The paper's VOC 2012 test mIoU is 85.7, with ResNet-101; torchvision's, whose network differs in a
few layers and is always at output stride 8, 66.4 on COCO images with VOC labels.
"""

import functools
from typing import Any

from ml_collections import ConfigDict

from segjax import recipe
from segjax.backbones.resnet import resnet50, resnet101
from segjax.core import Experiment, Task
from segjax.errors import choose
from segjax.models.deeplab_v3 import DeepLabV3, deeplab_v3_torchvision
from segjax.nn.aspp import ASPP

RESNETS = {"resnet50": resnet50, "resnet101": resnet101}
RATES = {16: (6, 12, 18), 8: (12, 24, 36)}  # by output stride


def get_config() -> ConfigDict:
    return recipe.get_config(variant="paper", backbone="resnet50", width=64, output_stride=16)


def paper(config: Any, num_classes: int, resnet: Any) -> DeepLabV3:
    output_stride = config.model.output_stride
    backbone = resnet(
        output_stride=output_stride,
        first_unit="new",
        multi_grid=(1, 2, 4),
        **recipe.backbone_options(config),
    )
    rates = choose(RATES, output_stride, "config.model.output_stride")
    aspp = functools.partial(ASPP, 4 * config.model.width, rates)  # 256 channels
    return DeepLabV3(num_classes, backbone, context=aspp, **recipe.options(config))


def torchvision(config: Any, num_classes: int, resnet: Any) -> DeepLabV3:
    net = deeplab_v3_torchvision(resnet, num_classes, **recipe.options(config))
    return net.clone(backbone=recipe.prepared(net.backbone, config))


VARIANTS = {"paper": paper, "torchvision": torchvision}
AUXILIARY = {"paper": {}, "torchvision": {"aux": 0.5}}


def model(config: Any, card: dict) -> DeepLabV3:
    width = config.model.width
    resnet = choose(RESNETS, config.model.backbone, "config.model.backbone")
    resnet = functools.partial(resnet, width=width, stem=(width,))
    make = choose(VARIANTS, config.model.variant, "config.model.variant")
    return make(config, len(card["class_names"]), resnet)


sources, card = recipe.sources, recipe.card


def task(config: Any, card: dict) -> Task:
    return recipe.task(config, card, model(config, card), AUXILIARY[config.model.variant])


def build(config: Any) -> Experiment:
    return recipe.build(config, task)
