"""Inverted residual units, which MobileNet v2, MobileNet v3 and EfficientNet are made of."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from segjax.nn.layers import BatchNorm, Conv
from segjax.ops.activation import relu

Activation = Callable[[jax.Array], jax.Array]


def make_divisible(channels: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `channels`, and at least nine tenths of it.

    As the authors of the MobileNets scale their widths.
    """
    nearest = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * channels else nearest


def conv_norm(
    x: jax.Array,
    features: int,
    kernel_size: int,
    name: str,
    *,
    norm: Callable[..., nn.Module],
    train: bool,
    activation: Activation | None = None,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    padding: Any = None,
    dtype: Any = None,
) -> jax.Array:
    """Convolution `name`, normalisation `name`_norm and an activation, inside a compact method.

    [B, H, W, C] -> [B, h, w, features]. `padding` is torch's unless given: the same on every side.
    """
    x = Conv(
        features,
        (kernel_size, kernel_size),
        strides=stride,
        padding=dilation * (kernel_size - 1) // 2 if padding is None else padding,
        kernel_dilation=dilation,
        feature_group_count=groups,
        use_bias=False,
        dtype=dtype,
        name=name,
    )(x)
    x = norm(dtype=dtype, name=f"{name}_norm")(x, train=train)
    return x if activation is None else activation(x)


class SqueezeExcitation(nn.Module):
    """Weighs each channel of [B, H, W, C] by what the means of all channels say.

    Hu et al. 2017, arXiv:1709.01507, section 3; `features` are those of the squeezed vector.
    """

    features: int
    activation: Activation = relu
    gate: Activation = nn.sigmoid
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = jnp.mean(x, axis=(1, 2), keepdims=True)
        y = self.activation(Conv(self.features, (1, 1), dtype=self.dtype, name="fc1")(y))
        return x * self.gate(Conv(x.shape[-1], (1, 1), dtype=self.dtype, name="fc2")(y))


class InvertedResidual(nn.Module):
    """1x1 convolution to `expanded` channels, one filter a channel, 1x1 to `features`, no ReLU.

    The input is added where the shapes agree. Sandler et al. 2018, arXiv:1801.04381, section 3.3.
    `squeeze` makes the gate that MobileNet v3 and EfficientNet have before the projection.
    `padding` is of the filter. In training the unit is left out for a fraction `drop_rate` of the
    examples (stochastic depth, Huang et al. 2016, arXiv:1603.09382; random numbers 'dropout').
    """

    features: int
    expanded: int
    kernel_size: int = 3
    stride: int = 1
    dilation: int = 1
    activation: Activation = nn.relu6
    squeeze: Callable[..., nn.Module] | None = None
    padding: Any = None
    drop_rate: float = 0.0
    norm: Callable[..., nn.Module] = BatchNorm
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        conv = functools.partial(conv_norm, norm=self.norm, train=train, dtype=self.dtype)
        y = x
        if self.expanded != x.shape[-1]:
            y = conv(y, self.expanded, 1, "expand", activation=self.activation)
        y = conv(
            y,
            self.expanded,
            self.kernel_size,
            "depthwise",
            activation=self.activation,
            stride=self.stride,
            dilation=self.dilation,
            groups=self.expanded,
            padding=self.padding,
        )
        if self.squeeze is not None:
            y = self.squeeze(dtype=self.dtype, name="squeeze")(y)
        y = conv(y, self.features, 1, "project")
        if y.shape != x.shape:
            return y
        # one random number for each example
        drop = nn.Dropout(self.drop_rate, broadcast_dims=(1, 2, 3), deterministic=not train)
        return x + drop(y)
