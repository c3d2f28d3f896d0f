"""The head of a fully convolutional ResNet, in wide use as the auxiliary head of others."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from segjax.nn.layers import BatchNorm, Conv, ConvNorm


class FCNHead(nn.Module):
    """3x3 convolution, normalisation, ReLU, dropout, 1x1: [B, h, w, C] -> [B, h, w, num_classes].

    Behind a middle stage, with a loss of its own, it is the auxiliary head of PSPNet (Zhao et al.
    2016, section 3.3). `drop` is of values, as in torchvision, or `SpatialDropout`, of whole maps,
    as in semseg and mmsegmentation.
    """

    num_classes: int
    features: int
    dropout: float = 0.1
    drop: Callable[..., nn.Module] = nn.Dropout
    norm: Callable[..., nn.Module] | None = BatchNorm
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        conv = ConvNorm(self.features, norm=self.norm, dtype=self.dtype, name="conv")
        x = self.drop(self.dropout, deterministic=not train)(conv(x, train=train))
        return Conv(self.num_classes, (1, 1), dtype=self.dtype, name="logits")(x)
