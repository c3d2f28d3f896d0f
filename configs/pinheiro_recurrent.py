"""The recurrent convolutional network of Pinheiro and Collobert 2014 on CamVid.

    python -m segjax.main --config=configs/pinheiro_recurrent.py --config.manual_dir=camvid

One small network, applied to the image and to its own labels, `instances` times with the same
weights; the losses of all instances are summed.
"""

from typing import Any

from ml_collections import ConfigDict

from segjax.core import Experiment
from segjax.models.pinheiro_recurrent import RecurrentCNN
from segjax.recipes import networks, semantic


def get_config() -> ConfigDict:
    return semantic.get_config(maps=(25, 50), instances=2)


def model(config: Any, num_classes: int) -> RecurrentCNN:
    return RecurrentCNN(
        num_classes,
        maps=tuple(config.model.maps),
        instances=config.model.instances,
        padding="same",
        **networks.options_without_upsampler(config),
    )


def build(config: Any, facts: Any = None) -> Experiment:
    earlier = {f"instance{p}": 1.0 for p in range(1, config.model.instances)}
    return semantic.build(config, model, facts, auxiliary=earlier)
