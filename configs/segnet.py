"""SegNet and SegNet-Basic (Badrinarayanan et al. 2017) on CamVid.

    python -m segjax.main --config=configs/segnet.py --config.manual_dir=camvid
    python -m segjax.main --config=configs/segnet.py --config.model.variant=basic \\
        --config.dataset=cells --config.model.width=16
    python -m segjax.main --config=configs/segnet.py --config.manual_dir=camvid \\
        --config.init_from=vgg16_bn-6c64b313.pth:backbone

The paper's test mIoU is 60.1, with 367 images of 360 x 480, SGD at 0.1 and median-frequency
weights. The defaults are its network, on images of half that size.
"""

from typing import Any

from ml_collections import ConfigDict

from segjax.backbones.vgg import vgg16_bn
from segjax.core import Experiment
from segjax.errors import choose
from segjax.models.segnet import SegNet, SegNetBasic
from segjax.recipes import networks, semantic


def get_config() -> ConfigDict:
    return semantic.get_config(variant="segnet", width=64)


def segnet(config: Any, num_classes: int) -> SegNet:
    widths = tuple(config.model.width * n for n in (1, 2, 4, 8, 8))
    backbone = vgg16_bn(widths, pool_rounding="ceil", **networks.backbone_options(config))
    return SegNet(num_classes, backbone, **networks.options(config))


def basic(config: Any, num_classes: int) -> SegNetBasic:
    return SegNetBasic(num_classes, config.model.width, **networks.options(config))


VARIANTS = {"segnet": segnet, "basic": basic}
INPUTS = {"segnet": "imagenet", "basic": "segnet"}  # whose first layer needs large values


def build(config: Any, facts: Any = None) -> Experiment:
    network = choose(VARIANTS, config.model.variant, "config.model.variant")
    return semantic.build(config, network, facts, input=INPUTS[config.model.variant])
