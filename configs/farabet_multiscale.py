"""The multiscale convolutional network of Farabet et al. 2013 on CamVid.

    python -m segjax.main --config=configs/farabet_multiscale.py --config.manual_dir=camvid

The network makes a Laplacian pyramid of the image in YUV itself. The superpixels and segmentation
trees that the paper cleans its labels with are not here. Its classifier has a hidden layer of 1024;
`--config.model.hidden=0` is the linear one.
"""

from typing import Any

from ml_collections import ConfigDict

from segjax.core import Experiment
from segjax.models.farabet_multiscale import FarabetMultiscale
from segjax.recipes import networks, semantic


def get_config() -> ConfigDict:
    return semantic.get_config(width=16, hidden=1024)


def model(config: Any, num_classes: int) -> FarabetMultiscale:
    width = config.model.width
    return FarabetMultiscale(
        num_classes,
        maps=(width, 4 * width, 16 * width),
        hidden=config.model.hidden or None,
        **networks.options(config),
    )


def build(config: Any, facts: Any = None) -> Experiment:
    return semantic.build(config, model, facts)
