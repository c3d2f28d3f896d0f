"""RefineNet (Lin et al. 2017) on CamVid.

    python -m segjax.main --config=configs/refinenet.py --config.manual_dir=camvid
    python -m segjax.main --config=configs/refinenet.py --config.manual_dir=camvid \\
        --config.model.backbone=resnet50 --config.init_from=resnet50-0676ba61.pth:backbone
    python -m segjax.main --config=configs/refinenet.py --config.manual_dir=camvid \\
        --config.model.variant=light

config.model.variant is paper, or light (Light-Weight RefineNet, Nekrasov et al. 2018). The
paper's VOC 2012 test mIoU is 82.4 with ResNet-101, Cityscapes 73.6.
"""

from typing import Any

from ml_collections import ConfigDict

from segjax.backbones.resnet import resnet50, resnet101, resnet152
from segjax.core import Experiment
from segjax.errors import choose
from segjax.models.refinenet import RefineNet, refinenet_lw101
from segjax.recipes import networks, semantic

RESNETS = {"resnet50": resnet50, "resnet101": resnet101, "resnet152": resnet152}
VARIANTS = {"paper": RefineNet, "light": refinenet_lw101}


def get_config() -> ConfigDict:
    return semantic.get_config(variant="paper", backbone="resnet101", width=64)


def model(config: Any, num_classes: int) -> RefineNet:
    resnet = choose(RESNETS, config.model.backbone, "config.model.backbone")
    network = choose(VARIANTS, config.model.variant, "config.model.variant")
    width = config.model.width
    backbone = resnet(width=width, stem=(width,), **networks.backbone_options(config))
    return network(
        num_classes,
        backbone=backbone,
        features=4 * width,
        **networks.options(config),
    )


def build(config: Any, facts: Any = None) -> Experiment:
    return semantic.build(config, model, facts)
