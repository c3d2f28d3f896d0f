"""The multiscale convolutional network of Farabet et al. 2013 on CamVid.

    python -m segjax.main --config=configs/farabet_multiscale.py --config.manual_dir=camvid

The network makes a Laplacian pyramid of the image in YUV itself. The superpixels and segmentation
trees that the paper cleans its labels with are not here. Its classifier has a hidden layer of 1024;
`--config.model.hidden=0` is the linear one.
"""

from typing import Any

from ml_collections import ConfigDict

from segjax import recipe
from segjax.core import Experiment, Task
from segjax.models.farabet_multiscale import FarabetMultiscale


def get_config() -> ConfigDict:
    return recipe.get_config(width=16, hidden=1024)


def model(config: Any, card: dict) -> FarabetMultiscale:
    width = config.model.width
    return FarabetMultiscale(
        len(card["class_names"]),
        maps=(width, 4 * width, 16 * width),
        hidden=config.model.hidden or None,
        **recipe.options(config),
    )


sources, card = recipe.sources, recipe.card


def task(config: Any, card: dict) -> Task:
    return recipe.task(config, card, model(config, card))


def build(config: Any) -> Experiment:
    return recipe.build(config, task)
