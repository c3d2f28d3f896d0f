"""The generic hourglass: an encoder that halves the resolution and a decoder that mirrors it.

The common form of DeconvNet, SegNet and U-Net, for ablations over how to go down, how to go up and
what to carry across.
"""

from collections.abc import Callable
from typing import Any, Literal

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from segjax.errors import InputError
from segjax.models.unet import without_skip
from segjax.nn.layers import BatchNorm, Conv, ConvNorm
from segjax.nn.sizes import check_multiple, round_up
from segjax.nn.upsample import Nearest
from segjax.ops.pooling import max_pool_with_switches


def add(skip: jax.Array, up: jax.Array) -> jax.Array:
    """A skip that adds the encoder's features to the decoder's; `unet` has the other merges."""
    return skip + up


class Hourglass(nn.Module):
    """`depth` stages of two 3x3 convolutions and a halving, and their mirror image.

    Images [B, H, W, C] -> {'logits': float32 [B, H, W, num_classes]}; H and W are multiples of
    2**depth, or InputError. `width` doubles at each stage, so that every stage costs what the
    second does. `down` halves by 2x2 max-pooling, whose switches max unpooling then takes, or by a
    strided 3x3 convolution; `upsample` is any factory of `nn.upsample`; `merge` joins a stage of
    the encoder with its mirror image: `unet.without_skip`, `unet.concatenate` or `add`. The
    defaults have 11,131,861 parameters for 21 classes.
    """

    num_classes: int
    width: int = 64
    depth: int = 4
    down: Literal["max_pool", "strided_conv"] = "max_pool"
    norm: Callable[..., nn.Module] | None = BatchNorm
    upsample: Callable[..., nn.Module] = Nearest
    merge: Callable[[jax.Array, jax.Array], jax.Array] = without_skip
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        chex.assert_rank(image, 4)
        check_multiple(image.shape[1:3], 2**self.depth, "Hourglass")
        if self.down not in ("max_pool", "strided_conv"):
            raise InputError(f"down is '{self.down}'; the choices are 'max_pool', 'strided_conv'.")

        def conv(name: str, level: int, x: jax.Array, stride: int = 1) -> jax.Array:
            features = self.width * 2**level
            layer = ConvNorm(features, stride=stride, norm=self.norm, dtype=self.dtype, name=name)
            return layer(x, train=train)

        x, skips = image, []
        for level in range(self.depth):
            for i in (1, 2):
                x = conv(f"down{level}_{i}", level, x)
            skip, switches = x, None
            if self.down == "max_pool":
                x, switches = max_pool_with_switches(x)
            else:
                x = conv(f"halve{level}", level, x, stride=2)
            skips.append((skip, switches))
        for level in reversed(range(self.depth)):
            skip, switches = skips[level]
            up = self.upsample(features=self.width * 2**level, dtype=self.dtype, name=f"up{level}")
            x = self.merge(skip, up(x, switches=switches, size=skip.shape[1:3]))
            for i in (1, 2):
                x = conv(f"merge{level}_{i}", level, x)
        logits = Conv(self.num_classes, (1, 1), dtype=self.dtype, name="head")(x)
        return {"logits": logits.astype(jnp.float32)}

    def input_size(self, output: int) -> int:
        """The smallest legal side of an input whose output covers `output` pixels."""
        return round_up(output, 2**self.depth)

    def output_size(self, size: int) -> int:
        """The side of the output for a legal side of the input."""
        return size
