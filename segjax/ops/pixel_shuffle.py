"""Rearrange channels into space and back (Shi et al. 2016, arXiv:1609.05158, section 3.2)."""

import chex
import jax

from segjax.errors import InputError


def depth_to_space(x: jax.Array, factor: int) -> jax.Array:
    """Moves channels into factor x factor blocks: [B, h, w, C*r*r] -> [B, h*r, w*r, C].

    Input channel `c*r*r + dy*r + dx` becomes output channel c at offset (dy, dx), the order of
    torch's PixelShuffle (TensorFlow's depth_to_space reads `(dy*r + dx)*C + c`). Raises InputError
    where the channels are no multiple of factor**2. Shi et al. 2016, equation 4.
    """
    chex.assert_rank(x, 4)
    b, h, w, channels = x.shape
    r = factor
    if channels % (r * r):
        raise InputError(
            f"depth_to_space by {r} got {channels} channels; give it a multiple of {r * r}."
        )
    x = x.reshape(b, h, w, channels // (r * r), r, r)
    return x.transpose(0, 1, 4, 2, 5, 3).reshape(b, h * r, w * r, channels // (r * r))


def space_to_depth(x: jax.Array, factor: int) -> jax.Array:
    """Undoes depth_to_space: [B, h*r, w*r, C] -> [B, h, w, C*r*r], in the same channel order.

    Raises InputError where height or width is no multiple of factor.
    """
    chex.assert_rank(x, 4)
    b, height, width, c = x.shape
    r = factor
    if height % r or width % r:
        raise InputError(
            f"space_to_depth by {r} got {height}x{width}; pad both to a multiple of {r}."
        )
    x = x.reshape(b, height // r, r, width // r, r, c)
    return x.transpose(0, 1, 3, 5, 2, 4).reshape(b, height // r, width // r, c * r * r)
