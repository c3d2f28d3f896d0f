"""EfficientNet: Rethinking Model Scaling for CNNs (Tan and Le 2019, arXiv:1905.11946)."""

import functools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from segjax.nn.layers import BatchNorm, Dense
from segjax.nn.mobile import InvertedResidual, SqueezeExcitation, conv_norm, make_divisible


class Stage(NamedTuple):
    """A row of table 1."""

    expansion: int
    kernel_size: int
    stride: int
    features: int
    units: int


STAGES = (
    Stage(1, 3, 1, 16, 1),
    Stage(6, 3, 2, 24, 2),  # 1/4
    Stage(6, 5, 2, 40, 2),  # 1/8
    Stage(6, 3, 2, 80, 3),  # 1/16
    Stage(6, 5, 1, 112, 3),
    Stage(6, 5, 2, 192, 4),  # 1/32
    Stage(6, 3, 1, 320, 1),
)
"""Table 1."""

TFNorm = functools.partial(BatchNorm, epsilon=1e-3)
"""The authors' epsilon; torchvision has it from b5 on, and torch's own below.

Not their momentum of 0.99, which after 150 steps leaves a fifth of the statistics where they began.
"""


class EfficientNet(nn.Module):
    """Images [B, H, W, C] -> {'c1', 'c2', 'c3', 'c4', 'c5'}; see `segjax.backbones`.

    Outputs of the last unit at each stride (b0: 16, 24, 40, 112 and 320 channels); `taps` replaces
    some of them by those of other units, counted from 1 (0 is the stem). `width_mult` scales every
    width, to multiples of 8, and `depth_mult` every number of units, upwards (section 3.3).

    `padding` of the convolutions with strides: 'symmetric' is torch's (torchvision, timm's
    `efficientnet_*`), 'same' the authors' (timm's `tf_efficientnet_*`), which at stride 2 pads an
    even side at the end only. A number is 'same' for a square image of this side, whatever the
    image's, as Melas-Kyriazi's port and segmentation-models have it. In training each unit is left
    out for some examples (stochastic depth), up to a fraction `stochastic_depth` for the deepest.
    """

    stages: tuple[Stage, ...] = STAGES
    width_mult: float = 1.0
    depth_mult: float = 1.0
    padding: Literal["symmetric", "same"] | int = "symmetric"
    stochastic_depth: float = 0.2
    taps: tuple[tuple[str, int], ...] = ()
    norm: Callable[..., nn.Module] = BatchNorm
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        chex.assert_rank(image, 4)
        x = conv_norm(
            image,
            make_divisible(32 * self.width_mult),
            3,
            "features_0",
            norm=self.norm,
            train=train,
            activation=nn.silu,
            stride=2,
            padding=_padding(self.padding, 1, 3, 2),
            dtype=self.dtype,
        )
        maps, units, level = {"c1": x}, [x], 1
        depths = [math.ceil(stage.units * self.depth_mult) for stage in self.stages]
        for s, (stage, depth) in enumerate(zip(self.stages, depths, strict=True), 1):
            for i in range(depth):
                stride = stage.stride if i == 0 else 1
                squeeze = functools.partial(
                    SqueezeExcitation, max(1, x.shape[-1] // 4), activation=nn.silu
                )
                x = InvertedResidual(
                    features=make_divisible(stage.features * self.width_mult),
                    expanded=stage.expansion * x.shape[-1],
                    kernel_size=stage.kernel_size,
                    stride=stride,
                    activation=nn.silu,
                    squeeze=squeeze,
                    padding=_padding(self.padding, 2**level, stage.kernel_size, stride),
                    drop_rate=self.stochastic_depth * (len(units) - 1) / sum(depths),
                    norm=self.norm,
                    dtype=self.dtype,
                    name=f"features_{s}_{i}",
                )(x, train=train)
                units.append(x)
                level += stride - 1
            maps[f"c{level}"] = x
        return maps | {name: units[number] for name, number in self.taps}


class Classifier(nn.Module):
    """The backbone as the classifier it is trained as: images -> {'logits': [B, num_classes]}.

    b0 to b7 have 5,288,548, 7,794,184, 9,109,994, 12,233,232, 19,341,616, 30,389,784, 43,040,704
    and 66,347,960 parameters, and drop .2, .2, .3, .3, .4, .4, .5 and .5.
    """

    backbone: EfficientNet
    num_classes: int = 1000
    dropout: float = 0.2

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        x = self.backbone(image, train=train)["c5"]
        options = {"norm": self.backbone.norm, "train": train, "dtype": self.backbone.dtype}
        x = conv_norm(x, 4 * x.shape[-1], 1, "head", activation=nn.silu, **options)
        x = jnp.mean(x, axis=(1, 2), dtype=jnp.float32)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return {"logits": Dense(self.num_classes, name="fc")(x)}


def _padding(padding, stride_so_far, kernel_size, stride):
    """What `Conv` is to pad: nothing given where that is torch's default."""
    if padding == "symmetric":
        return None
    if padding == "same":
        return "SAME"
    side = -(-padding // stride_so_far)
    total = max(0, (-(-side // stride) - 1) * stride + kernel_size - side)
    return ((total // 2, total - total // 2),) * 2


efficientnet_b0 = EfficientNet
efficientnet_b1 = functools.partial(EfficientNet, depth_mult=1.1)
efficientnet_b2 = functools.partial(EfficientNet, width_mult=1.1, depth_mult=1.2)
efficientnet_b3 = functools.partial(EfficientNet, width_mult=1.2, depth_mult=1.4)
efficientnet_b4 = functools.partial(EfficientNet, width_mult=1.4, depth_mult=1.8)
efficientnet_b5 = functools.partial(EfficientNet, width_mult=1.6, depth_mult=2.2, norm=TFNorm)
efficientnet_b6 = functools.partial(EfficientNet, width_mult=1.8, depth_mult=2.6, norm=TFNorm)
efficientnet_b7 = functools.partial(EfficientNet, width_mult=2.0, depth_mult=3.1, norm=TFNorm)
