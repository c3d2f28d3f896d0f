"""U-Nets with several inputs, on CamVid: the networks that the name is used for.

    python -m segjax.main --config=configs/multi_input_unet.py --config.manual_dir=camvid
    python -m segjax.main --config=configs/multi_input_unet.py --config.manual_dir=camvid \\
        --config.model.reading=mimo_unet

config.model.reading is m_net (Fu et al. 2018), attention_m_net (Abraham and Khan 2019) or mimo_unet
(Cho et al. 2021), which see the image at several scales and are trained at each; or multi_modal,
which has an encoder for the first channel and one for the others: on CamVid for red, and for green
and blue. For depth beside colour build `MultiModalUNet(..., modalities=(1, 3))` on images of your
own with four channels; the data sets here have one or three.

All are trained by softmax cross-entropy, on every output of theirs. The papers of the first two
train on overlapping labels, by the binary cross-entropy and by the focal Tversky loss.
"""

import functools
from typing import Any

from ml_collections import ConfigDict

from segjax import recipe
from segjax.core import Experiment, Task
from segjax.errors import InputError, choose
from segjax.models.attention_m_net import AttentionMNet
from segjax.models.m_net import MNet
from segjax.models.mimo_unet import MIMOUNet
from segjax.models.multi_modal_unet import MultiModalUNet
from segjax.nn.layers import BatchNorm

READINGS = {
    "m_net": MNet,
    "attention_m_net": AttentionMNet,
    "mimo_unet": MIMOUNet,
    "multi_modal": functools.partial(MultiModalUNet, norm=BatchNorm),
}
AUXILIARY = {
    "m_net": {"side6": 1.0, "side7": 1.0, "side8": 1.0, "side9": 1.0},
    "attention_m_net": {"pred1": 1.0, "pred2": 1.0, "pred3": 1.0},
    "mimo_unet": {"logits2": 1.0, "logits4": 1.0},
    "multi_modal": {},
}


def get_config() -> ConfigDict:
    return recipe.get_config(reading="m_net", width=32)


def model(config: Any, card: dict) -> Any:
    network = choose(READINGS, config.model.reading, "config.model.reading")
    options = recipe.options(config)
    if config.model.reading == "multi_modal":
        if card["channels"] < 2:
            raise InputError("config.model.reading=multi_modal needs images of several channels.")
        options["modalities"] = (1, card["channels"] - 1)
    return network(len(card["class_names"]), width=config.model.width, **options)


sources, card = recipe.sources, recipe.card


def task(config: Any, card: dict) -> Task:
    return recipe.task(config, card, model(config, card), AUXILIARY[config.model.reading])


def build(config: Any) -> Experiment:
    return recipe.build(config, task)
