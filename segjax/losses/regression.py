"""Losses of predicted images, with per-pixel weights and a mask that excludes without a trace."""

import chex
import jax
import jax.numpy as jnp

from segjax.losses.masked import excluded_as, masked_mean


def l1(
    prediction: jax.Array,
    target: jax.Array,
    *,
    valid: jax.Array | None = None,
    weight: jax.Array | None = None,
) -> jax.Array:
    """Mean absolute error in float32 over channels and valid pixels; exactly 0 without any.

    prediction and target [..., C], valid bool [...], weight [...]. Each pixel's term is multiplied
    by its weight and the sum divided by the number of valid pixels, so that a weight of 6 in holes
    and 1 elsewhere is 6 L_hole + L_valid of Liu et al. 2018 (arXiv:1804.07723), equation 7. The
    gradient is 0 where both are equal.
    """
    # Not jnp.abs, whose gradient at 0 is 1.
    return _mean(lambda d: d * jnp.sign(d), prediction, target, valid, weight)


def l2(
    prediction: jax.Array,
    target: jax.Array,
    *,
    valid: jax.Array | None = None,
    weight: jax.Array | None = None,
) -> jax.Array:
    """Mean squared error, otherwise as `l1`."""
    return _mean(jnp.square, prediction, target, valid, weight)


def _mean(error, prediction, target, valid, weight):
    chex.assert_equal_shape([prediction, target])
    pixels = prediction.shape[:-1]
    chex.assert_shape([x for x in (valid, weight) if x is not None], pixels)
    excluded = None if valid is None else valid[..., None]
    x, y = (excluded_as(0, x.astype(jnp.float32), excluded) for x in (prediction, target))
    return masked_mean(jnp.mean(error(x - y), -1), valid, weight)
