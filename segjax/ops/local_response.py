"""Local response normalisation (Krizhevsky et al. 2012, "ImageNet Classification", section 3.3)."""

import chex
import jax
import jax.numpy as jnp


def local_response_norm(
    x: jax.Array, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> jax.Array:
    """Divides [B, H, W, C] by (k + alpha * mean of squares of `size` channels around each)**beta.

    Channels beyond the ends count as zeros. As Caffe's LRN and torch's LocalResponseNorm; the paper
    has a sum for the mean, alpha 1e-4 and k 2. Half precision is computed in float32.
    """
    chex.assert_rank(x, 4)
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    pads = (0, 0), (0, 0), (0, 0), (size // 2, (size - 1) // 2)
    squares = jnp.pad(wide * wide, pads)
    total = sum(squares[..., i : i + x.shape[-1]] for i in range(size))
    return (wide / (k + alpha / size * total) ** beta).astype(x.dtype)
