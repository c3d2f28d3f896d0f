"""The naive fully convolutional network: full resolution from the first layer to the last."""

from collections.abc import Callable
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from segjax.nn.layers import BatchNorm, Conv, ConvNorm


class NaiveFCN(nn.Module):
    """`depth` 3x3 convolutions of constant `width` at full resolution, then a 1x1 classifier.

    Images [B, H, W, C] -> {'logits': float32 [B, H, W, num_classes]}, of any size. It is what an
    encoder-decoder is measured against: a pixel sees 2 depth + 1 pixels a side (17 by default), and
    each layer costs 9 width**2 H W multiplications and keeps H W width activations. 262,165
    parameters for 21 classes.
    """

    num_classes: int
    width: int = 64
    depth: int = 8
    norm: Callable[..., nn.Module] | None = BatchNorm
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        chex.assert_rank(image, 4)
        x = image
        for i in range(1, self.depth + 1):
            conv = ConvNorm(self.width, norm=self.norm, dtype=self.dtype, name=f"conv{i}")
            x = conv(x, train=train)
        logits = Conv(self.num_classes, (1, 1), dtype=self.dtype, name="head")(x)
        return {"logits": logits.astype(jnp.float32)}

    def input_size(self, output: int) -> int:
        """The smallest legal side of an input whose output covers `output` pixels."""
        return output

    def output_size(self, size: int) -> int:
        """The side of the output for a legal side of the input."""
        return size
