"""Atrous spatial pyramid pooling, and the separable convolution it may be made of."""

from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from segjax.nn.layers import BatchNorm, ConvNorm
from segjax.ops.activation import relu


class SeparableConvNorm(nn.Module):
    """Depthwise and 1x1 convolution in place of `ConvNorm`: [B, H, W, C] -> [B, H, W, features].

    A normalisation and a ReLU follow each of the two, or with `depthwise='linear'` the second only.
    Chen et al. 2018 (DeepLab v3+), section 3.1.
    """

    features: int
    kernel_size: int = 3
    dilation: int = 1
    depthwise: Literal["norm", "linear"] = "norm"
    norm: Callable[..., nn.Module] | None = BatchNorm
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        linear = self.depthwise == "linear"
        x = ConvNorm(
            x.shape[-1],
            self.kernel_size,
            dilation=self.dilation,
            groups=x.shape[-1],
            norm=None if linear else self.norm,
            activation=None if linear else relu,
            use_bias=False if linear else None,
            dtype=self.dtype,
            name="depthwise",
        )(x, train=train)
        pointwise = ConvNorm(self.features, 1, norm=self.norm, dtype=self.dtype, name="pointwise")
        return pointwise(x, train=train)


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: [B, h, w, C] -> [B, h, w, features].

    A 1x1 convolution, 3x3 convolutions dilated by `rates` and the image's mean, side by side, then
    a convolution over all of them. Chen et al. 2017 (DeepLab v3, arXiv:1706.05587), section 3.3,
    whose rates are 6, 12, 18 at output stride 16 and twice that at 8. The mean's place in the
    concatenation (first in DeepLab's TensorFlow code and mmseg, last in torchvision and smp)
    matters to imported weights only.
    """

    features: int = 256
    rates: tuple[int, ...] = (6, 12, 18)
    conv: Callable[..., nn.Module] = ConvNorm  # of the dilated branches
    fuse_size: int = 1  # kernel size of the last convolution
    pooled: Literal["first", "last"] = "first"
    dropout: float = 0.1
    drop: Callable[..., nn.Module] = nn.Dropout  # or SpatialDropout
    norm: Callable[..., nn.Module] | None = BatchNorm
    dtype: Any = None
    stride = 1

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        options = {"norm": self.norm, "dtype": self.dtype}
        branches = [ConvNorm(self.features, 1, **options, name="branch0")(x, train=train)]
        for i, rate in enumerate(self.rates, 1):
            conv = self.conv(self.features, dilation=rate, **options, name=f"branch{i}")
            branches.append(conv(x, train=train))
        mean = jnp.mean(x, axis=(1, 2), keepdims=True, dtype=jnp.float32).astype(x.dtype)
        mean = ConvNorm(self.features, 1, **options, name="pool")(mean, train=train)
        mean = jnp.broadcast_to(mean, branches[0].shape)
        branches = [mean, *branches] if self.pooled == "first" else [*branches, mean]
        # Weights that expect the mean elsewhere must not fit: its place is in the name.
        fuse = ConvNorm(self.features, self.fuse_size, **options, name=f"fuse_{self.pooled}")
        x = fuse(jnp.concatenate(branches, axis=-1), train=train)
        return self.drop(self.dropout, deterministic=not train)(x)
