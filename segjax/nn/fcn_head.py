"""The head of a fully convolutional ResNet, in wide use as the auxiliary head of others."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from segjax.nn.layers import BatchNorm, Conv, ConvNorm


class FCNHead(nn.Module):
    """3x3 convolution, normalisation, ReLU, dropout, 1x1: [B, h, w, C] -> [B, h, w, num_classes].

    Behind a middle stage, with a loss of its own, it is the auxiliary head of PSPNet (Zhao et al.
    2016, section 3.3). The 3x3 makes `features` channels, C // 4 unless given. `drop` is of values,
    as in torchvision, or `SpatialDropout`, of whole maps, as in semseg and mmsegmentation.
    """

    num_classes: int
    features: int | None = None
    dropout: float = 0.1
    drop: Callable[..., nn.Module] = nn.Dropout
    norm: Callable[..., nn.Module] | None = BatchNorm
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        features = x.shape[-1] // 4 if self.features is None else self.features
        conv = ConvNorm(features, norm=self.norm, dtype=self.dtype, name="conv")
        x = self.drop(self.dropout, deterministic=not train)(conv(x, train=train))
        return Conv(self.num_classes, (1, 1), dtype=self.dtype, name="logits")(x)


def enlarged(
    upsample: Callable[..., nn.Module],
    image: jax.Array,
    name: str,
    logits: jax.Array,
    stride: int,
) -> jax.Array:
    """Logits [B, h, w, num_classes] of this stride -> float32 [B, H, W, num_classes].

    H and W are those of the image [B, H, W, C]; `upsample`, a factory of `nn.upsample`, makes the
    module `name`.
    """
    up = upsample(features=logits.shape[-1], factor=stride, dtype=jnp.float32, name=name)
    return up(logits.astype(jnp.float32), size=image.shape[1:3])


def stride_of(level: str, output_stride: int) -> int:
    """The stride of a backbone's map, 'c1' to 'c5': dilated stages stay at `output_stride`."""
    return min(2 ** int(level[1:]), output_stride)
