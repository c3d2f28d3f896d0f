"""Boundary IoU: how well the outlines agree, whatever the size of the regions inside."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from segjax.metrics.metric import Metric


def boundary_band(labels: jax.Array, width: int) -> jax.Array:
    """Pixels at most `width` pixels inside the outline of their region: [B, H, W] int -> bool.

    Labels are at least 0. A pixel is in the band where the square of 2*width+1 pixels about it
    holds another label or leaves the image: what `width` erosions by a 3x3 square take from each
    region's mask. Cheng et al. 2021 (arXiv:2103.16562); the square is their code's.
    """
    chex.assert_rank(labels, 3)
    chex.assert_type(labels, int)
    framed = jnp.pad(labels, [(0, 0), (width, width), (width, width)], constant_values=-1)
    size = 2 * width + 1
    return _over_squares(jnp.maximum, framed, size) != _over_squares(jnp.minimum, framed, size)


def _over_squares(op, x, size):
    """Maximum or minimum of every size x size square of [B, H, W]; windows double up to size."""
    for axis in (1, 2):
        have = 1
        while have < size:
            step = min(have, size - have)
            rest = x.shape[axis] - step
            here, there = (lax.slice_in_dim(x, k, k + rest, axis=axis) for k in (0, step))
            x = op(here, there)
            have += step
    return x


def boundary_iou(num_classes: int, width: int | None = None) -> Metric:
    """Boundary IoU of preds['label'] against batch['label'], both integer [B, H, W].

    `width` is the band's in pixels; by default 2 % of the image's diagonal, at least 1. Figure:
    'boundary_iou', the mean over classes of the bands' intersection over union, both summed over
    the split; classes without a band in either are no part of it, NaN where no class has one.
    Pixels where valid is False, or the label lies outside [0, num_classes), are in no band and end
    a region as the image's border does. Cheng et al. 2021 (arXiv:2103.16562), Boundary IoU.
    """

    def stats(preds, batch, valid):
        truth, guess = batch["label"], preds["label"]
        chex.assert_rank([truth, guess, valid], 3)
        chex.assert_equal_shape([truth, guess, valid])
        _, height, breadth = truth.shape
        pixels = width or max(1, round(0.02 * math.hypot(height, breadth)))
        counted = valid & (truth >= 0) & (truth < num_classes)
        nothing = num_classes
        truth, guess = (jnp.where(counted, x.astype(jnp.int32), nothing) for x in (truth, guess))
        truth, guess = (jnp.where(boundary_band(x, pixels), x, nothing) for x in (truth, guess))

        def count(classes):
            return jnp.zeros(num_classes, jnp.int32).at[classes.ravel()].add(1, mode="drop")

        both = count(jnp.where(truth == guess, truth, nothing))
        return {"intersection": both, "union": count(truth) + count(guess) - both}

    def summarise(evidence):
        inter, union = np.zeros((2, num_classes), np.int64)
        for batch in evidence:
            inter += batch["intersection"]
            union += batch["union"]
        present = union > 0
        mean = (inter[present] / union[present]).mean() if present.any() else np.nan
        return {"boundary_iou": float(mean)}

    return Metric(("boundary_iou",), stats, summarise)
