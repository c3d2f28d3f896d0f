"""U-Nets with several inputs, on CamVid: the networks that the name is used for.

    python -m segjax.main --config=configs/multi_input_unet.py --config.manual_dir=camvid
    python -m segjax.main --config=configs/multi_input_unet.py --config.manual_dir=camvid \\
        --config.model.reading=mimo_unet

config.model.reading is m_net (Fu et al. 2018), attention_m_net (Abraham and Khan 2019) or mimo_unet
(Cho et al. 2021), which see the image at several scales and are trained at each; or multi_modal,
which has an encoder for each of the groups of channels that
config.model.modalities counts: on CamVid for red, and for green and blue; (3, 1) is for depth
beside colour.

All are trained by softmax cross-entropy, on every output of theirs. The papers of the first two
train on overlapping labels, by the binary cross-entropy and by the focal Tversky loss.
"""

import functools
from typing import Any

from ml_collections import ConfigDict

from segjax.core import Experiment
from segjax.errors import choose
from segjax.models.attention_m_net import AttentionMNet
from segjax.models.m_net import MNet
from segjax.models.mimo_unet import MIMOUNet
from segjax.models.multi_modal_unet import MultiModalUNet
from segjax.nn.layers import BatchNorm
from segjax.recipes import networks, semantic

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
    return semantic.get_config(reading="m_net", width=32, modalities=(1, 2))


def model(config: Any, num_classes: int) -> Any:
    network = choose(READINGS, config.model.reading, "config.model.reading")
    options = networks.options(config)
    if config.model.reading == "multi_modal":
        options["modalities"] = config.model.modalities
    return network(num_classes, width=config.model.width, **options)


def build(config: Any, facts: Any = None) -> Experiment:
    return semantic.build(config, model, facts, auxiliary=AUXILIARY[config.model.reading])
