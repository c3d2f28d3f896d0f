"""Activations written so that XLA keeps what they return."""

import jax
import jax.numpy as jnp


def relu(x: jax.Array) -> jax.Array:
    """max(x, 0) of an array of any shape; its gradient at 0 is 0, and NaN stays NaN.

    A select rather than a maximum: XLA:CPU takes a maximum with a constant for cheap enough to
    compute again in each of its readers, together with the sum before it, and so computes the sums
    of a residual network from the first one on in every block. `docs/performance.md` has the times.
    """
    return jnp.where(x <= 0, jnp.zeros((), x.dtype), x)
