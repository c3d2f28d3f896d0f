"""MobileNetV2: Inverted Residuals and Linear Bottlenecks (Sandler et al. 2018).

arXiv:1801.04381.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from segjax.nn.layers import BatchNorm, Dense
from segjax.nn.mobile import InvertedResidual, conv_norm, make_divisible


class Stage(NamedTuple):
    """A row of table 2."""

    expansion: int
    features: int
    units: int
    stride: int


STAGES = (
    Stage(1, 16, 1, 1),
    Stage(6, 24, 2, 2),  # 1/4
    Stage(6, 32, 3, 2),  # 1/8
    Stage(6, 64, 4, 2),  # 1/16
    Stage(6, 96, 3, 1),
    Stage(6, 160, 3, 2),  # 1/32
    Stage(6, 320, 1, 1),
)
"""Table 2."""


class MobileNetV2(nn.Module):
    """Images [B, H, W, C] -> {'c1', 'c2', 'c3', 'c4', 'c5'}; see `segjax.backbones`.

    'c1' to 'c4' are outputs of the last unit at their stride (16, 24, 32 and 96 channels), 'c5' is
    the last 1x1 convolution (1280). `width_mult` scales every width, to multiples of 8; the last
    one does not shrink. Submodules are numbered as torchvision's `features`.
    """

    stages: tuple[Stage, ...] = STAGES
    width_mult: float = 1.0
    last: int = 1280
    norm: Callable[..., nn.Module] = BatchNorm
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        chex.assert_rank(image, 4)
        conv = functools.partial(
            conv_norm, activation=nn.relu6, norm=self.norm, train=train, dtype=self.dtype
        )
        x = conv(image, make_divisible(32 * self.width_mult), 3, "features_0", stride=2)
        maps, level, number = {}, 1, 1
        for stage in self.stages:
            level += stage.stride - 1
            for i in range(stage.units):
                x = InvertedResidual(
                    features=make_divisible(stage.features * self.width_mult),
                    expanded=stage.expansion * x.shape[-1],
                    stride=stage.stride if i == 0 else 1,
                    norm=self.norm,
                    dtype=self.dtype,
                    name=f"features_{number}",
                )(x, train=train)
                number += 1
            maps[f"c{level}"] = x
        last = make_divisible(self.last * max(1.0, self.width_mult))
        maps["c5"] = conv(x, last, 1, f"features_{number}")
        return maps


class Classifier(nn.Module):
    """The backbone as the classifier it is trained as: images -> {'logits': [B, num_classes]}.

    3,504,872 parameters.
    """

    backbone: nn.Module
    num_classes: int = 1000
    dropout: float = 0.2

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        x = jnp.mean(self.backbone(image, train=train)["c5"], axis=(1, 2), dtype=jnp.float32)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return {"logits": Dense(self.num_classes, name="fc")(x)}
