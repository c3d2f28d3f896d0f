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

from segjax.core import Experiment
from segjax.errors import choose
from segjax.models import ternausnet
from segjax.recipes import networks, semantic

VARIANTS = {
    "ternausnet11": ternausnet.ternausnet11,
    "ternausnet11_surgical": ternausnet.ternausnet11_surgical,
    "ternausnet16": ternausnet.ternausnet16,
    "ternausnet16_transposed": ternausnet.ternausnet16_transposed,
    "albunet34": ternausnet.albunet34,
    "albunet34_transposed": ternausnet.albunet34_transposed,
}


def get_config() -> ConfigDict:
    return semantic.get_config(variant="ternausnet11")


def model(config: Any, num_classes: int) -> ternausnet.TernausNet:
    network = choose(VARIANTS, config.model.variant, "config.model.variant")
    net = network(num_classes, **networks.options(config))
    return net.clone(backbone=networks.prepared(net.backbone, config))


def build(config: Any, facts: Any = None) -> Experiment:
    return semantic.build(config, model, facts)
