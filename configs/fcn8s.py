"""FCN-8s (Long et al. 2015) on CamVid, in the geometry of the authors' Caffe network.

    python -m segjax.main --config=configs/fcn8s.py --config.manual_dir=camvid \\
        --config.init_from=runs/fcn16s:backbone,fc6,fc7,score_fr,score_pool4

The last of three stages: it starts from the weights of FCN-16s. For all at once, without stages,
`--config.model.scale_pool4=0.01 --config.model.scale_pool3=0.0001`, as the authors do. The paper's
mean IU on VOC 2011 val is 65.5.
"""

from typing import Any

from ml_collections import ConfigDict

from segjax import recipe
from segjax.core import Experiment, Task
from segjax.models.fcn import FCN, fcn8s, padded_vgg16


def get_config() -> ConfigDict:
    return recipe.get_config(width=64, hidden=4096, scale_pool4=1.0, scale_pool3=1.0)


def model(config: Any, card: dict) -> FCN:
    options = recipe.options(config)
    backbone = padded_vgg16(config.model.width, dtype=options["dtype"])
    return fcn8s(
        len(card["class_names"]),
        backbone=backbone,
        hidden=config.model.hidden,
        scale_pool4=config.model.scale_pool4,
        scale_pool3=config.model.scale_pool3,
        **options,
    )


sources, card = recipe.sources, recipe.card


def task(config: Any, card: dict) -> Task:
    return recipe.task(config, card, model(config, card))


def build(config: Any) -> Experiment:
    return recipe.build(config, task)
