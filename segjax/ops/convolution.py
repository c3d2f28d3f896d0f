"""Convolutions in the formulations that XLA runs fast, equal to `lax` in value and gradient.

XLA:CPU runs a plain NHWC convolution at the speed of a matrix product, but not its weight gradient
(a convolution whose window is the whole image), large dilations, groups or bfloat16. Here these are
matrix products, shifts, and one convolution a group. `docs/performance.md` has the measured times.

On other backends everything is plain `lax.conv_general_dilated`; which of the two runs is decided
when a program is compiled for its device. Reverse-mode differentiation is
defined, once or repeatedly; for forward mode turn the formulations off with `use_fast(False)`.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]  # ((top, bottom), (left, right))

NHWC = ("NHWC", "HWIO", "NHWC")

_fast = True


def is_fast() -> bool:
    """Whether the formulations are on."""
    return _fast


def use_fast(enabled: bool) -> None:
    """Turn the formulations, here and in `conv_transpose`, on (the default) or off: plain `lax`.

    Read when a function is traced: one that `jax.jit` has already compiled stays as it is.
    """
    global _fast
    _fast = bool(enabled)


class Geometry(NamedTuple):
    """What a convolution is besides its arrays."""

    strides: Pair
    padding: Padding
    dilation: Pair
    groups: int


def conv_general_dilated(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> jax.Array:
    """`lax.conv_general_dilated` with the same arguments, result and gradients, faster on CPUs.

    2-D NHWC x HWIO convolutions of one floating-point type take the formulations of this module;
    all others go to `lax` unchanged. For Linen: `nn.Conv(..., conv_general_dilated=this)`.
    """
    plain = (
        lhs.ndim == 4
        and lhs.dtype == rhs.dtype
        and jnp.issubdtype(lhs.dtype, jnp.floating)
        and _is_nhwc(lhs, rhs, dimension_numbers)
        and tuple(lhs_dilation or (1, 1)) == (1, 1)
        and batch_group_count == 1
        and precision is None
        and preferred_element_type in (None, lhs.dtype)
    )
    if not (_fast and plain):
        return lax.conv_general_dilated(
            lhs,
            rhs,
            window_strides,
            padding,
            lhs_dilation,
            rhs_dilation,
            dimension_numbers,
            feature_group_count,
            batch_group_count,
            precision,
            preferred_element_type,
        )
    strides, dilation = _pair(window_strides), _pair(rhs_dilation or (1, 1))
    if isinstance(padding, str):
        window = [d * (k - 1) + 1 for d, k in zip(dilation, rhs.shape[:2], strict=True)]
        padding = lax.padtype_to_pads(lhs.shape[1:3], window, strides, padding)
    pads = (_pair(padding[0]), _pair(padding[1]))
    return _conv(Geometry(strides, pads, dilation, feature_group_count), lhs, rhs)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _conv(geometry: Geometry, x: jax.Array, w: jax.Array) -> jax.Array:
    return _forward(geometry, x, w)


_conv.defvjp(
    lambda geometry, x, w: (_conv(geometry, x, w), (x, w)),
    lambda geometry, saved, g: _backward(geometry, saved[0], saved[1], g),
)


@functools.partial(jax.jit, static_argnums=0)
def _forward(geometry, x, w):
    fast = _formulation(geometry, x, w)
    if fast is _lax:
        return _lax(geometry, x, w)
    cpu, default = functools.partial(fast, geometry), functools.partial(_lax, geometry)
    return lax.platform_dependent(x, w, cpu=cpu, default=default)


@functools.partial(jax.jit, static_argnums=0)
def _backward(geometry, x, w, g):
    fast = _formulation(geometry, x, w)

    def cpu(x, w, g):
        if fast is _pointwise:
            return _pointwise_gradients(geometry, x, w, g)
        if fast in (_depthwise, _clipped, _grouped):  # made of what has fast derivatives
            return jax.vjp(functools.partial(fast, geometry), x, w)[1](g)
        if _has_row_products(geometry, x.shape, w.shape):
            (dx,) = jax.vjp(lambda x: _lax(geometry, x, w), x)[1](g)
            return dx, _row_products(geometry, x, g, w.shape).astype(w.dtype)
        return default(x, w, g)

    def default(x, w, g):
        return jax.vjp(functools.partial(_lax, geometry), x, w)[1](g)

    return lax.platform_dependent(x, w, g, cpu=cpu, default=default)


def _formulation(geometry, x, w):
    """Which function computes this convolution on a CPU."""
    kh, kw, cin, cout = w.shape
    if cin == 1 and geometry.groups == x.shape[-1] == cout > 1:
        return _depthwise
    if geometry.groups > 1:
        return _grouped if geometry.groups <= 32 else _lax
    if (kh, kw) == (1, 1) and geometry.padding == ((0, 0), (0, 0)):
        return _pointwise
    if geometry.dilation != (1, 1) and _share_inside(geometry, x.shape, w.shape) < 0.8:
        return _clipped
    if x.dtype == jnp.bfloat16 and geometry.strides == (1, 1) and kw > 1 and cin >= 128:
        return _row_dots
    return _lax


def _lax(geometry, x, w):
    strides, padding, dilation, groups = geometry
    return lax.conv_general_dilated(
        x, w, strides, padding, None, dilation, NHWC, feature_group_count=groups
    )


def _pointwise(geometry, x, w):
    """1x1: a matrix product."""
    sh, sw = geometry.strides
    return _dot(x[:, ::sh, ::sw], w[0, 0]).astype(x.dtype)


def _pointwise_gradients(geometry, x, w, g):
    """Of 1x1: matrix products too, where XLA's weight gradient has a window of the whole image."""
    sh, sw = geometry.strides
    seen, spread = jax.vjp(lambda x: x[:, ::sh, ::sw], x)
    (dx,) = spread(_dot(g, w[0, 0].T).astype(x.dtype))
    return dx, _outer(seen, g)[None, None].astype(w.dtype)


