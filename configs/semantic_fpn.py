"""Semantic FPN (Kirillov et al. 2019) on CamVid, and the other pyramids it is compared with.

    python -m segjax.main --config=configs/semantic_fpn.py --config.manual_dir=camvid
    python -m segjax.main --config=configs/semantic_fpn.py --config.manual_dir=camvid \\
        --config.model.pyramid=single_map
    python -m segjax.main --config=configs/semantic_fpn.py --config.manual_dir=camvid \\
        --config.init_from=resnet50-0676ba61.pth:backbone
    python -m segjax.main --config=configs/semantic_fpn.py --config.manual_dir=camvid \\
        --config.model.pyramid=smp --config.model.backbone=resnet34 --config.init_from=FILE

config.model.pyramid is image_pyramid, single_map, hierarchy, fpn or top_down (Lin et al. 2017,
figures 1 and 2), panet (Liu et al. 2018), or smp: segmentation-models-pytorch's FPN. The paper's
Cityscapes val mIoU is 77.7 with ResNet-101.
"""

import functools
from typing import Any

from ml_collections import ConfigDict

from segjax.backbones.resnet import RESNETS
from segjax.core import Experiment
from segjax.errors import choose
from segjax.models.fpn import PYRAMIDS, SemanticFPN, smp_fpn
from segjax.recipes import networks, semantic


def get_config() -> ConfigDict:
    return semantic.get_config(backbone="resnet50", pyramid="fpn", width=64)


def model(config: Any, num_classes: int) -> SemanticFPN:
    resnet = choose(RESNETS, config.model.backbone, "config.model.backbone")
    pyramid = choose(PYRAMIDS | {"smp": smp_fpn}, config.model.pyramid, "config.model.pyramid")
    width = config.model.width
    backbone = resnet(width=width, stem=(width,), **networks.backbone_options(config))
    options = networks.options(config)
    net = pyramid(num_classes, backbone=backbone, **options)
    if "upsample" in options:
        net = net.clone(neck=functools.partial(net.neck, upsample=options["upsample"]))
    return net


def build(config: Any, facts: Any = None) -> Experiment:
    return semantic.build(config, model, facts)
