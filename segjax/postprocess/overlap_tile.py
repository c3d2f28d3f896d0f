"""Images larger than the network's input, tile by tile, without seams."""

from collections.abc import Callable

import numpy as np

from segjax.errors import InputError


def overlap_tile(
    apply: Callable[[np.ndarray], np.ndarray],
    image: np.ndarray,
    tile: int | tuple[int, int],
    margin: int | tuple[int, int],
    batch_size: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Float32 [H, W, K]: `apply` over `image` [H, W, C] of any size, by the overlap-tile strategy.

    `apply` maps float32 tiles [batch_size, h, w, C], (h, w) = `tile`, always of this one shape,
    to either [batch_size, h - 2 margin, w - 2 margin, K] (networks without padding) or
    [batch_size, h, w, K], of which `margin` pixels are then cut away on every side. Each pixel
    comes from one tile, and there are ceil(H / (h - 2 margin)) x ceil(W / (w - 2 margin)) of
    them. The last tile of a row or column is moved inwards, so that its context is real image;
    beyond the image, context is its reflection (the edge pixel not repeated), over and over.
    `progress(done, total)` is called with tile counts after every batch. Memory on the device
    does not grow with the image. U-Net, Ronneberger et al. 2015, section 2 and figure 2: tile
    572, margin 92. Raises InputError for a margin that leaves nothing and an image not of rank 3.
    """
    if image.ndim != 3 or 0 in image.shape:
        raise InputError(f"overlap_tile: the image must be [H, W, C], not {image.shape}.")
    (h, w), (top, left) = (np.broadcast_to(x, 2).tolist() for x in (tile, margin))
    inner = h - 2 * top, w - 2 * left
    if min(top, left) < 0 or min(inner) < 1:
        raise InputError(
            f"overlap_tile: a margin of {margin} leaves nothing of a tile of {tile};"
            " the tile must be larger than twice the margin."
        )
    if batch_size < 1:
        raise InputError(f"overlap_tile: batch_size must be at least 1, not {batch_size}.")
    H, W = image.shape[:2]
    corners = [(y, x) for y in _starts(H, inner[0]) for x in _starts(W, inner[1])]
    out = np.empty((0,))
    for first in range(0, len(corners), batch_size):
        batch = corners[first : first + batch_size]
        tiles = np.zeros((batch_size, h, w, image.shape[2]), np.float32)  # zeros fill the last one
        for i, (y, x) in enumerate(batch):
            rows, columns = _mirrored(y - top, h, H), _mirrored(x - left, w, W)
            tiles[i] = image[rows[:, None], columns]
        result = np.asarray(apply(tiles))
        if result.shape[:3] == (batch_size, h, w):
            result = result[:, top : h - top, left : w - left]
        if result.ndim != 4 or result.shape[:3] != (batch_size, *inner):
            raise InputError(
                f"overlap_tile: tiles of {h} x {w} must give results of that size or of"
                f" {inner[0]} x {inner[1]} (margin {margin}), not {result.shape}."
            )
        if first == 0:
            out = np.empty((H, W, result.shape[3]), np.float32)
        for (y, x), values in zip(batch, result, strict=False):
            there = out[y : y + inner[0], x : x + inner[1]]
            there[:] = values[: there.shape[0], : there.shape[1]]
        if progress:
            progress(first + len(batch), len(corners))
    return out


def _starts(n, step):
    """Where tiles of length `step` that cover 0 .. n - 1 begin; the last ends with the image."""
    return [max(0, min(start, n - step)) for start in range(0, n, step)]


def _mirrored(start, length, n):
    """Indices into 0 .. n - 1 of `length` pixels from `start` on, reflected at both ends."""
    period = max(1, 2 * (n - 1))
    index = np.arange(start, start + length) % period
    return np.minimum(index, period - index)
