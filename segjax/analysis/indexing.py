"""Supports through gathers, scatters and matrix products.

Where the indices or the matrix are constants the support follows their numbers; where they depend
on the image or on parameters, any position may be read.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from segjax.analysis.support import anywhere, compress, everything, keep, window


class _Numbers(NamedTuple):
    """The dimension numbers of a gather or scatter; "there" is its output or its updates."""

    windows: dict[int, int]  # axes of the operand that windows keep: the axis there
    mapped: Sequence[int]  # the axis of the operand that each number of an index counts along
    paired: dict[int, int]  # batch axes of the operand: the axis of the indices
    batch: tuple[int, ...]  # the axes there that are the indices' own


def _numbers(operand, there, windows, dropped, mapped, paired, pairs):
    kept = [d for d in range(operand) if d not in (*dropped, *paired)]
    return _Numbers(
        dict(zip(kept, windows, strict=True)),
        mapped,
        dict(zip(paired, pairs, strict=True)),
        tuple(d for d in range(there) if d not in windows),
    )


def _positions(numbers: _Numbers, indices: Any, lengths: Sequence[int], mode: Any, shape, ndim):
    """The positions on each axis of the operand, as arrays over the axes there; which are inside.

    `lengths` are those of a window along each axis of the operand, whose shape is `shape`.
    """

    def over(x, axes):
        found = iter(x.shape)
        return x.reshape([next(found) if d in axes else 1 for d in range(ndim)])

    found, inside = [], np.ones([1] * ndim, bool)
    for d, length in enumerate(lengths):
        position = np.zeros([1] * ndim, np.int64)
        if d in numbers.mapped:
            start = over(indices[..., numbers.mapped.index(d)].astype(np.int64), numbers.batch)
            position = np.clip(start, 0, shape[d] - length)
            inside = inside & (position == start)
        if d in numbers.paired:
            position = position + over(np.arange(shape[d]), [numbers.batch[numbers.paired[d]]])
        if d in numbers.windows:
            position = position + over(np.arange(length), [numbers.windows[d]])
        found.append(position)
    return found, inside | (mode.name == "CLIP")


def _gather(params, inputs, shapes):
    x, indices = inputs
    dims, lengths, ndim = params["dimension_numbers"], params["slice_sizes"], len(shapes[0])
    numbers = _numbers(
        *(len(x.shape), ndim, dims.offset_dims, dims.collapsed_slice_dims, dims.start_index_map),
        *(dims.operand_batching_dims, dims.start_indices_batching_dims),
    )
    parts = []
    for s in indices.parts:
        found = iter(s.shape)
        axes = [next(found) if d in numbers.batch else 1 for d in range(ndim)]
        parts.append(anywhere(s, -2).reshape(*axes, s.shape[-1]))
    unknown, known = (), np.zeros(indices.shape, np.int64)
    if indices.constant is None:
        unknown = tuple(d for d in numbers.mapped if lengths[d] < x.shape[d])
    else:
        known = indices.constant()
    positions, inside = _positions(numbers, known, lengths, params["mode"], x.shape, ndim)
    nowhere = np.zeros([1] * ndim, np.int64)
    for s in x.parts:
        s = anywhere(s, unknown, keepdims=True)
        index = [p if n > 1 else nowhere for p, n in zip(positions, s.shape[:-1], strict=True)]
        parts.append(keep(inside, s[tuple(index)]))
    return [tuple(parts)]


def _scatter(params, inputs, shapes):
    x, indices, updates = inputs
    dims, rank, ndim = params["dimension_numbers"], len(x.shape), len(updates.shape)
    if indices.constant is None:
        whole = (*everything(indices, rank), *everything(updates, rank))
        return [(*x.parts, *whole)]
    numbers = _numbers(
        *(rank, ndim, dims.update_window_dims, dims.inserted_window_dims),
        *(dims.scatter_dims_to_operand_dims, dims.operand_batching_dims),
        dims.scatter_indices_batching_dims,
    )
    windows = numbers.windows
    lengths = [updates.shape[windows[d]] if d in windows else 1 for d in range(rank)]
    positions, inside = _positions(
        numbers, indices.constant(), lengths, params["mode"], x.shape, ndim
    )
    parts = list(x.parts)
    for s in updates.parts:
        # Told apart: where the updates differ along the way, and single positions.
        shape, index = [], []
        for p, n in zip(positions, x.shape, strict=True):
            differs = any(a > 1 and b > 1 for a, b in zip(p.shape, s.shape[:-1], strict=True))
            told = differs or p.size == 1
            shape.append(n if told else 1)
            index.append(p if told else np.zeros([1] * ndim, np.int64))
        *index, valid = np.broadcast_arrays(*index, inside, np.empty(s.shape[:-1]))[:-1]
        s = np.broadcast_to(s, (*valid.shape, s.shape[-1]))
        y = np.zeros((*shape, s.shape[-1]), bool)
        np.logical_or.at(y, tuple(i[valid] for i in index), s[valid])
        parts.append(y)
    return [tuple(parts)]


def _dynamic_slice(params, inputs, shapes):
    x, *starts = inputs
    parts = [p for start in starts for p in everything(start, len(x.shape))]
    for s in x.parts:
        for d, (start, n, size) in enumerate(zip(starts, x.shape, shapes[0], strict=True)):
            if start.constant is not None:
                low = int(np.clip(start.constant(), 0, n - size))
                s = window(s, d, n, size, low=-low)
            elif size < n:
                s = anywhere(s, d, keepdims=True)
        parts.append(s)
    return [tuple(parts)]


def _dynamic_update_slice(params, inputs, shapes):
    x, update, *starts = inputs
    parts = [*x.parts, *(p for start in starts for p in everything(start, len(x.shape)))]
    for s in update.parts:
        for d, (start, n, size) in enumerate(zip(starts, x.shape, update.shape, strict=True)):
            if start.constant is not None:
                low = int(np.clip(start.constant(), 0, n - size))
                s = window(s, d, size, n, low=low)
            elif size < n:
                s = anywhere(s, d, keepdims=True)
        parts.append(s)
    return [tuple(parts)]


def _dot(params, inputs, shapes):
    contracted, batch = params["dimension_numbers"]
    parts = []
    for side in (0, 1):
        x, other = inputs[side], inputs[1 - side]
        taken = [(*contracted[i], *batch[i]) for i in (0, 1)]
        own = [d for d in range(len(x.shape)) if d not in taken[side]]
        theirs = [d for d in range(len(other.shape)) if d not in taken[1 - side]]
        b, f, t = len(batch[side]), len(own), len(theirs)
        for s in x.parts:
            s = s.transpose([*batch[side], *own, *contracted[side], s.ndim - 1])
            rest = tuple(range(b + f, s.ndim - 1))
            if other.constant is None or b or all(s.shape[d] == 1 for d in rest):
                s = anywhere(s, rest)
                s = s.reshape(*s.shape[:-1], *[1] * t, s.shape[-1])
            else:  # a constant matrix along an axis that the support changes along: its nonzeros
                lengths = [x.shape[d] for d in contracted[side]]
                s = np.broadcast_to(s, (*s.shape[:f], *lengths, s.shape[-1]))
                flat = s.reshape(-1, math.prod(lengths), s.shape[-1])
                matrix = other.constant().transpose([*contracted[1 - side], *theirs]) != 0
                matrix = matrix.reshape(math.prod(lengths), -1).astype(np.float32)
                y = matrix.T @ flat.astype(np.float32) > 0  # [own, theirs, n]
                s = compress(y.reshape(*s.shape[:f], *(other.shape[d] for d in theirs), -1))
            if side == 1:  # the left operand's axes come first
                order = [*range(b), *range(b + f, b + f + t), *range(b, b + f), b + f + t]
                s = s.transpose(order)
            parts.append(s)
    return [tuple(parts)]


RULES = {
    "gather": _gather,
    **dict.fromkeys(
        ("scatter", "scatter-add", "scatter-max", "scatter-min", "scatter-mul", "scatter-sub"),
        _scatter,
    ),
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update_slice,
    "dot_general": _dot,
}
