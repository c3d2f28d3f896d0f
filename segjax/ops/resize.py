"""Resizing without parameters: nearest, bilinear in three conventions or by a factor, bed of nails.

A resize of one axis is linear and sparse: output i is the sum over k of `weights[i, k] *
x[taps[i, k]]` with one or two taps. The tables are NumPy constants from exact integer arithmetic.
The gradient is the same sum with the transposed table, so no scatter is ever run.
"""

import functools
from fractions import Fraction
from typing import Literal

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from segjax.errors import InputError


def nearest(
    x: jax.Array,
    size: tuple[int, int],
    convention: Literal["floor", "half-pixel"] = "floor",
) -> jax.Array:
    """Nearest-neighbour resize of [B, h, w, C], of any dtype, to size (H, W).

    Output i reads input floor(i * in/out) ('floor', torch's 'nearest') or floor((i + 0.5) * in/out)
    ('half-pixel', torch's 'nearest-exact' and PIL). Raises InputError for another convention.
    """
    chex.assert_rank(x, 4)
    b, h, w, c = x.shape
    if size[0] % h or size[1] % w or convention not in ("floor", "half-pixel"):
        return _resize(x, size, f"nearest {convention}")
    up, across = size[0] // h, size[1] // w  # whole factors repeat, in either convention
    return jnp.broadcast_to(x[:, :, None, :, None], (b, h, up, w, across, c)).reshape(b, *size, c)


def bilinear(
    x: jax.Array,
    size: tuple[int, int],
    convention: Literal["half-pixel", "corner-aligned", "legacy"] = "half-pixel",
) -> jax.Array:
    """Bilinear resize of floating [B, h, w, C] to size (H, W), without antialiasing.

    Output i reads the input at, clamped to the image,
    'half-pixel' (i + 0.5) * in/out - 0.5: torch align_corners=False, OpenCV;
    'corner-aligned' i * (in - 1)/(out - 1): torch align_corners=True, Caffe Interp;
    'legacy' i * in/out: TensorFlow 1 with neither flag.
    Half precision is interpolated in float32. Raises InputError for another convention.
    """
    chex.assert_type(x, float)
    return _resize(x, size, f"bilinear {convention}")


def bilinear_by_factor(x: jax.Array, factor: float) -> jax.Array:
    """Bilinear resize of floating [B, h, w, C] to size (int(factor*h), int(factor*w)).

    Output i reads the input at (i + 0.5) / factor - 0.5, clamped to the image, as torch does that
    is given a scale_factor; an axis that keeps its size stays as it is. This is `bilinear` by
    'half-pixel' where factor*h and factor*w are whole; elsewhere it leaves out a part of the last
    pixel. Factors are read as fractions of a denominator up to 65536. Raises InputError for a
    factor that leaves no pixel.
    """
    chex.assert_type(x, float)
    chex.assert_rank(x, 4)
    size = int(x.shape[1] * factor), int(x.shape[2] * factor)
    if min(size) < 1:
        raise InputError(f"{x.shape[1]}x{x.shape[2]} pixels cannot be resized by {factor}.")
    return _resize(x, size, Fraction(factor).limit_denominator(1 << 16))


def bed_of_nails(x: jax.Array, factor: int, size: tuple[int, int] | None = None) -> jax.Array:
    """Puts each value of [B, h, w, C] at the top left of a factor x factor block of zeros.

    Returns [B, factor*h, factor*w, C], or [B, H, W, C] for size (H, W) that holds every value:
    more rows are zeros. Raises InputError where size is too small.
    """
    chex.assert_rank(x, 4)
    height, width = size or (factor * x.shape[1], factor * x.shape[2])
    bottom = height - (x.shape[1] - 1) * factor - 1
    right = width - (x.shape[2] - 1) * factor - 1
    if bottom < 0 or right < 0:
        raise InputError(
            f"bed_of_nails cannot put {x.shape[1]}x{x.shape[2]} values {factor} apart into "
            f"{height}x{width}; give a larger size."
        )
    zero = jnp.zeros((), x.dtype)
    return lax.pad(x, zero, ((0, 0, 0), (0, bottom, factor - 1), (0, right, factor - 1), (0, 0, 0)))


def _resize(x, size, rule):
    chex.assert_rank(x, 4)
    y = x.astype(jnp.float32) if x.dtype in (jnp.bfloat16, jnp.float16) else x
    for axis, out in zip((1, 2), size, strict=True):
        if out != x.shape[axis]:
            y = _resize_axis(y, axis, x.shape[axis], out, rule)
    return y.astype(x.dtype)


def _take(x: jax.Array, axis: int, n: int, out: int, rule: str | Fraction) -> jax.Array:
    return _weighted_take(x, axis, *_table(n, out, rule))


def _take_gradient(axis, n, out, rule, _, g):
    return (_weighted_take(g, axis, *_transposed_table(n, out, rule)),)


_resize_axis = jax.custom_vjp(_take, nondiff_argnums=(1, 2, 3, 4))
_resize_axis.defvjp(lambda x, *static: (_resize_axis(x, *static), None), _take_gradient)


def _weighted_take(x, axis, taps, weights):
    """Sum over k of weights[:, k] * x[taps[:, k]] along one axis of [B, h, w, C]."""
    shape = (-1, 1, 1) if axis == 1 else (-1, 1)
    reads = [jnp.take(x, column, axis, mode="clip") for column in taps.T]
    for k, column in enumerate(weights.T):
        if (column != 1).any():
            reads[k] *= jnp.asarray(column.reshape(shape), x.dtype)
    return functools.reduce(jnp.add, reads)


@functools.cache
def _table(n, out, rule):
    """Taps [out, K] and weights [out, K] of a resize from n to out values."""
    i = np.arange(out)
    match rule:  # the source coordinate as an exact fraction
        case "nearest floor":
            return (i * n // out)[:, None], np.ones((out, 1))
        case "nearest half-pixel":
            return ((2 * i + 1) * n // (2 * out))[:, None], np.ones((out, 1))
        case "bilinear half-pixel":
            position, unit = (2 * i + 1) * n - out, 2 * out
        case Fraction(numerator=up, denominator=down):  # bilinear
            position, unit = (2 * i + 1) * down - up, 2 * up
        case "bilinear corner-aligned":
            position, unit = i * (n - 1), max(out - 1, 1)
        case "bilinear legacy":
            position, unit = i * n, out
        case _:
            raise InputError(
                f"'{rule}' is no resize convention; use 'half-pixel', or 'floor' for nearest, "
                "'corner-aligned' or 'legacy' for bilinear."
            )
    position = np.clip(position, 0, (n - 1) * unit)
    low = position // unit
    fraction = (position - low * unit) / unit
    return np.stack([low, np.minimum(low + 1, n - 1)], 1), np.stack([1 - fraction, fraction], 1)


@functools.cache
def _transposed_table(n, out, rule):
    """Taps [n, K] and weights [n, K] that carry gradients from out values back to n values."""
    taps, weights = _table(n, out, rule)
    matrix = np.zeros((n, out))
    np.add.at(matrix, (taps, np.arange(out)[:, None]), weights)
    used = matrix != 0  # one run in every row, because source positions only grow
    first, count = used.argmax(1)[:, None], used.sum(1)[:, None]
    k = np.arange(count.max())
    taps = first + np.where(k < count, k, 0)
    return taps, np.where(k < count, np.take_along_axis(matrix, taps, 1), 0)
