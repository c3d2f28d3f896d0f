"""U-Net with padded convolutions on the ISBI 2012 EM challenge, sized for two CPU cores.

    python -m segjax.main --config=configs/unet_isbi.py --config.manual_dir=isbi_em

24 sections train, the last 6 validate. `manual_dir` is the folder with the challenge's files; it is
read once. Ours: pixel error 0.0794, V_rand 0.9704, V_info 0.9780, in 17 minutes on two cores of an
AMD EPYC. The paper scores the challenge's test sections (pixel error 0.0611, Rand error 0.0382).
"""

from functools import partial
from typing import Any

from ml_collections import ConfigDict

from segjax.core import Experiment
from segjax.data.border_weights import border_weights_of
from segjax.models.unet import UNet, unet_padded
from segjax.recipes import networks, semantic


def get_config() -> ConfigDict:
    config = semantic.get_config(dataset="isbi_em", width=16, dropout=0.2)
    config.border_weight = 2.0
    config.batch_size = 4
    config.learning_rate = 2e-3
    config.schedule = "cosine"
    config.update({"train": {"steps": 900, "eval_every": 300}})
    return config


def model(config: Any, num_classes: int) -> UNet:
    options = networks.options(config)
    return unet_padded(num_classes, config.model.width, dropout=config.model.dropout, **options)


def build(config: Any, facts: Any = None) -> Experiment:
    weights = partial(border_weights_of, w0=config.border_weight, class_balance=False)
    return semantic.build(config, model, facts, pixel_weights=weights)
