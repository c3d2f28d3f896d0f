"""TernausNet (Iglovikov and Shvets 2018) on CamVid, and its successors.

    python -m segjax.main --config=configs/ternausnet.py --config.manual_dir=camvid
    python -m segjax.main --config=configs/ternausnet.py --config.manual_dir=camvid \\
        --config.init_from=vgg11-8a719046.pth:backbone
    python -m segjax.main --config=configs/ternausnet.py --config.manual_dir=camvid \\
        --config.model.variant=albunet34

config.model.variant is one of those below. The paper's IoU on Inria's buildings is 0.593 from
random weights and 0.686 from ImageNet's.
"""

from typing import Any

from ml_collections import ConfigDict

from segjax import recipe
from segjax.core import Experiment, Task
from segjax.errors import choose
from segjax.models import ternausnet

VARIANTS = {
    "ternausnet11": ternausnet.ternausnet11,
    "ternausnet11_surgical": ternausnet.ternausnet11_surgical,
    "ternausnet16": ternausnet.ternausnet16,
    "ternausnet16_transposed": ternausnet.ternausnet16_transposed,
    "albunet34": ternausnet.albunet34,
    "albunet34_transposed": ternausnet.albunet34_transposed,
}


def get_config() -> ConfigDict:
    return recipe.get_config(variant="ternausnet11")


def model(config: Any, card: dict) -> ternausnet.TernausNet:
    network = choose(VARIANTS, config.model.variant, "config.model.variant")
    net = network(len(card["class_names"]), **recipe.options(config))
    return net.clone(backbone=recipe.prepared(net.backbone, config))


sources, card = recipe.sources, recipe.card


def task(config: Any, card: dict) -> Task:
    return recipe.task(config, card, model(config, card))


def build(config: Any) -> Experiment:
    return recipe.build(config, task)
