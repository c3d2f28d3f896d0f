"""Every architecture here with the parameter count its paper or its authors' code gives.

`python -m segjax.summary --all` prints it; a test builds each row and compares the counts, and
fails when a file of `segjax.models` or `segjax.backbones` has no row.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn

from segjax.backbones import resnet
from segjax.models import unet


class Entry(NamedTuple):
    """A published network."""

    make: Callable[[], nn.Module]
    input: tuple[int, ...]  # (height, width, channels) it was published for
    parameters: int
    paper: str
    source: str  # of the count
    uncounted: str = ""  # pattern of the parameters' paths that the source leaves out


def _resnet(make, parameters):
    classifier = functools.partial(resnet.Classifier, make())
    return Entry(classifier, (224, 224, 3), parameters, "He et al. 2015", "torchvision")


MODELS = {
    # --- U-Net and the image-to-image family
    "unet": Entry(
        functools.partial(unet.UNet, 2),
        (572, 572, 1),
        31_030_658,
        "Ronneberger et al. 2015",
        "layer table of the paper",
    ),
    # --- section A
    # --- section B
    # --- section C
    # --- section D
    # --- section E
    # --- section F
}
"""Segmentation networks."""

BACKBONES = {
    "resnet18": _resnet(resnet.resnet18, 11_689_512),
    "resnet34": _resnet(resnet.resnet34, 21_797_672),
    "resnet50": _resnet(resnet.resnet50, 25_557_032),
    "resnet101": _resnet(resnet.resnet101, 44_549_160),
    "resnet152": _resnet(resnet.resnet152, 60_192_808),
    # --- section A
    # --- section C
    # --- section E
}
"""Classifiers whose features the networks above use."""
