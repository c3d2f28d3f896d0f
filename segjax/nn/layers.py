"""Convolution and normalisation as every model here uses them."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from segjax.nn.initializers import he_normal
from segjax.ops import convolution

Conv = functools.partial(
    nn.Conv, kernel_init=he_normal, conv_general_dilated=convolution.conv_general_dilated
)
"""`nn.Conv` with He's initialisation and the formulations of `ops.convolution`."""


DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
"""What a config may name to compute in."""


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe and Szegedy 2015) with the field's usual constants.

    Statistics are float32 and over the global batch, however many devices share it. `momentum`
    0.9 is what torch calls 0.1.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return nn.BatchNorm(
            use_running_average=not train,
            momentum=self.momentum,
            epsilon=self.epsilon,
            dtype=self.dtype,
            name="norm",
        )(x)


class GroupNorm(nn.Module):
    """Group normalisation (Wu and He 2018); statistics are float32 and per example."""

    num_groups: int = 8
    epsilon: float = 1e-5
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        del train  # the same in training and evaluation
        return nn.GroupNorm(self.num_groups, epsilon=self.epsilon, dtype=self.dtype, name="norm")(x)
