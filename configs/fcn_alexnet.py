"""FCN-AlexNet (Long et al. 2015) on CamVid.

    python -m segjax.main --config=configs/fcn_alexnet.py --config.manual_dir=camvid

The paper's mean IU on VOC 2011 val is 48.0 in the authors' release.
"""

from typing import Any

from ml_collections import ConfigDict

from segjax.backbones.alexnet import caffenet
from segjax.core import Experiment
from segjax.models.fcn import fcn_alexnet
from segjax.recipes import networks, semantic


def get_config() -> ConfigDict:
    return semantic.get_config(width=96, hidden=4096)


def model(config: Any, num_classes: int) -> Any:
    options, width = networks.options(config), config.model.width
    widths = (width, width * 8 // 3, width * 4, width * 4, width * 8 // 3)
    backbone = caffenet(widths, first_padding=100, dtype=options["dtype"])
    return fcn_alexnet(num_classes, backbone=backbone, hidden=config.model.hidden, **options)


def build(config: Any, facts: Any = None) -> Experiment:
    return semantic.build(config, model, facts)
