"""Supports: for each position of an array, the rows of the image that it depends on.

An array's support along one axis of the image is an array of booleans of the array's own shape and
a last axis, the n rows of the image. A dimension along which the support does not change has
length 1, so that a feature map [B, H, W, C] carries [1, H, 1, 1, n]. The support of a sum is a
union; it is kept as a tuple of parts where writing it out would be large: the scores of an
attention are [1, N, 1, n] and [1, 1, N, n]. Every rule acts on each part by itself.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

Parts = tuple[np.ndarray, ...]


class Value(NamedTuple):
    """What is known of an array: its support, and its numbers where it is a constant."""

    shape: tuple[int, ...]
    parts: Parts = ()  # none: independent of the image
    constant: Callable[[], np.ndarray] | None = None


def along(shape: Sequence[int], axis: int) -> Parts:
    """The support of the image itself: position i of this axis depends on row i."""
    n = shape[axis]
    lengths = [n if d == axis else 1 for d in range(len(shape))]
    return (np.eye(n, dtype=bool).reshape(*lengths, n),)


def table(parts: Parts, shape: Sequence[int], axis: int | None, n: int) -> np.ndarray:
    """bool [positions along `axis`, n]: the union over the other axes."""
    support = np.zeros((1 if axis is None else shape[axis], n), bool)
    for part in parts:
        others = tuple(d for d in range(len(shape)) if d != axis)
        support |= anywhere(part, others).reshape(-1, n)
    return support


def union(parts: Sequence[np.ndarray]) -> Parts:
    """The same support in fewer parts: each joins one that it does not make larger."""
    kept: list[np.ndarray] = []
    for part in sorted(parts, key=lambda p: (-p.size, p.shape)):
        for i, other in enumerate(kept):
            if all(a in (1, b) for a, b in zip(part.shape, other.shape, strict=True)):
                kept[i] = other | part
                break
        else:
            if part.any():
                kept.append(part)
    return tuple(kept)


def anywhere(s: np.ndarray, axes: int | tuple[int, ...], keepdims: bool = False) -> np.ndarray:
    """Whether any is true along the axes; an array, whatever its shape."""
    return np.asarray(np.any(s, axis=axes, keepdims=keepdims))


def everything(value: Value, ndim: int) -> Parts:
    """All that any of the value depends on, at every position of an array of `ndim` axes."""
    return tuple(
        anywhere(s, tuple(range(s.ndim - 1))).reshape([1] * ndim + [-1]) for s in value.parts
    )


def keep(mask: np.ndarray, part: np.ndarray) -> np.ndarray:
    """The part where a mask of the array's shape is true, as far as the part tells apart."""
    same = tuple(d for d in range(mask.ndim) if part.shape[d] == 1)
    return part & anywhere(mask, same, keepdims=True)[..., None]


def compress(part: np.ndarray) -> np.ndarray:
    """Length 1 for the dimensions along which the part does not change."""
    for d in range(part.ndim - 1):
        first = part.take([0], d)
        if part.shape[d] > 1 and (part == first).all():
            part = first
    return part


def window(
    s: np.ndarray,
    axis: int,
    n: int,
    out: int,
    *,
    taps: Any = (0,),
    stride=1,
    low=0,
    base=1,
    dilation=1,
) -> np.ndarray:
    """The union over a window: output o reads the padded, dilated input at o * stride + taps.

    `n` and `out` are the array's lengths before and after; `low` is the padding before, `base` the
    dilation of the input and `dilation` that of the window. Strides, pads and slices are windows.
    """
    if s.shape[axis] != n:
        return s  # the same at every position
    s = np.moveaxis(s, axis, 0)
    y = np.zeros((out, *s.shape[1:]), bool)
    for tap in taps:
        position = np.arange(out) * stride + tap * dilation - low
        read = (position % base == 0) & (position >= 0) & (position < n * base)
        y[read] |= s[position[read] // base]
    return np.moveaxis(y, 0, axis)
