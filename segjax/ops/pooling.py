"""Max and average pooling with torch's geometry, max-pool switches and unpooling.

Max pooling with small windows is a running maximum over the kh*kw strided slices of the input that
also keeps which slice won (uint8, first maximum in row-major order). That index is all that the
gradient and the unpooling need. Both put values back with selects, which is many times faster than
XLA's select-and-scatter, and the gradient need not keep the input.
"""

import itertools
from typing import NamedTuple

import chex
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from segjax.errors import InputError

Padding = tuple[tuple[int, int], tuple[int, int]]
_NONE: Padding = ((0, 0), (0, 0))


@flax.struct.dataclass
class Switches:
    """Where a max-pool found its maxima: enough to put values back exactly."""

    index: jax.Array  # uint8 [B, h, w, C], row-major position in the window
    window: tuple[int, int] = flax.struct.field(pytree_node=False)
    size: tuple[int, int] = flax.struct.field(pytree_node=False)  # (H, W) before pooling


def max_pool(
    x: jax.Array,
    window: tuple[int, int],
    stride: tuple[int, int] | None = None,
    padding: Padding = _NONE,
    ceil_mode: bool = False,
) -> jax.Array:
    """Maximum over windows of [B, H, W, C] -> [B, h, w, C], as torch's max_pool2d.

    stride defaults to window; padding ((top, bottom), (left, right)) never wins. Size per axis:
    floor((H + padding - window)/stride) + 1, or ceil with ceil_mode, where the last window must
    start inside the image or its top/left padding. NaN propagates; of equal maxima the first in
    row-major order takes the gradient.
    """
    chex.assert_rank(x, 4)
    geometry = _geometry(x, window, stride or window, padding, ceil_mode)
    if window[0] * window[1] <= 25:
        return _pool(x, geometry)[0]
    return _reduce(x, geometry, _lowest(x.dtype), lax.max)


