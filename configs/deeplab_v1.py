"""DeepLab v1 LargeFOV (Chen et al. 2015) on CamVid.

    python -m segjax.main --config=configs/deeplab_v1.py --config.manual_dir=camvid
    python -m segjax.main --config=configs/deeplab_v1.py --config.manual_dir=camvid \\
        --config.init_from=vgg16-397923af.pth:backbone

The paper's VOC 2012 val mean IU is 62.3 without the CRF and 67.6 with it.
"""

from typing import Any

from ml_collections import ConfigDict

from segjax.backbones.vgg import vgg16
from segjax.core import Experiment
from segjax.models.deeplab_v1 import DeepLabV1
from segjax.recipes import networks, semantic


def get_config() -> ConfigDict:
    return semantic.get_config(width=64, hidden=1024)


def model(config: Any, num_classes: int) -> DeepLabV1:
    widths = tuple(config.model.width * n for n in (1, 2, 4, 8, 8))
    options = networks.options(config)
    backbone = vgg16(
        widths, pool_size=3, pool_rounding="ceil", output_stride=8, dtype=options["dtype"]
    )
    return DeepLabV1(num_classes, backbone, config.model.hidden, **options)


def build(config: Any, facts: Any = None) -> Experiment:
    return semantic.build(config, model, facts)
