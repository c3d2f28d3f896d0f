"""The recurrent convolutional network of Pinheiro and Collobert 2014 on CamVid.

    python -m segjax.main --config=configs/pinheiro_recurrent.py --config.manual_dir=camvid

One small network, applied to the image and to its own labels, `instances` times with the same
weights; the losses of all instances are summed.
"""

from typing import Any

from ml_collections import ConfigDict

from segjax import recipe
from segjax.core import Experiment, Task
from segjax.models.pinheiro_recurrent import RecurrentCNN


def get_config() -> ConfigDict:
    return recipe.get_config(maps=(25, 50), instances=2)


def model(config: Any, card: dict) -> RecurrentCNN:
    return RecurrentCNN(
        len(card["class_names"]),
        maps=tuple(config.model.maps),
        instances=config.model.instances,
        padding="same",
        **recipe.options_without_upsampler(config),
    )


sources, card = recipe.sources, recipe.card


def task(config: Any, card: dict) -> Task:
    earlier = {f"instance{p}": 1.0 for p in range(1, config.model.instances)}
    return recipe.task(config, card, model(config, card), earlier)


def build(config: Any) -> Experiment:
    return recipe.build(config, task)