def _depthwise(geometry, x, w):
    """One filter a channel: a sum of shifted images, which XLA would make a dense convolution."""
    (sh, sw), (dh, dw) = geometry.strides, geometry.dilation
    h, wd = _output_size(geometry, x.shape, w.shape)
    padded = pad(x, geometry.padding).astype(_accumulator(x))
    y = jnp.zeros((x.shape[0], h, wd, x.shape[-1]), padded.dtype)
    for i in range(w.shape[0]):
        for j in range(w.shape[1]):
            y = y + padded[:, i * dh :: sh, j * dw :: sw][:, :h, :wd] * w[i, j, 0]
    return y.astype(x.dtype)


def _grouped(geometry, x, w):
    """Few groups: a convolution each, because XLA's weight gradient of all at once is slow."""
    single, groups = geometry._replace(groups=1), geometry.groups
    parts = zip(jnp.split(x, groups, axis=-1), jnp.split(w, groups, axis=-1), strict=True)
    return jnp.concatenate([_conv(single, *part) for part in parts], axis=-1)


def _clipped(geometry, x, w):
    """Large dilation: one matrix product a tap, only where the tap lies inside the image."""
    h, wd = _output_size(geometry, x.shape, w.shape)
    y = jnp.zeros((x.shape[0], h, wd, w.shape[-1]), _accumulator(x))
    for i in range(w.shape[0]):
        rows = _inside(geometry, x.shape, h, 0, i)
        for j in range(w.shape[1]):
            cols = _inside(geometry, x.shape, wd, 1, j)
            if not (len(rows[0]) and len(cols[0])):
                continue
            tap = _dot(x[:, _slice(rows[1])][:, :, _slice(cols[1])], w[i, j])
            pads = [(out.start, size - out.stop) for out, size in ((rows[0], h), (cols[0], wd))]
            y = y + pad(tap, pads)
    return y.astype(x.dtype)


def _row_dots(geometry, x, w):
    """bfloat16: a product a kernel row, because XLA turns its convolutions into float32 first."""
    kh, kw, cin, cout = w.shape
    dh, dw = geometry.dilation
    h, wd = _output_size(geometry, x.shape, w.shape)
    x = pad(x, geometry.padding)
    columns = jnp.concatenate([x[:, :, j * dw : j * dw + wd] for j in range(kw)], axis=-1)
    rows = w.reshape(kh, kw * cin, cout)
    y = jnp.zeros((x.shape[0], h, wd, cout), _accumulator(x))
    for i in range(kh):
        y = y + _dot(columns[:, i * dh : i * dh + h], rows[i])
    return y.astype(x.dtype)


