"""Augmentation on the device, inside the training step: pure functions of a key and a batch.

An augmentation is a function `(key, batch) -> batch` of the fields of `segjax.fields`. Every
example has its own key, so what happens to it does not depend on its neighbours, nor on how the
batch is spread over devices. Images may be of integers and come out as float in [0, 1].
"""

from segjax.augment.compose import Augmentation, compose, with_augment
from segjax.augment.geometry import (
    Geometry,
    crop,
    elastic,
    flip,
    geometric,
    identity,
    large_scale_jitter,
    letterbox,
    move,
    quarter_turns,
    rotate,
    zoom,
)
from segjax.augment.photometric import gamma, gaussian_noise, photometric

__all__ = [
    "Augmentation",
    "Geometry",
    "compose",
    "crop",
    "elastic",
    "flip",
    "gamma",
    "gaussian_noise",
    "geometric",
    "identity",
    "large_scale_jitter",
    "letterbox",
    "move",
    "photometric",
    "quarter_turns",
    "rotate",
    "with_augment",
    "zoom",
]
