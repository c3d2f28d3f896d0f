"""Three upsamplers of volumes that swap in for one another: `nn.upsample` in three dimensions.

Each takes [B, d, h, w, C] to [B, factor*d, factor*h, factor*w, features]. The two without weights
of their own start with a 1x1x1 convolution `project` where C differs from features.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

from segjax.nn.initializers import he_normal
from segjax.nn.layers import Conv
from segjax.ops import resize


class TransposedConv3D(nn.Module):
    """Transposed convolution whose kernel is its stride: kernel [k, k, k, C, features], no overlap.

    One matrix product and a rearrangement, so its gradient is too. Çiçek et al. 2016, section 2.
    """

    features: int
    factor: int = 2
    dtype: Any = None
    use_bias: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        k, channels = self.factor, x.shape[-1]

        def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
            return k**1.5 * he_normal(key, shape, dtype)  # an output sees one tap, not k**3

        kernel = self.param("kernel", init, (k, k, k, channels, self.features))
        x, kernel = promote_dtype(x, kernel, dtype=self.dtype)
        b, d, h, w, _ = x.shape
        matrix = kernel.transpose(3, 0, 1, 2, 4).reshape(channels, k**3 * self.features)
        y = (x.reshape(-1, channels) @ matrix).reshape(b, d, h, w, k, k, k, self.features)
        y = y.transpose(0, 1, 4, 2, 5, 3, 6, 7).reshape(b, k * d, k * h, k * w, self.features)
        if self.use_bias:
            y += self.param("bias", nn.initializers.zeros, (self.features,)).astype(y.dtype)
        return y


class Nearest3D(nn.Module):
    """Nearest-neighbour upsampling of a volume."""

    features: int
    factor: int = 2
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = _project(x, self.features, self.dtype)
        for axis in (1, 2, 3):
            x = jnp.repeat(x, self.factor, axis)
        return x


class Trilinear3D(nn.Module):
    """Trilinear upsampling of a volume in the half-pixel convention."""

    features: int
    factor: int = 2
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = _project(x, self.features, self.dtype)
        b, d, h, w, c = x.shape
        k = self.factor
        x = resize.bilinear(x.reshape(b * d, h, w, c), (k * h, k * w))  # the planes, then depth
        x = resize.bilinear(x.reshape(b, d, k * k * h * w, c), (k * d, k * k * h * w))
        return x.reshape(b, k * d, k * h, k * w, c)


def _project(x: jax.Array, features: int, dtype: Any) -> jax.Array:
    if x.shape[-1] != features:
        return Conv(features, (1, 1, 1), dtype=dtype, name="project")(x)
    return x if dtype is None else x.astype(dtype)


UPSAMPLERS_3D: dict[str, Callable[..., nn.Module]] = {
    "transposed": TransposedConv3D,
    "nearest": Nearest3D,
    "trilinear": Trilinear3D,
}
