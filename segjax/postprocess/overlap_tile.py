"""Images larger than the network's input, tile by tile, without seams."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from segjax.errors import InputError


def overlap_tile(
    apply: Callable[[np.ndarray], Mapping[str, Any]],
    image: np.ndarray,
    tile: int | tuple[int, ...],
    margin: int | tuple[int, ...],
    batch_size: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, np.ndarray]:
    """Maps [H, W, ...]: `apply` over `image` [H, W, C] of any size, by the overlap-tile strategy.

    `apply` maps tiles [batch_size, h, w, C], (h, w) = `tile`, always of this one shape, to named
    maps of either [batch_size, h - 2 margin, w - 2 margin, ...] (networks without padding) or
    [batch_size, h, w, ...], of which `margin` pixels are then cut away on every side. Volumes have
    one axis more. Each pixel comes from one tile, and there are
    ceil(H / (h - 2 margin)) x ceil(W / (w - 2 margin)) of them. The last tile of a row or column is
    moved inwards, so that its context is real image; beyond the image, context is its reflection
    (the edge pixel not repeated), over and over. `progress(done, total)` is called with tile counts
    after every batch. Memory on the device does not grow with the image. U-Net, Ronneberger et al.
    2015, section 2 and figure 2: tile 572, margin 92. Raises InputError for a margin that leaves
    nothing and an image that is none.
    """
    axes = image.ndim - 1
    if axes not in (2, 3) or 0 in image.shape:
        raise InputError(f"overlap_tile: the image must be [H, W, C], not {image.shape}.")
    sides, margins = (np.broadcast_to(x, axes).tolist() for x in (tile, margin))
    inner = [side - 2 * m for side, m in zip(sides, margins, strict=True)]
    if min(margins) < 0 or min(inner) < 1:
        raise InputError(
            f"overlap_tile: a margin of {margin} leaves nothing of a tile of {tile};"
            " the tile must be larger than twice the margin."
        )
    if batch_size < 1:
        raise InputError(f"overlap_tile: batch_size must be at least 1, not {batch_size}.")
    whole = image.shape[:-1]
    corners = list(itertools.product(*map(_starts, whole, inner)))
    out: dict[str, np.ndarray] = {}
    for first in range(0, len(corners), batch_size):
        batch = corners[first : first + batch_size]
        tiles = np.zeros((batch_size, *sides, image.shape[-1]), image.dtype)  # zeros fill the last
        for i, corner in enumerate(batch):
            index = [
                _mirrored(start - m, side, n)
                for start, m, side, n in zip(corner, margins, sides, whole, strict=True)
            ]
            tiles[i] = image[np.ix_(*index)]
        for name, result in apply(tiles).items():
            result = np.asarray(result)
            if list(result.shape[: 1 + axes]) == [batch_size, *sides]:
                cut = (slice(m, n - m) for m, n in zip(margins, sides, strict=True))
                result = result[:, *cut]
            if list(result.shape[: 1 + axes]) != [batch_size, *inner]:
                raise InputError(
                    f"overlap_tile: tiles of {_by(sides)} must give results of that size or of"
                    f" {_by(inner)} (margin {margin}), not {result.shape}."
                )
            if first == 0:
                out[name] = np.empty((*whole, *result.shape[1 + axes :]), result.dtype)
            for corner, values in zip(batch, result, strict=False):
                window = tuple(slice(c, c + n) for c, n in zip(corner, inner, strict=True))
                there = out[name][window]
                there[:] = values[tuple(map(slice, there.shape[:axes]))]
        if progress:
            progress(first + len(batch), len(corners))
    return out


def _by(sides):
    return " x ".join(map(str, sides))


def _starts(n, step):
    """Where tiles of length `step` that cover 0 .. n - 1 begin; the last ends with the image."""
    return [max(0, min(start, n - step)) for start in range(0, n, step)]


def _mirrored(start, length, n):
    """Indices into 0 .. n - 1 of `length` pixels from `start` on, reflected at both ends."""
    period = max(1, 2 * (n - 1))
    index = np.arange(start, start + length) % period
    return np.minimum(index, period - index)
