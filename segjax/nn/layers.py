"""Convolution, normalisation and their block as every model here uses them."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from segjax.errors import InputError
from segjax.nn.initializers import he_normal
from segjax.ops import convolution
from segjax.ops.activation import relu

Conv = functools.partial(
    nn.Conv, kernel_init=he_normal, conv_general_dilated=convolution.conv_general_dilated
)
"""`nn.Conv` with He's initialisation and the formulations of `ops.convolution`."""

Dense = functools.partial(nn.Dense, kernel_init=he_normal)
"""`nn.Dense` with He's initialisation."""

SpatialDropout = functools.partial(nn.Dropout, broadcast_dims=(1, 2))
"""Dropout of whole maps of [B, H, W, C] (Tompson et al. 2015, arXiv:1411.4280, section 3.2)."""

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
"""What a config may name to compute in."""


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe and Szegedy 2015, algorithms 1 and 2) of [..., C].

    Statistics are float32 and over the global batch, however many devices share it. `momentum`
    0.9 is what torch calls 0.1. As in the paper and in torch, the running variance is of the
    unbiased estimate, n / (n - 1) times the batch's own. Raises InputError when traced for
    training on a single value a channel, whose variance is 0.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        channels = x.shape[-1]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels)
        running_var = self.variable("batch_stats", "var", jnp.ones, channels)
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        mean, var = running_mean.value, running_var.value
        if train:
            n = x.size // channels
            if n < 2:
                raise InputError(
                    f"The BatchNorm {'/'.join(self.path)} sees one value a channel, {x.shape}, and "
                    "cannot learn its variance: train on two images a batch or more, or on larger "
                    "ones, or use another norm."
                )
            mean, var = moments(x)
            if not self.is_initializing():
                new = 1 - self.momentum
                running_mean.value = self.momentum * running_mean.value + new * mean
                running_var.value = self.momentum * running_var.value + new * var * (n / (n - 1))
        y = (x - mean) * (jax.lax.rsqrt(var + self.epsilon) * scale) + bias
        return y if self.dtype is None else y.astype(self.dtype)


def moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and biased variance [C] of the channels of [..., C], in float32 or wider.

    As E[x^2] - E[x]^2, at least 0: one pass over the array instead of two.
    """
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    axes = tuple(range(x.ndim - 1))
    mean = jnp.mean(x, axes)
    return mean, jnp.maximum(jnp.mean(jax.lax.square(x), axes) - jax.lax.square(mean), 0)


class FrozenBatchNorm(nn.Module):
    """Batch normalisation with fixed statistics, scale and bias: none of it is trained.

    All four are in the collection `batch_stats`, as buffers, and meant to be loaded. As detectors
    and RefineNet keep the normalisation of a pretrained backbone.
    """

    epsilon: float = 1e-5
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        del train  # the same in training and evaluation

        def buffer(name: str, value: float) -> jax.Array:
            return self.variable("batch_stats", name, jnp.full, x.shape[-1:], value).value

        scale, bias = buffer("scale", 1.0), buffer("bias", 0.0)
        scale = scale * jax.lax.rsqrt(buffer("var", 1.0) + self.epsilon)
        y = x * scale + (bias - buffer("mean", 0.0) * scale)
        return y.astype(self.dtype or x.dtype)


class GroupNorm(nn.Module):
    """Group normalisation (Wu and He 2018); statistics are float32 and per example."""

    num_groups: int = 8
    epsilon: float = 1e-5
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        del train  # the same in training and evaluation
        norm = nn.GroupNorm(self.num_groups, epsilon=self.epsilon, dtype=self.dtype)
        nn.share_scope(self, norm)
        return norm(x)


class ConvNorm(nn.Module):
    """Convolution `conv`, normalisation `norm` and an activation: [B, H, W, C] -> [B, h, w, F].

    Padded by dilation * (kernel_size - 1) // 2 on every side, as torch's layers are, which differs
    from 'SAME' at stride 2. The convolution has a bias where there is no norm, or if asked to;
    `norm=None` and `activation=None` leave theirs out.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    norm: Callable[..., nn.Module] | None = BatchNorm
    activation: Callable[[jax.Array], jax.Array] | None = relu
    use_bias: bool | None = None
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = Conv(
            self.features,
            (self.kernel_size, self.kernel_size),
            strides=self.stride,
            padding=self.dilation * (self.kernel_size - 1) // 2,
            kernel_dilation=self.dilation,
            feature_group_count=self.groups,
            use_bias=self.norm is None if self.use_bias is None else self.use_bias,
            dtype=self.dtype,
            name="conv",
        )(x)
        if self.norm is not None:
            x = self.norm(dtype=self.dtype, name="norm")(x, train=train)
        return x if self.activation is None else self.activation(x)
