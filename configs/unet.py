"""U-Net on generated microscopy images of touching cells: the run to start with.

    python -m segjax.main --config=configs/unet.py --workdir=runs/unet
    python -m segjax.main --config=configs/unet.py --config.dataset=folder --config.root=my_data
    python -m segjax.main --config=configs/unet.py --config.dataset=camvid \\
        --config.manual_dir=camvid --config.model.dropout=0.2

Everything is generated for the first, nothing is downloaded. Ours, over three seeds: mIoU 0.812,
boundary IoU 0.674, V_rand 0.880, in less than four minutes on two cores of an AMD EPYC. The second
trains on your own images: docs/data.md tells how to lay them out and which files can be read.

config.model.variant is padded or bilinear, the two of milesial/Pytorch-UNet: what halves the
channels on the way up. config.border_weight is for sets that know instances, such as cells.
"""

from functools import partial
from typing import Any

from ml_collections import ConfigDict

from segjax.core import Experiment
from segjax.data.border_weights import border_weights_of
from segjax.errors import choose
from segjax.models import unet
from segjax.recipes import networks, semantic

VARIANTS = {"padded": unet.unet_padded, "bilinear": unet.unet_bilinear}
MERGES = {"concatenate": unet.concatenate, "none": unet.without_skip}


def get_config() -> ConfigDict:
    # remat: recompute activations in the backward pass instead of storing them
    network = {"variant": "padded", "width": 16, "depth": 3, "merge": "concatenate"}
    config = semantic.get_config("cells", **network, dropout=0.0, remat=False)
    config.border_weight = 10.0  # w0 of the paper; 0: all pixels weigh the same
    config.learning_rate = 2e-3
    config.schedule = "cosine"
    config.update({"train": {"steps": 400, "eval_every": 200}})
    return config


def model(config: Any, num_classes: int) -> unet.UNet:
    network = choose(VARIANTS, config.model.variant, "config.model.variant")
    return network(
        num_classes,
        width=config.model.width,
        depth=config.model.depth,
        merge=choose(MERGES, config.model.merge, "config.model.merge"),
        dropout=config.model.dropout,
        remat=config.model.remat,
        **networks.options(config),
    )


def build(config: Any, facts: Any = None) -> Experiment:
    weights = partial(border_weights_of, w0=config.border_weight, class_balance=False)
    return semantic.build(config, model, facts, pixel_weights=weights)
