"""DeepLab v3+ (Chen et al. 2018) on CamVid.

    python -m segjax.main --config=configs/deeplab_v3plus.py --config.manual_dir=camvid
    python -m segjax.main --config=configs/deeplab_v3plus.py --config.manual_dir=camvid \\
        --config.init_from=resnet50-0676ba61.pth:backbone
    python -m segjax.main --config=configs/deeplab_v3plus.py --config.manual_dir=camvid \\
        --config.model.output_stride=8
    python -m segjax.main --config=configs/deeplab_v3plus.py --config.manual_dir=camvid \\
        --config.model.variant=smp --config.model.backbone=resnet34 --config.init_from=FILE

config.model.variant is paper, smp (segmentation-models-pytorch), mmseg (mmsegmentation) or
deeplab_pytorch: networks that differ in a few layers. config.model.output_stride is 16 or 8, in
mmseg's always 8. The paper's VOC 2012 test mIoU is 87.8, with Xception-65 and COCO.
"""

import functools
from typing import Any

from ml_collections import ConfigDict, config_dict

from segjax.backbones.resnet import RESNETS
from segjax.core import Experiment
from segjax.errors import choose
from segjax.models.deeplab_v3plus import (
    DeepLabV3Plus,
    deeplab_v3plus_mmseg,
    deeplab_v3plus_pytorch,
    deeplab_v3plus_smp,
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


def paper(config: Any, num_classes: int) -> DeepLabV3Plus:
    width, stride = config.model.width, networks.output_stride(config, 16, 8)
    backbone = resnet(config, (width,))(
        output_stride=stride,
        first_unit="new",
        multi_grid=(1, 2, 4),
        **networks.backbone_options(config),
    )
    aspp = functools.partial(ASPP, rates=RATES[stride])
    return DeepLabV3Plus(
        num_classes,
        backbone,
        features=4 * width,  # 256 in the paper
        low_features=3 * width // 4,
        aspp=aspp,
        **networks.options(config),
    )


def smp(config: Any, num_classes: int) -> DeepLabV3Plus:
    width = config.model.width
    net = deeplab_v3plus_smp(
        resnet(config, (width,)),
        num_classes,
        output_stride=networks.output_stride(config, 16, 8),
        features=4 * width,
        low_features=3 * width // 4,
        **networks.options(config),
    )
    return net.clone(backbone=networks.prepared(net.backbone, config))


def mmseg(config: Any, num_classes: int) -> DeepLabV3Plus:
    networks.output_stride(config, 8)
    width = config.model.width
    net = deeplab_v3plus_mmseg(
        resnet(config, (width // 2, width // 2, width)),
        num_classes,
        features=8 * width,
        low_features=3 * width // 4,
        **networks.options(config),
    )
    return net.clone(backbone=networks.prepared(net.backbone, config))


def deeplab_pytorch(config: Any, num_classes: int) -> DeepLabV3Plus:
    width = config.model.width
    net = deeplab_v3plus_pytorch(
        resnet(config, (width,)),
        num_classes,
        output_stride=networks.output_stride(config, 16, 8),
        features=4 * width,
        low_features=3 * width // 4,
        **networks.options(config),
    )
    return net.clone(backbone=networks.prepared(net.backbone, config))


VARIANTS = {"paper": paper, "smp": smp, "mmseg": mmseg, "deeplab_pytorch": deeplab_pytorch}
AUXILIARY = {"mmseg": {"aux": 0.4}}  # none in the others


def model(config: Any, num_classes: int) -> DeepLabV3Plus:
    make = choose(VARIANTS, config.model.variant, "config.model.variant")
    return make(config, num_classes)


def build(config: Any, facts: Any = None) -> Experiment:
    return semantic.build(config, model, facts, auxiliary=AUXILIARY.get(config.model.variant, {}))
