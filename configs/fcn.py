"""FCN-32s, 16s and 8s (Long et al. 2015) on CamVid, in the geometry of the authors' Caffe network.

    python -m segjax.main --config=configs/fcn.py --config.manual_dir=camvid \\
        --config.model.variant=fcn32s --workdir=runs/fcn32s \\
        --config.init_from=vgg16-397923af.pth:backbone
    python -m segjax.main --config=configs/fcn.py --config.manual_dir=camvid \\
        --config.model.variant=fcn16s --workdir=runs/fcn16s \\
        --config.init_from=runs/fcn32s:backbone,fc6,fc7,score_fr
    python -m segjax.main --config=configs/fcn.py --config.manual_dir=camvid \\
        --config.model.variant=fcn8s --workdir=runs/fcn8s \\
        --config.init_from=runs/fcn16s:backbone,fc6,fc7,score_fr,score_pool4

Three stages, each from the weights of the one before; config.model.variant fcn8s_at_once has none,
as the authors' second release. The paper's mean IU on VOC 2011 val is 63.6, 65.0 and 65.5.
"""

from typing import Any

from ml_collections import ConfigDict

from segjax.core import Experiment
from segjax.errors import choose
from segjax.models import fcn
from segjax.recipes import networks, semantic

VARIANTS = {
    "fcn32s": fcn.fcn32s,
    "fcn16s": fcn.fcn16s,
    "fcn8s": fcn.fcn8s,
    "fcn8s_at_once": fcn.fcn8s_at_once,
}


def get_config() -> ConfigDict:
    return semantic.get_config(variant="fcn32s", width=64, hidden=4096)


def model(config: Any, num_classes: int) -> fcn.FCN:
    network = choose(VARIANTS, config.model.variant, "config.model.variant")
    options = networks.options(config)
    backbone = fcn.padded_vgg16(config.model.width, dtype=options["dtype"])
    return network(num_classes, backbone=backbone, hidden=config.model.hidden, **options)


def build(config: Any, facts: Any = None) -> Experiment:
    return semantic.build(config, model, facts)
