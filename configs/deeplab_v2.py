"""DeepLab v2 (Chen et al. 2016) on CamVid: ResNet-101 at three scales, fused by the maximum.

    python -m segjax.main --config=configs/deeplab_v2.py --config.manual_dir=camvid
    python -m segjax.main --config=configs/deeplab_v2.py --config.manual_dir=camvid \\
        --config.model.backbone=resnet50 --config.model.width=16
    python -m segjax.main --config=configs/deeplab_v2.py --config.manual_dir=camvid \\
        --config.model.rates=3,6,9,12 --config.model.convention=half-pixel \\
        --config.input=caffe --config.init_from=FILE

config.model.rates are those of the dilated classifiers; deeplab-pytorch's `DeepLabV2S` has the
third command's, and no name in its checkpoint tells.
The paper's VOC 2012 test mean IU is 79.7, with COCO and the CRF.
"""

import functools
from typing import Any

from ml_collections import ConfigDict

from segjax.backbones.resnet import resnet50, resnet101, resnet152
from segjax.core import Experiment
from segjax.errors import InputError, choose
from segjax.models.deeplab_v2 import DeepLabV2, SummedASPP
from segjax.nn.upsample import Bilinear
from segjax.recipes import networks, semantic

RESNETS = {"resnet50": resnet50, "resnet101": resnet101, "resnet152": resnet152}
SCALES = (1, 0.75, 0.5)
AUXILIARY = {f"scale_{scale:g}": 1.0 for scale in SCALES}  # a loss on each, and on the fused


def get_config() -> ConfigDict:
    # The authors' Caffe resizes with aligned corners, the port to PyTorch by half-pixel: the image
    # by the factors themselves, as torch does with a scale_factor.
    return semantic.get_config(
        backbone="resnet101", width=64, convention="corner-aligned", rates=SummedASPP.rates
    )


def model(config: Any, num_classes: int) -> DeepLabV2:
    resnet = choose(RESNETS, config.model.backbone, "config.model.backbone")
    width = config.model.width
    backbone = resnet(
        width=width,
        stem=(width,),
        output_stride=8,
        first_unit="new",
        stride_in="1x1",
        pool_rounding="ceil",
        **networks.backbone_options(config),
    )
    rates = config.model.rates
    if not rates or min(rates) < 1:
        raise InputError(f"--config.model.rates must be numbers from 1 on, not {rates}.")
    aspp = functools.partial(SummedASPP, rates=rates)
    convention = networks.convention(config)
    upsample = functools.partial(Bilinear, convention=convention)
    options: dict[str, Any] = {"upsample": upsample, "convention": convention} | networks.options(
        config
    )
    return DeepLabV2(num_classes, backbone, aspp, scales=SCALES, **options)


def build(config: Any, facts: Any = None) -> Experiment:
    return semantic.build(config, model, facts, auxiliary=AUXILIARY)
