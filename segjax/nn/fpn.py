"""Feature pyramids on a backbone's maps: FPN and PANet's bottom-up path.

A neck takes the maps {'cK'} of a backbone to maps {'pK'}, of stride 2**K, finest first, that a head
predicts from: `neck(features, train=train)`. A model is given a factory of one, called with the
model's dtype; `upsample` is a field of all, so that a config can name one for any.
"""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax

from segjax.errors import InputError
from segjax.nn.initializers import caffe2_xavier
from segjax.nn.layers import Conv
from segjax.nn.upsample import Nearest, legal_side
from segjax.ops.activation import relu

Features = Mapping[str, jax.Array]


class FPN(nn.Module):
    """Feature Pyramid Network: top-down, with a lateral connection from every map of the backbone.

    1x1 convolutions take the maps of `levels` to `features` channels; each adds the upsampled map
    from above; a 3x3 convolution follows. `outputs` are the levels that leave: all, or the finest
    alone for an encoder-decoder with skips (figure 2, top). `output_kernel=None` leaves the last
    convolutions out. The convolutions have biases where `norm` is None, as in the paper. Maps may
    have any size, since each is upsampled to the size of the next. Lin et al. 2016,
    arXiv:1612.03144, section 3; 3,344,384 parameters on a ResNet-50.
    """

    features: int = 256
    levels: tuple[int, ...] = (2, 3, 4, 5)
    outputs: tuple[int, ...] | None = None
    output_kernel: int | None = 3
    norm: Callable[..., nn.Module] | None = None
    upsample: Callable[..., nn.Module] = Nearest
    dtype: Any = None

    @nn.compact
    def __call__(self, features: Features, *, train: bool) -> dict[str, jax.Array]:
        outputs = self.levels if self.outputs is None else self.outputs
        check_levels(self.levels, outputs, features)
        maps, x = {}, None
        for level in reversed(self.levels):
            lateral = self.conv(features[f"c{level}"], 1, f"lateral{level}", train)
            if x is None:
                x = lateral
            else:
                up = self.upsample(features=self.features, dtype=self.dtype, name=f"up{level}")
                x = lateral + up(x, size=lateral.shape[1:3])
            if level in outputs:
                maps[f"p{level}"] = x
        if self.output_kernel is not None:
            for name, x in maps.items():
                maps[name] = self.conv(x, self.output_kernel, f"output{name[1:]}", train)
        return dict(sorted(maps.items()))

    def input_size(self, side: int) -> int:
        """The smallest side of an image from `side` on that fits the neck."""
        return legal_side(side, self.upsample, 2 ** max(self.levels))

    def conv(self, x: jax.Array, size: int, name: str, train: bool) -> jax.Array:
        """A convolution, and the normalisation if there is one."""
        x = Conv(
            self.features,
            (size, size),
            padding=(size - 1) // 2,
            use_bias=self.norm is None,
            kernel_init=caffe2_xavier,
            dtype=self.dtype,
            name=name,
        )(x)
        return (
            x
            if self.norm is None
            else self.norm(dtype=self.dtype, name=f"{name}_norm")(x, train=train)
        )


class PathAggregation(nn.Module):
    """PANet's bottom-up path on top of the maps of another neck.

    N2 = P2; a 3x3 convolution of stride 2 takes N_i to the size of P_i+1, which is added, and a 3x3
    convolution gives N_i+1; ReLU after each. The N_i leave as 'pI'. Liu et al. 2018,
    arXiv:1803.01534, section 3.1, of which the authors' code has the ReLU only beside group
    normalisation.
    """

    top_down: Callable[..., nn.Module] = FPN
    norm: Callable[..., nn.Module] | None = None
    upsample: Callable[..., nn.Module] = Nearest  # of the neck below
    dtype: Any = None

    @nn.compact
    def __call__(self, features: Features, *, train: bool) -> dict[str, jax.Array]:
        maps, x = {}, None
        top_down = self.top_down(upsample=self.upsample, dtype=self.dtype, name="top_down")
        for name, lateral in top_down(features, train=train).items():
            if x is None:
                x = lateral
            else:
                x = self.conv(x, 2, f"down{name[1:]}", train) + lateral
                x = self.conv(x, 1, f"merge{name[1:]}", train)
            maps[name] = x
        return maps

    def input_size(self, side: int) -> int:
        """The smallest side of an image from `side` on that fits the neck."""
        return self.top_down(upsample=self.upsample, parent=None).input_size(side)

    def conv(self, x: jax.Array, stride: int, name: str, train: bool) -> jax.Array:
        """A 3x3 convolution of constant width, the normalisation if there is one, and ReLU."""
        x = Conv(
            x.shape[-1],
            (3, 3),
            strides=stride,
            padding=1,
            kernel_init=caffe2_xavier,
            dtype=self.dtype,
            name=name,
        )(x)
        if self.norm is not None:
            x = self.norm(dtype=self.dtype, name=f"{name}_norm")(x, train=train)
        return relu(x)


class Select(nn.Module):
    """The backbone's maps of these levels as they are, with no path between them."""

    levels: tuple[int, ...]
    upsample: Callable[..., nn.Module] | None = None  # for nothing: it only selects
    dtype: Any = None  # of nothing

    def __call__(self, features: Features, *, train: bool) -> dict[str, jax.Array]:
        del train
        check_levels(self.levels, self.levels, features)
        return {f"p{level}": features[f"c{level}"] for level in self.levels}

    def input_size(self, side: int) -> int:
        """The smallest side of an image from `side` on that fits the neck."""
        return side


def check_levels(levels: tuple[int, ...], outputs: tuple[int, ...], features: Features) -> None:
    """Raise `InputError` unless the levels follow one another and the backbone has them."""
    if levels != tuple(range(min(levels, default=0), max(levels, default=-1) + 1)) or not levels:
        raise InputError(f"levels is {levels}; give consecutive levels, finest first.")
    if not outputs or not set(outputs) <= set(levels):
        raise InputError(f"outputs is {outputs}; choose some of the levels {levels}.")
    missing = [f"c{level}" for level in levels if f"c{level}" not in features]
    if missing:
        raise InputError(
            f"The neck's levels {levels} need {', '.join(missing)}; this backbone gives "
            f"{', '.join(features)}."
        )
