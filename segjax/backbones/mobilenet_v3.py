"""Searching for MobileNetV3 (Howard et al. 2019, arXiv:1905.02244)."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from segjax.errors import InputError
from segjax.nn.layers import BatchNorm, Dense
from segjax.nn.mobile import InvertedResidual, SqueezeExcitation, conv_norm, make_divisible
from segjax.ops.activation import relu


class Unit(NamedTuple):
    """A row of tables 1 and 2; `gated` has squeeze-and-excitation."""

    kernel_size: int
    expanded: int
    features: int
    gated: bool
    activation: Callable[[jax.Array], jax.Array]
    stride: int


LARGE = (
    Unit(3, 16, 16, False, relu, 1),
    Unit(3, 64, 24, False, relu, 2),  # 1/4
    Unit(3, 72, 24, False, relu, 1),
    Unit(5, 72, 40, True, relu, 2),  # 1/8
    Unit(5, 120, 40, True, relu, 1),
    Unit(5, 120, 40, True, relu, 1),
    Unit(3, 240, 80, False, nn.hard_swish, 2),  # 1/16
    Unit(3, 200, 80, False, nn.hard_swish, 1),
    Unit(3, 184, 80, False, nn.hard_swish, 1),
    Unit(3, 184, 80, False, nn.hard_swish, 1),
    Unit(3, 480, 112, True, nn.hard_swish, 1),
    Unit(3, 672, 112, True, nn.hard_swish, 1),
    Unit(5, 672, 160, True, nn.hard_swish, 2),  # 1/32
    Unit(5, 960, 160, True, nn.hard_swish, 1),
    Unit(5, 960, 160, True, nn.hard_swish, 1),
)
"""Table 1."""

SMALL = (
    Unit(3, 16, 16, True, relu, 2),  # 1/4
    Unit(3, 72, 24, False, relu, 2),  # 1/8
    Unit(3, 88, 24, False, relu, 1),
    Unit(5, 96, 40, True, nn.hard_swish, 2),  # 1/16
    Unit(5, 240, 40, True, nn.hard_swish, 1),
    Unit(5, 240, 40, True, nn.hard_swish, 1),
    Unit(5, 120, 48, True, nn.hard_swish, 1),
    Unit(5, 144, 48, True, nn.hard_swish, 1),
    Unit(5, 288, 96, True, nn.hard_swish, 2),  # 1/32
    Unit(5, 576, 96, True, nn.hard_swish, 1),
    Unit(5, 576, 96, True, nn.hard_swish, 1),
)
"""Table 2."""

Norm = functools.partial(BatchNorm, epsilon=1e-3)
"""The epsilon of the authors and of torchvision.

Not their momentum of 0.99, which after 150 steps leaves a fifth of the statistics where they began.
"""


class MobileNetV3(nn.Module):
    """Images [B, H, W, C] -> {'c1', 'c2', 'c3', 'c4', 'c5'}; see `segjax.backbones`.

    'c5' is the last 1x1 convolution with six times the channels of the units before it (960 and
    576), after its normalisation and hard swish. 'c1' to 'c4' come before it: with `tap='first'`
    the stem and the output of the first unit at strides 4, 8 and 16, which torchvision's LR-ASPP,
    DeepLab and detectors take (large: 16, 24, 40 and 80 channels); with 'last' the output of the
    last unit at each of the four strides, as is usual for skips (large: 16, 24, 40 and 112).

    With output_stride 16 the units of the last stage have dilation 2 instead of a stride (section
    6.4 and torchvision's segmentation networks), and 'c5' has stride 16. `width_mult` scales every
    width, to multiples of 8. Submodules are numbered as torchvision's `features`.
    """

    units: tuple[Unit, ...]
    width_mult: float = 1.0
    output_stride: Literal[16, 32] = 32
    tap: Literal["first", "last"] = "first"
    norm: Callable[..., nn.Module] = Norm
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        chex.assert_rank(image, 4)
        if self.output_stride not in (16, 32):
            raise InputError(f"output_stride is {self.output_stride}; the choices are 16 and 32.")
        conv = functools.partial(
            conv_norm, activation=nn.hard_swish, norm=self.norm, train=train, dtype=self.dtype
        )
        x = conv(image, make_divisible(16 * self.width_mult), 3, "features_0", stride=2)
        maps = {"c1": x}  # 1/2
        level = 1
        for i, unit in enumerate(self.units, 1):
            level += unit.stride - 1
            dilated = 2**level > self.output_stride
            expanded = make_divisible(unit.expanded * self.width_mult)
            squeeze = functools.partial(
                SqueezeExcitation, make_divisible(expanded // 4), gate=nn.hard_sigmoid
            )
            x = InvertedResidual(
                features=make_divisible(unit.features * self.width_mult),
                expanded=expanded,
                kernel_size=unit.kernel_size,
                stride=1 if dilated else unit.stride,
                dilation=2 if dilated else 1,
                activation=unit.activation,
                squeeze=squeeze if unit.gated else None,
                norm=self.norm,
                dtype=self.dtype,
                name=f"features_{i}",
            )(x, train=train)
            if unit.stride == 2 or self.tap == "last":
                maps[f"c{level}"] = x
        maps["c5"] = conv(x, 6 * x.shape[-1], 1, f"features_{i + 1}")
        return maps


class Classifier(nn.Module):
    """The backbone as the classifier it is trained as: images -> {'logits': [B, num_classes]}.

    `features` are those of the layer before the last: 1280 for the large network, 1024 for the
    small one. 5,483,032 and 2,542,856 parameters.
    """

    backbone: nn.Module
    features: int
    num_classes: int = 1000
    dropout: float = 0.2

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        x = jnp.mean(self.backbone(image, train=train)["c5"], axis=(1, 2), dtype=jnp.float32)
        x = nn.hard_swish(Dense(self.features, name="fc1")(x))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return {"logits": Dense(self.num_classes, name="fc2")(x)}


mobilenet_v3_large = functools.partial(MobileNetV3, LARGE)
mobilenet_v3_small = functools.partial(MobileNetV3, SMALL)
