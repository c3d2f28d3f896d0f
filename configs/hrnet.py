"""HRNetV2 (Sun et al. 2019) on CamVid, at any width.

    python -m segjax.main --config=configs/hrnet.py --config.manual_dir=camvid
    python -m segjax.main --config=configs/hrnet.py --config.manual_dir=camvid \\
        --config.model.width=48

With `--config.model.head=ocr` it has OCR (Yuan et al. 2020) on top. The authors' Cityscapes val
mIoU is 80.9 at width 48.
"""

import functools
from typing import Any

from ml_collections import ConfigDict

from segjax import recipe
from segjax.backbones.hrnet import HRNet
from segjax.core import Experiment, Task
from segjax.errors import choose
from segjax.models.hrnet import HRNetV2
from segjax.models.ocr import OCR
from segjax.nn.upsample import Bilinear
from segjax.ops import resize

HEADS = {"hrnet": HRNetV2, "ocr": OCR}
AUXILIARY = {"hrnet": {}, "ocr": {"aux": 0.4}}


def get_config() -> ConfigDict:
    return recipe.get_config(
        width=18, stage1=(4, 64), modules=(1, 4, 3), units=4, head="hrnet", convention="half-pixel"
    )


def model(config: Any, card: dict) -> Any:
    upsample = functools.partial(Bilinear, convention=recipe.convention(config))
    options: dict[str, Any] = {"upsample": upsample} | recipe.options(config)
    backbone = HRNet(
        config.model.width,
        stage1=tuple(config.model.stage1),
        modules=tuple(config.model.modules),
        units=config.model.units,
        **(recipe.backbone_options(config) | options),  # its branches meet by the same upsampler
    )
    resized = functools.partial(resize.bilinear, convention=recipe.convention(config))
    head = choose(HEADS, config.model.head, "config.model.head")
    return head(len(card["class_names"]), backbone, resize=resized, **options)


sources, card = recipe.sources, recipe.card


def task(config: Any, card: dict) -> Task:
    return recipe.task(config, card, model(config, card), AUXILIARY[config.model.head])


def build(config: Any) -> Experiment:
    return recipe.build(config, task)
