"""Each architecture at a size that compiles in seconds, and the upsamplers that fit its decoder."""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn

from segjax.models import unet
from segjax.nn.layers import BatchNorm
from segjax.nn.upsample import UPSAMPLERS

ALL = tuple(UPSAMPLERS)
UNPAIRED = tuple(name for name in ALL if name != "max_unpool")  # no switches behind this decoder


class Tiny(NamedTuple):
    make: Callable[..., nn.Module]  # keywords such as upsample= -> a network of three classes
    input: tuple[int, ...]  # (height, width, channels), as small as it goes, not square
    upsamplers: tuple[str, ...]  # that fit at this size


TINY = {
    # --- U-Net and the image-to-image family
    "unet": Tiny(
        lambda **kw: unet.UNet(3, width=4, depth=2, padding="same", norm=BatchNorm, **kw),
        (16, 24, 3),
        ALL,
    ),
    # --- section A
    # --- section B
    # --- section C
    # --- section D
    # --- section E
    # --- section F
}
