"""The pixel weights of U-Net, which force a net to learn the gaps between touching cells."""

from collections.abc import Mapping
from typing import Any

import chex
import cv2
import numpy as np
from scipy import ndimage

from segjax.errors import InputError


def two_nearest_distances(instances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Exact Euclidean distances to the nearest and to the second nearest instance, in pixels.

    instances int [H, W], 0 is background, above are instances; both results float32 [H, W]: d1 is
    0 on an instance, d2 is then the distance to the nearest other one. Infinite where there is no
    such instance.
    """
    chex.assert_rank(instances, 2)
    d2 = np.full(instances.shape, np.inf, np.float32)
    if not instances.any():
        return d2.copy(), d2
    closest = ndimage.distance_transform_edt(
        instances == 0, return_distances=False, return_indices=True
    )
    nearest = instances[tuple(np.asarray(closest))]
    # Two numbers differ in some bit: the nearest other instance is the closest of those, over the
    # bits, that differ from the pixel's own in that bit. Two transforms a bit, not one an instance.
    for bit in range(int(instances.max()).bit_length()):
        own = (nearest >> bit) & 1
        bits = (instances >> bit) & 1
        for value in (0, 1):
            group = (instances != 0) & (bits == value)
            if group.any():
                np.minimum(d2, _distance(group), out=d2, where=own != value)
    return _distance(instances != 0), d2


def _distance(mask):
    """Exact distance to the nearest pixel of a mask."""
    if max(mask.shape) > 2048:  # OpenCV's float32 squares of coordinates stop being exact
        return np.asarray(ndimage.distance_transform_edt(~mask), np.float32)
    return cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def separate_touching(instances: np.ndarray) -> np.ndarray:
    """Carves background between instances [H, W] that touch, diagonally too.

    Of two touching pixels the one of the larger instance becomes 0 (the first in reading order
    where both are equal), so that small instances last.
    """
    chex.assert_rank(instances, 2)
    _, order = np.unique(instances, return_inverse=True)
    order = order.reshape(instances.shape)
    area = np.bincount(order.ravel())[order]
    carved = instances.copy()
    for dy, dx in ((0, 1), (1, -1), (1, 0), (1, 1)):
        height, width = instances.shape
        here = (slice(0, height - dy), slice(max(0, -dx), width - max(0, dx)))
        there = (slice(dy, height), slice(max(0, dx), width - max(0, -dx)))
        a, b = instances[here], instances[there]
        touch = (a != b) & (a != 0) & (b != 0)
        first = area[here] >= area[there]
        carved[here][touch & first] = 0
        carved[there][touch & ~first] = 0
    return carved


def border_weights_of(record: Mapping[str, Any], **options: Any) -> np.ndarray | None:
    """`border_weights` of a record; None in sets that know no instances."""
    if "instances" not in record:
        return None
    return border_weights(record["instances"], **options)


def border_weights(
    instances: np.ndarray, w0: float = 10.0, sigma: float = 5.0, class_balance: bool = True
) -> np.ndarray:
    """Weight of each pixel, w_c + w0 exp(-(d1 + d2)^2 / (2 sigma^2)): int [H, W] -> float32 [H, W].

    d1 and d2 are the distances to the two nearest instances; the second term stands on background
    alone (0) and is 0 with fewer than two instances. Touching instances have no background between
    them: `separate_touching` first. w_c balances foreground and background: the paper wants it so
    over the training set and gives no formula; here it is inverse to the frequency in this image
    with mean 1, N / (2 N_class), and 1 where one class is missing or class_balance is False.
    Ronneberger et al. 2015 (arXiv:1505.04597), equation 2. Raises InputError for a w0 below 0.
    """
    if not 0 <= w0 < np.inf:
        raise InputError(f"The border_weight w0 must be at least 0 and finite, not {w0}.")
    d1, d2 = two_nearest_distances(instances)
    background = instances == 0
    border = w0 * np.exp(-np.square(d1 + d2) / (2 * sigma**2))
    share = background.mean()
    balanced = class_balance and 0 < share < 1
    of_cells, of_background = (0.5 / (1 - share), 0.5 / share) if balanced else (1, 1)
    return np.where(background, of_background + border, of_cells).astype(np.float32)
