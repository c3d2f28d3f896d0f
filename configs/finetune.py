"""Transfer learning and fine-tuning: a network from ImageNet's backbone.

    python -m segjax.main --config=configs/finetune.py --config.manual_dir=camvid \\
        --config.init_from=resnet34-b627a593.pth:backbone
    python -m segjax.main --config=configs/finetune.py --config.manual_dir=camvid \\
        --config.init_from=resnet34-b627a593.pth:backbone --config.backbone_rate=0

The backbone learns at a tenth of the rate in the first and stays as it is in the second: neither
its weights nor its statistics change, so a step needs no gradient of it and the optimiser keeps
nothing for it. Or start from a run of your own, all of it: `--config.init_from=runs/mine`. If the
classes differ, their layer starts anew. docs/weights.md lists the files of other libraries.
"""

from typing import Any

from ml_collections import ConfigDict

from segjax.backbones.resnet import resnet34
from segjax.core import Experiment
from segjax.models.encoder_unet import EncoderUNet
from segjax.recipes import networks, semantic, training


def get_config() -> ConfigDict:
    config = semantic.get_config(width=16)
    config.backbone_rate = 0.1
    return config


def model(config: Any, num_classes: int) -> EncoderUNet:
    backbone = resnet34(**networks.backbone_options(config))
    widths = tuple(config.model.width * n for n in (16, 8, 4, 2, 1))
    return EncoderUNet(num_classes, backbone, widths, **networks.options(config))


def build(config: Any, facts: Any = None) -> Experiment:
    training.require_init_from(config)
    return semantic.build(config, model, facts)
