"""DeepLab v1 LargeFOV (Chen et al. 2015) on CamVid.

    python -m segjax.main --config=configs/deeplab_v1.py --config.manual_dir=camvid
    python -m segjax.main --config=configs/deeplab_v1.py --config.manual_dir=camvid \\
        --config.init_from=vgg16-397923af.pth:backbone

The paper's VOC 2012 val mean IU is 62.3 without the CRF and 67.6 with it.
"""

from typing import Any

from ml_collections import ConfigDict

from segjax import recipe
from segjax.backbones.vgg import vgg16
from segjax.core import Experiment, Task
from segjax.models.deeplab_v1 import DeepLabV1


def get_config() -> ConfigDict:
    return recipe.get_config(width=64, hidden=1024)


def model(config: Any, card: dict) -> DeepLabV1:
    widths = tuple(config.model.width * n for n in (1, 2, 4, 8, 8))
    options = recipe.options(config)
    backbone = vgg16(
        widths, pool_size=3, pool_rounding="ceil", output_stride=8, dtype=options["dtype"]
    )
    return DeepLabV1(len(card["class_names"]), backbone, config.model.hidden, **options)


sources, card = recipe.sources, recipe.card


def task(config: Any, card: dict) -> Task:
    return recipe.task(config, card, model(config, card))


def build(config: Any) -> Experiment:
    return recipe.build(config, task)