def _has_row_products(geometry, x_shape, w_shape):
    """Where the row products beat XLA's own weight gradient: not for stems, nor for large windows.

    Windows above 3x3 need an image to match, for the columns of all shifts are as wide as it is.
    """
    kh, kw, cin, _ = w_shape
    window, image = max(kh, kw), min(_output_size(geometry, x_shape, w_shape))
    fits = window <= 3 or (window <= 8 and image >= 4 * window)
    return geometry.groups == 1 and geometry.strides == (1, 1) and fits and cin > 8


def _row_products(geometry, x, g, w_shape):
    """Weight gradient at stride 1: one product a kernel row, of shifted rows and shifted columns.

    dw[i, j] = sum over output pixels q of x[q + dilation * (i, j) - padding] * g[q]. One of the two
    is shifted by rows and the other, that with more channels, by columns: kh + kw copies instead
    of kh * kw.
    """
    kh, kw, cin, cout = w_shape
    x_first = cin <= cout
    few, many = (x, g) if x_first else (g, x)
    height, width = many.shape[1], few.shape[2]

    def shifted(image, axis, tap, size):
        # Inputs move against the tap to meet their outputs, outputs with it to meet their inputs.
        low = geometry.padding[axis][0] - tap * geometry.dilation[axis]
        low = low if image is x else -low
        pads = [(0, 0), (0, 0)]
        pads[axis] = (low, size - image.shape[1 + axis] - low)
        return pad(image, pads)

    columns = jnp.concatenate([shifted(many, 1, j, width) for j in range(kw)], axis=-1)
    dw = jnp.stack([_outer(shifted(few, 0, i, height), columns) for i in range(kh)])
    dw = dw.reshape(kh, few.shape[-1], kw, many.shape[-1])  # [row, few, column, many]
    return dw.transpose((0, 2, 1, 3) if x_first else (0, 2, 3, 1))


def _outer(a, b):
    """Sum over pixels of a[pixel, m] * b[pixel, n]."""
    # As matrices: XLA folds the transpose of a matrix into the product, that of an image it makes.
    a, b = a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1])
    return lax.dot_general(a, b, (((0,), (0,)), ((), ())), preferred_element_type=_accumulator(a))


def _dot(x, w):
    """x [..., m] @ w [m, n], in float32 or better."""
    y = jnp.dot(x.reshape(-1, x.shape[-1]), w, preferred_element_type=_accumulator(x))
    return y.reshape(*x.shape[:-1], w.shape[-1])


def _accumulator(x):
    return jnp.promote_types(x.dtype, jnp.float32)


def pad(x: jax.Array, pads: Sequence[Sequence[int]]) -> jax.Array:
    """Zeros around the rows and columns of [B, H, W, C]; negative numbers crop."""
    config = [(0, 0, 0), (*pads[0], 0), (*pads[1], 0), (0, 0, 0)]
    return lax.pad(x, jnp.zeros((), x.dtype), config)


def _output_size(geometry, x_shape, w_shape):
    return tuple(
        max(0, (x_shape[1 + axis] + sum(pad) - d * (w_shape[axis] - 1) - 1) // s + 1)
        for axis, (s, pad, d) in enumerate(
            zip(geometry.strides, geometry.padding, geometry.dilation, strict=True)
        )
    )


def _inside(geometry, x_shape, size, axis, tap):
    """The outputs whose tap lies inside the image, and the inputs it lies on, as two ranges."""
    s, d = geometry.strides[axis], geometry.dilation[axis]
    offset = tap * d - geometry.padding[axis][0]  # output o sees input s * o + offset
    first = max(0, -(offset // s))
    last = max(first, min(size, -(-(x_shape[1 + axis] - offset) // s)))
    start = s * first + offset
    return range(first, last), range(start, start + s * (last - first), s)


def _share_inside(geometry, x_shape, w_shape):
    """Of the products of a convolution, the share that is not with padding."""
    return math.prod(
        sum(len(_inside(geometry, x_shape, n, axis, tap)[0]) for tap in range(w_shape[axis]))
        / max(1, n * w_shape[axis])
        for axis, n in enumerate(_output_size(geometry, x_shape, w_shape))
    )


def _slice(r):
    return slice(r.start, r.stop, r.step)


def _pair(values) -> Pair:
    first, second = values
    return int(first), int(second)


def _is_nhwc(lhs, rhs, dimension_numbers):
    numbers = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    return numbers == lax.conv_dimension_numbers(lhs.shape, rhs.shape, NHWC)
