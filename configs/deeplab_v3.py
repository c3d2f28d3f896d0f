"""DeepLab v3 (Chen et al. 2017) on CamVid.

    python -m segjax.main --config=configs/deeplab_v3.py --config.manual_dir=camvid
    python -m segjax.main --config=configs/deeplab_v3.py --config.manual_dir=camvid \\
        --config.init_from=resnet50-0676ba61.pth:backbone
    python -m segjax.main --config=configs/deeplab_v3.py --config.manual_dir=camvid \\
        --config.model.output_stride=8
    python -m segjax.main --config=configs/deeplab_v3.py --config.manual_dir=camvid \\
        --config.model.variant=torchvision \\
        --config.init_from=deeplabv3_resnet50_coco-cd0a2569.pth

config.model.variant is paper, torchvision, smp (segmentation-models-pytorch), mmseg
(mmsegmentation) or deeplab_pytorch: networks that differ in a few layers.
config.model.output_stride is 16 or 8 in the paper's and deeplab_pytorch's, 8 or 16 in smp's and 8
in the others; torchvision's backbone is also mobilenet_v3_large, at 16. The paper's VOC 2012 test
mIoU is 85.7, with ResNet-101; torchvision's 66.4 on COCO images with VOC labels.
"""

import functools
from typing import Any

from ml_collections import ConfigDict, config_dict

from segjax.backbones.resnet import RESNETS
from segjax.core import Experiment
from segjax.errors import choose
from segjax.models.deeplab_v3 import (
    DeepLabV3,
    deeplab_v3_mmseg,
    deeplab_v3_mobilenet_v3,
    deeplab_v3_pytorch,
    deeplab_v3_torchvision,
)
from segjax.nn.aspp import ASPP
from segjax.recipes import networks, semantic

RATES = {16: (6, 12, 18), 8: (12, 24, 36)}  # by output stride


def get_config() -> ConfigDict:
    stride = config_dict.placeholder(int)  # the variant's
    return semantic.get_config(variant="paper", backbone="resnet50", width=64, output_stride=stride)


def resnet(config: Any, stem: tuple[int, ...]) -> Any:
    make = choose(RESNETS, config.model.backbone, "config.model.backbone")
    return functools.partial(make, width=config.model.width, stem=stem)


def paper(config: Any, num_classes: int) -> DeepLabV3:
    width, stride = config.model.width, networks.output_stride(config, 16, 8)
    backbone = resnet(config, (width,))(
        output_stride=stride,
        first_unit="new",
        multi_grid=(1, 2, 4),
        **networks.backbone_options(config),
    )
    aspp = functools.partial(ASPP, 4 * width, RATES[stride])  # 256 channels
    return DeepLabV3(num_classes, backbone, context=aspp, **networks.options(config))


def torchvision(config: Any, num_classes: int) -> DeepLabV3:
    width, options = config.model.width, networks.options(config)
    if config.model.backbone == "mobilenet_v3_large":
        networks.output_stride(config, 16)
        net = deeplab_v3_mobilenet_v3(num_classes, **options)
        net = net.clone(backbone=net.backbone.clone(width_mult=width / 64))
    else:
        networks.output_stride(config, 8)
        net = deeplab_v3_torchvision(resnet(config, (width,)), num_classes, **options)
    return net.clone(backbone=networks.prepared(net.backbone, config))


def smp(config: Any, num_classes: int) -> DeepLabV3:
    width, stride = config.model.width, networks.output_stride(config, 8, 16)
    backbone = resnet(config, (width,))(
        output_stride=stride, first_unit="new", **networks.backbone_options(config)
    )
    aspp = functools.partial(ASPP, 4 * width, RATES[8], pooled="last", dropout=0.5)
    return DeepLabV3(num_classes, backbone, context=aspp, convs=1, **networks.options(config))


def mmseg(config: Any, num_classes: int) -> DeepLabV3:
    networks.output_stride(config, 8)
    width = config.model.width
    make = resnet(config, (width // 2, width // 2, width))
    net = deeplab_v3_mmseg(make, num_classes, **networks.options(config))
    return net.clone(backbone=networks.prepared(net.backbone, config))


def deeplab_pytorch(config: Any, num_classes: int) -> DeepLabV3:
    width, stride = config.model.width, networks.output_stride(config, 16, 8)
    make, options = resnet(config, (width,)), networks.options(config)
    net = deeplab_v3_pytorch(make, num_classes, output_stride=stride, features=4 * width, **options)
    return net.clone(backbone=networks.prepared(net.backbone, config))


VARIANTS = {
    "paper": paper,
    "torchvision": torchvision,
    "smp": smp,
    "mmseg": mmseg,
    "deeplab_pytorch": deeplab_pytorch,
}
AUXILIARY = {"torchvision": {"aux": 0.5}, "mmseg": {"aux": 0.4}}  # none in the others


def model(config: Any, num_classes: int) -> DeepLabV3:
    make = choose(VARIANTS, config.model.variant, "config.model.variant")
    return make(config, num_classes)


def build(config: Any, facts: Any = None) -> Experiment:
    return semantic.build(config, model, facts, auxiliary=AUXILIARY.get(config.model.variant, {}))
