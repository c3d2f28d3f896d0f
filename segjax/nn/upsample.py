"""Seven upsamplers that swap in for one another in any decoder.

Each takes [B, h, w, C] to [B, factor*h, factor*w, features], or to the exact `size` (H, W) where
the operator can produce it; InputError otherwise. A decoder has a field
`upsample: Callable[..., nn.Module]` and calls

    self.upsample(features=f, name="up3")(x, switches=switches, size=skip.shape[1:3])

Only max unpooling reads the switches. Options go in with `functools.partial`, for example
`partial(TransposedConv, kernel_size=4)`. The four without weights of their own start with a 1x1
convolution `project` where C differs from features: before the upsampling it costs factor**2 less,
and for the interpolations it gives the same result as after.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype

from segjax.errors import InputError
from segjax.nn.initializers import he_normal, he_normal_transposed
from segjax.nn.layers import Conv
from segjax.nn.sizes import round_up
from segjax.ops import pixel_shuffle, pooling, resize
from segjax.ops.conv_transpose import conv_transpose

Switches = pooling.Switches
Size = tuple[int, int]
Initializer = Callable[..., jax.Array]


class Nearest(nn.Module):
    """Nearest-neighbour upsampling, to any size."""

    features: int
    factor: int = 2
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: jax.Array, switches: Switches | None = None, size: Size | None = None
    ) -> jax.Array:
        x = _project(x, self.features, self.dtype)
        return resize.nearest(x, _target(x, self.factor, size))


class Bilinear(nn.Module):
    """Bilinear upsampling, to any size; `convention` as in `segjax.ops.resize.bilinear`."""

    features: int
    factor: int = 2
    dtype: Any = None
    convention: Literal["half-pixel", "corner-aligned", "legacy"] = "half-pixel"

    @nn.compact
    def __call__(
        self, x: jax.Array, switches: Switches | None = None, size: Size | None = None
    ) -> jax.Array:
        x = _project(x, self.features, self.dtype)
        return resize.bilinear(x, _target(x, self.factor, size), self.convention)


class BedOfNails(nn.Module):
    """Values at the top left of their blocks, zeros elsewhere, to any size that pools to h, w."""

    features: int
    factor: int = 2
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: jax.Array, switches: Switches | None = None, size: Size | None = None
    ) -> jax.Array:
        x = _project(x, self.features, self.dtype)
        target = _target(x, self.factor, size)
        for n, out in zip(x.shape[1:3], target, strict=True):
            if not (n - 1) * self.factor < out < (n + 1) * self.factor:
                raise _unreachable(self, x, target)
        return resize.bed_of_nails(x, self.factor, target)


class MaxUnpool(nn.Module):
    """Values at the maxima of the paired max-pool, zeros elsewhere, to the size before that pool.

    The switches come from `segjax.ops.pooling.max_pool_with_switches` with a factor x factor window
    and `features` channels. Zeiler and Fergus 2014, section 2.1.
    """

    features: int
    factor: int = 2
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: jax.Array, switches: Switches | None = None, size: Size | None = None
    ) -> jax.Array:
        if switches is None:
            raise InputError(
                "MaxUnpool needs the switches of its paired max-pool: use an encoder that returns "
                "them (max_pool_with_switches) or another upsampler."
            )
        x = _project(x, self.features, self.dtype)
        if x.shape != switches.index.shape or switches.window != (self.factor, self.factor):
            raise InputError(
                f"MaxUnpool by {self.factor} of {x.shape} does not fit switches of shape "
                f"{switches.index.shape} and window {switches.window}: set features and factor to "
                "those of the paired max-pool."
            )
        if size is not None and tuple(size) != switches.size:
            raise _unreachable(self, x, size)
        return pooling.max_unpool(x, switches)


class TransposedConv(nn.Module):
    """Transposed convolution of stride `factor`; kernel [k, k, C, features], not flipped.

    kernel_size defaults to factor (no overlap). padding defaults to the least that lets
    output_padding, below factor, reach the target exactly: 2/2 takes 0, 4/2 takes 1, 3/2 takes 1
    and output_padding 1. An explicit output_padding gives up the target of factor*h for torch's
    (h - 1)*factor - 2*padding + k + output_padding. Long et al. 2015 (FCN), section 3.3;
    Dumoulin and Visin 2016, section 4.
    """

    features: int
    factor: int = 2
    dtype: Any = None
    kernel_size: int | None = None
    padding: int | None = None
    output_padding: int | None = None
    use_bias: bool = True
    kernel_init: Initializer | None = None  # He's; bilinear_kernel starts as FCN did

    @nn.compact
    def __call__(
        self, x: jax.Array, switches: Switches | None = None, size: Size | None = None
    ) -> jax.Array:
        stride, (k, pad) = self.factor, self.window
        least = [(n - 1) * stride - 2 * pad + k for n in x.shape[1:3]]
        if size is None and self.output_padding is not None:
            target = (least[0] + self.output_padding, least[1] + self.output_padding)
        else:
            target = _target(x, stride, size)
        extra = (target[0] - least[0], target[1] - least[1])
        if min(extra) < 0 or max(extra) >= stride:
            raise _unreachable(self, x, target)
        kernel_init = self.kernel_init or he_normal_transposed(stride)
        kernel = self.param("kernel", kernel_init, (k, k, x.shape[-1], self.features))
        x, kernel = promote_dtype(x, kernel, dtype=self.dtype)
        y = conv_transpose(x, kernel, (stride, stride), ((pad, pad), (pad, pad)), extra)
        if self.use_bias:
            y += self.param("bias", nn.initializers.zeros, (self.features,)).astype(y.dtype)
        return y

    @property
    def window(self) -> tuple[int, int]:
        """The side of the kernel, and the padding."""
        k = self.kernel_size or self.factor
        least = max(0, (k - self.factor + 1) // 2)
        return k, least if self.padding is None else self.padding


class SubPixel(nn.Module):
    """Convolution to factor**2 * features channels, then depth_to_space.

    Starts as a low-resolution convolution followed by nearest resize (ICNR), hence without
    checkerboards. Shi et al. 2016, arXiv:1609.05158, section 3.2; Aitken et al. 2017,
    arXiv:1707.02937.
    """

    features: int
    factor: int = 2
    dtype: Any = None
    kernel_size: int = 3
    kernel_init: Initializer = he_normal

    @nn.compact
    def __call__(
        self, x: jax.Array, switches: Switches | None = None, size: Size | None = None
    ) -> jax.Array:
        if size is not None and tuple(size) != _target(x, self.factor, None):
            raise _unreachable(self, x, size)
        x = Conv(
            self.factor**2 * self.features,
            (self.kernel_size, self.kernel_size),
            kernel_init=icnr(self.kernel_init, self.factor),
            dtype=self.dtype,
            name="conv",
        )(x)
        return pixel_shuffle.depth_to_space(x, self.factor)


class ResizeConv(nn.Module):
    """Nearest resize, to any size, then a convolution; Odena et al. 2016."""

    features: int
    factor: int = 2
    dtype: Any = None
    kernel_size: int = 3

    @nn.compact
    def __call__(
        self, x: jax.Array, switches: Switches | None = None, size: Size | None = None
    ) -> jax.Array:
        x = resize.nearest(x, _target(x, self.factor, size))
        kernel = (self.kernel_size, self.kernel_size)
        return Conv(self.features, kernel, dtype=self.dtype, name="conv")(x)


def icnr(base_init: Initializer, factor: int) -> Initializer:
    """Initializer that repeats each kernel of base_init for the factor**2 channels of one block.

    A convolution so initialised, followed by depth_to_space, is the base convolution followed by
    nearest resize. Aitken et al. 2017, arXiv:1707.02937, section 3.
    """

    def init(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        base = base_init(key, (*shape[:-1], shape[-1] // factor**2), dtype)
        return jnp.repeat(base, factor**2, axis=-1)

    return init


def bilinear_kernel(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
    """Initializer [k, k, C, C] of bilinear interpolation in each channel, none across channels.

    As FCN starts its upsampling (Long et al. 2015, section 4.2); k = 2*factor - factor % 2
    interpolates. Raises InputError where input and output channels differ.
    """
    kh, kw, channels, features = shape
    if channels != features:
        raise InputError(
            f"bilinear_kernel got {channels} input and {features} output channels; "
            "upsample as many features as come in."
        )
    taps = []
    for k in (kh, kw):
        half = (k + 1) // 2
        taps.append(1 - np.abs(np.arange(k) - (k - 1) / 2) / half)
    kernel = np.einsum("i,j,cd->ijcd", *taps, np.eye(channels))
    return jnp.asarray(kernel, dtype)


def legal_side(size: int, upsample: Callable[..., nn.Module], multiple: int) -> int:
    """The smallest side from `size` on that a decoder with this upsampler can come back to.

    The next `multiple` for a TransposedConv or SubPixel, which make `factor` pixels of one, and
    `size` itself for the others.
    """
    return round_up(size, multiple) if _exact(upsample) else size


def legal_side_of_corners(
    size: int, upsample: Callable[..., nn.Module], stride: int, network: str, remedy: str
) -> int:
    """As `legal_side`, for maps of ceil((side - 1) / stride) + 1 pixels: of pools that round up.

    One more than a multiple of the stride has its corners on the map, and is what BedOfNails needs,
    and a TransposedConv that is padded to end there, such as by 7 with a kernel of 15 and stride 8.
    No side fits others or a SubPixel: raises `InputError`, where `network` is the name of what
    cannot use them and `remedy` under which conditions it could.
    """
    operator = unwrapped(upsample)
    cornered = operator is BedOfNails or _reaches_corners(upsample, stride)
    if _exact(upsample) and not cornered:
        raise InputError(
            f"{network} can take no size with upsample={operator.__name__}, which makes {stride} "
            f"pixels of one, unless {remedy}: set this, or upsample with Nearest, Bilinear or "
            "ResizeConv."
        )
    return round_up(size - 1, stride) + 1 if cornered else size


def _exact(upsample):
    return unwrapped(upsample) in (TransposedConv, SubPixel)  # make factor pixels of one


def _reaches_corners(upsample, stride):
    """Whether a TransposedConv makes 1 + stride * (h - 1) pixels of h."""
    if unwrapped(upsample) is not TransposedConv:
        return False
    k, pad = upsample(features=1, factor=stride, parent=None).window
    return 0 <= 1 - k + 2 * pad < stride


def unwrapped(upsample: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """The upsampler without the options that `functools.partial` gave it."""
    while isinstance(upsample, functools.partial):
        upsample = upsample.func
    return upsample


def _project(x, features, dtype):
    if x.shape[-1] != features:
        return Conv(features, (1, 1), dtype=dtype, name="project")(x)
    return x if dtype is None else x.astype(dtype)


def _target(x: jax.Array, factor: int, size: Size | None) -> Size:
    if size is None:
        return factor * x.shape[1], factor * x.shape[2]
    return size[0], size[1]


def _unreachable(module, x, size):
    return InputError(
        f"{type(module).__name__} by {module.factor} cannot take {x.shape[1]}x{x.shape[2]} to "
        f"{size[0]}x{size[1]}: give inputs whose sides are multiples of the output stride, or "
        "upsample with Nearest, Bilinear or ResizeConv."
    )


UPSAMPLERS: dict[str, Callable[..., nn.Module]] = {
    "nearest": Nearest,
    "bilinear": Bilinear,
    "bed_of_nails": BedOfNails,
    "max_unpool": MaxUnpool,
    "transposed": TransposedConv,
    "sub_pixel": SubPixel,
    "resize_conv": ResizeConv,
}
