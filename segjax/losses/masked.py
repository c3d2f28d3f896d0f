"""What `valid` and `weight` mean to every loss: nothing excluded leaves a trace."""

from typing import Any

import chex
import jax
import jax.numpy as jnp


def excluded_as(value: Any, x: jax.Array, valid: jax.Array | None) -> jax.Array:
    """x [...] with `value` where it is not valid [...].

    Before any arithmetic, so that a NaN there reaches neither the loss nor its gradient.
    """
    return x if valid is None else jnp.where(valid, x, value)


def masked_mean(
    terms: jax.Array, valid: jax.Array | None = None, weight: jax.Array | None = None
) -> jax.Array:
    """The mean of terms [...] times their weight [...] over what is valid; exactly 0 without any.

    The sum is divided by the number of valid terms, not by the sum of the weights.
    """
    chex.assert_equal_shape([x for x in (terms, valid, weight) if x is not None])
    if weight is not None:
        terms *= excluded_as(0, weight.astype(jnp.float32), valid)
    if valid is None:
        return jnp.mean(terms)
    # Counted in integers: float32 stops counting ones at 16.7 million pixels.
    return jnp.sum(terms, where=valid) / jnp.maximum(jnp.sum(valid, dtype=jnp.int32), 1)