def avg_pool(
    x: jax.Array,
    window: tuple[int, int],
    stride: tuple[int, int] | None = None,
    padding: Padding = _NONE,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> jax.Array:
    """Mean over windows of floating [B, H, W, C] -> [B, h, w, C], as torch's avg_pool2d.

    Geometry as in max_pool. A window divides by the pixels it holds: those of the image and, with
    count_include_pad, of the padding; what ceil_mode adds beyond the padding is never counted.
    """
    chex.assert_rank(x, 4)
    chex.assert_type(x, float)
    stride = stride or window
    geometry = _geometry(x, window, stride, padding, ceil_mode)
    total = _reduce(x, geometry, np.zeros((), x.dtype), lax.add)
    counts = []
    for axis in (0, 1):
        n, k, (before, after) = x.shape[axis + 1], window[axis], padding[axis]
        start = np.arange(total.shape[axis + 1]) * stride[axis] - before
        low, high = (-before, n + after) if count_include_pad else (0, n)
        counts.append(np.minimum(start + k, high) - np.maximum(start, low))
    return total / jnp.asarray(np.outer(*counts)[:, :, None], x.dtype)


def adaptive_avg_pool(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Mean over a grid of `size` (h, w) bins of floating [B, H, W, C] -> [B, h, w, C].

    As torch's adaptive_avg_pool2d: bin i covers the pixels from floor(i*H/h) to ceil((i+1)*H/h),
    so that bins overlap where h does not divide H. He et al. 2014 (SPPNet, arXiv:1406.4729).
    """
    chex.assert_rank(x, 4)
    chex.assert_type(x, float)
    y, counts = x, []
    for n, out, contraction in zip(
        x.shape[1:3], size, ("bih,bhwc->biwc", "bjw,biwc->bijc"), strict=True
    ):
        i, pixel = np.arange(out), np.arange(n)
        start, stop = i * n // out, -(-(i + 1) * n // out)
        inside = (start[:, None] <= pixel) & (pixel < stop[:, None])
        # One matrix an image: XLA multiplies by it in place, and moves no axis of x.
        members = jnp.broadcast_to(jnp.asarray(inside, y.dtype), (x.shape[0], out, n))
        accumulator = jnp.promote_types(x.dtype, jnp.float32)
        y = jnp.einsum(
            contraction, members, y, precision="highest", preferred_element_type=accumulator
        )
        counts.append(stop - start)
    return (y / jnp.asarray(np.outer(*counts)[:, :, None], y.dtype)).astype(x.dtype)


def max_pool_with_switches(
    x: jax.Array, window: tuple[int, int] = (2, 2), ceil_mode: bool = False
) -> tuple[jax.Array, Switches]:
    """Max pooling of [B, H, W, C] in adjacent windows, and where the maxima were.

    Returns ([B, h, w, C], Switches) with h = floor(H/kh), or ceil with ceil_mode. The first maximum
    in row-major order wins. Zeiler and Fergus 2014, section 2.1; SegNet, arXiv:1511.00561.
    """
    chex.assert_rank(x, 4)
    if window[0] * window[1] > 255:
        raise InputError(f"Switches are uint8 and cannot index {window}: use a smaller window.")
    y, index = _pool(x, _geometry(x, window, window, _NONE, ceil_mode))
    return y, Switches(index, window, (x.shape[1], x.shape[2]))


def max_unpool(y: jax.Array, switches: Switches) -> jax.Array:
    """Puts each value of [B, h, w, C] where its window's maximum was: [B, H, W, C], else zeros.

    The switches come from max_pool_with_switches of an input of the same batch and channels.
    """
    chex.assert_rank(y, 4)
    chex.assert_equal_shape([y, switches.index])
    window, size, pooled = switches.window, switches.size, y.shape[1:3]
    rest = [(0, k * m - n) for k, m, n in zip(window, pooled, size, strict=True)]
    return _place(y, switches.index, _Geometry(window, window, (rest[0], rest[1]), size))


class _Geometry(NamedTuple):
    window: tuple[int, int]
    stride: tuple[int, int]
    padding: Padding  # what makes the windows cover exactly; negative where they leave a rest
    size: tuple[int, int]  # of the input


def _geometry(x, window, stride, padding, ceil_mode):
    exact = []
    for n, k, s, (before, after) in zip(x.shape[1:3], window, stride, padding, strict=True):
        if max(before, after) >= k or n + before + after < k:
            raise InputError(
                f"Cannot pool a side of {n} with window {k} and padding ({before}, {after}): "
                "the window must fit into the padded image and be larger than the padding."
            )
        out = (n + before + after - k + (s - 1 if ceil_mode else 0)) // s + 1
        out -= (out - 1) * s >= n + before  # a window must start inside the image
        exact.append((before, (out - 1) * s + k - n - before))
    return _Geometry(window, stride, (exact[0], exact[1]), (x.shape[1], x.shape[2]))


def _maxima(x: jax.Array, geometry: _Geometry) -> tuple[jax.Array, jax.Array]:
    """Maxima [B, h, w, C] and their positions."""
    reads = _reads(x, geometry, _lowest(x.dtype))
    best = next(reads)
    index = jnp.zeros(best.shape, jnp.uint8)
    for k, read in enumerate(reads, 1):
        index = jnp.where(read > best, jnp.uint8(k), index)  # strict: the first maximum stays
        best = jnp.maximum(best, read)
    # The remainder changes nothing, but XLA:CPU repeats no division: without it the gradient would
    # find the maximum anew for each of the pixels that a window covers.
    return best, lax.rem(index, jnp.uint8(255))


def _maxima_forward(x, geometry):
    y, index = _pool(x, geometry)
    return (y, index), index


_pool = jax.custom_vjp(_maxima, nondiff_argnums=(1,))
_pool.defvjp(_maxima_forward, lambda geometry, index, g: (_place(g[0], index, geometry),))


def _spread(y: jax.Array, index: jax.Array, geometry: _Geometry) -> jax.Array:
    """Adds each value of y [B, h, w, C] to zeros [B, H, W, C] at its position."""
    (kh, kw), (sh, sw) = geometry.window, geometry.stride
    b, h, w, c = y.shape
    # Cut the image into blocks of one stride. The windows that reach into a block start in that
    # block, or a few blocks further up or left: (up, left) goes through them.
    more_h, more_w = (kh - 1) // sh, (kw - 1) // sw
    around = ((0, 0), (more_h, more_h), (more_w, more_w), (0, 0))
    y, index = jnp.pad(y, around), jnp.pad(index, around)
    x = jnp.zeros((), y.dtype)
    for up, left in itertools.product(range(more_h + 1), range(more_w + 1)):
        rows, columns = up * sh + np.arange(sh)[:, None], left * sw + np.arange(sw)
        position = np.where((rows < kh) & (columns < kw), rows * kw + columns, 255)
        top, first = more_h - up, more_w - left
        window = np.s_[:, top : top + h + more_h, None, first : first + w + more_w, None]
        x += jnp.where(index[window] == position.astype(np.uint8)[:, None, :, None], y[window], 0)
    x = x.reshape(b, (h + more_h) * sh, (w + more_w) * sw, c)
    (top, _), (left, _) = geometry.padding
    height, width = geometry.size
    pads = (-top, height + top - x.shape[1], 0), (-left, width + left - x.shape[2], 0)
    return lax.pad(x, np.zeros((), x.dtype), ((0, 0, 0), *pads, (0, 0, 0)))


def _collect(geometry, index, g):
    """Reads [B, H, W, C] at the positions: the adjoint of _spread."""
    reads = _reads(g, geometry, np.zeros((), g.dtype))
    y = next(reads)
    for k, read in enumerate(reads, 1):
        y = jnp.where(index == k, read, y)
    return y, None


_place = jax.custom_vjp(_spread, nondiff_argnums=(2,))
_place.defvjp(lambda y, index, geometry: (_place(y, index, geometry), index), _collect)


def _reads(x, geometry, fill):
    """What every window sees at its first position, second position, ...: [B, h, w, C] each."""
    (kh, kw), (sh, sw) = geometry.window, geometry.stride
    x = lax.pad(x, fill, ((0, 0, 0), *((*p, 0) for p in geometry.padding), (0, 0, 0)))
    bottom, right = x.shape[1] - kh + 1, x.shape[2] - kw + 1
    for i, j in itertools.product(range(kh), range(kw)):
        yield x[:, i : i + bottom : sh, j : j + right : sw]


def _reduce(x, geometry, start, operation):
    padding = ((0, 0), *((before, max(after, 0)) for before, after in geometry.padding), (0, 0))
    window, stride = (1, *geometry.window, 1), (1, *geometry.stride, 1)
    return lax.reduce_window(x, start, operation, window, stride, padding)


def _lowest(dtype):
    low = -jnp.inf if jnp.issubdtype(dtype, jnp.floating) else jnp.iinfo(dtype).min
    return np.asarray(low, dtype)  # concrete: a traced start value would have no gradient rule
