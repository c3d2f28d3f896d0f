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

from segjax.backbones.hrnet import HRNet
from segjax.core import Experiment
from segjax.errors import choose
from segjax.models.hrnet import HRNetV2
from segjax.models.ocr import OCR
from segjax.nn.upsample import Bilinear
from segjax.ops import resize
from segjax.recipes import networks, semantic

HEADS = {"hrnet": HRNetV2, "ocr": OCR}
AUXILIARY = {"hrnet": {}, "ocr": {"aux": 0.4}}


def get_config() -> ConfigDict:
    return semantic.get_config(
        width=18, stage1=(4, 64), modules=(1, 4, 3), units=4, head="hrnet", convention="half-pixel"
    )


def model(config: Any, num_classes: int) -> Any:
    upsample = functools.partial(Bilinear, convention=networks.convention(config))
    options: dict[str, Any] = {"upsample": upsample} | networks.options(config)
    backbone = HRNet(
        config.model.width,
        stage1=tuple(config.model.stage1),
        modules=tuple(config.model.modules),
        units=config.model.units,
        **(networks.backbone_options(config) | options),  # its branches meet by the same upsampler
    )
    resized = functools.partial(resize.bilinear, convention=networks.convention(config))
    head = choose(HEADS, config.model.head, "config.model.head")
    return head(num_classes, backbone, resize=resized, **options)


def build(config: Any, facts: Any = None) -> Experiment:
    return semantic.build(config, model, facts, auxiliary=AUXILIARY[config.model.head])
