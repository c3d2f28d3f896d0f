"""DeconvNet (Noh et al. 2015) on CamVid.

    python -m segjax.main --config=configs/deconvnet.py --config.manual_dir=camvid
    python -m segjax.main --config=configs/deconvnet.py --config.manual_dir=camvid \\
        --config.model.width=16 --config.model.hidden=256

The paper's VOC 2012 test mean IoU is 69.6, after two stages of training on crops of 224 pixels:
first around one object, then around proposals. Here it sees whole images, in one stage.
"""

from typing import Any

from ml_collections import ConfigDict

from segjax.backbones.vgg import vgg16_bn
from segjax.core import Experiment
from segjax.models.deconvnet import DeconvNet
from segjax.recipes import networks, semantic


def get_config() -> ConfigDict:
    return semantic.get_config(width=64, hidden=4096)


def model(config: Any, num_classes: int) -> DeconvNet:
    widths = tuple(config.model.width * n for n in (1, 2, 4, 8, 8))
    backbone = vgg16_bn(widths, pool_rounding="ceil", **networks.backbone_options(config))
    return DeconvNet(num_classes, backbone, hidden=config.model.hidden, **networks.options(config))


def build(config: Any, facts: Any = None) -> Experiment:
    return semantic.build(config, model, facts)
