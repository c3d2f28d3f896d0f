"""Colour spaces: sRGB to CIE Lab, whose lightness and colour are apart, and back."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

RGB_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ],
    np.float32,
)
"""Linear sRGB to CIE XYZ (IEC 61966-2-1, white D65)."""

WHITE = RGB_TO_XYZ.sum(1)  # of r = g = b = 1, so that grey has no colour
XYZ_TO_RGB = np.linalg.inv(RGB_TO_XYZ.astype(np.float64)).astype(np.float32)
DELTA = 6 / 29


def rgb_to_lab(image: jax.Array) -> jax.Array:
    """sRGB [..., 3] in [0, 1] -> CIE Lab 1976 [..., 3]: L in [0, 100], a and b about +-110.

    The white is D65. Finite gradients everywhere.
    """
    chex.assert_axis_dimension(image, -1, 3)
    image = image.astype(jnp.float32)
    low = image <= 0.04045
    linear = jnp.where(low, image / 12.92, ((jnp.where(low, 1, image) + 0.055) / 1.055) ** 2.4)
    t = _mix(RGB_TO_XYZ, linear) / WHITE
    low = t <= DELTA**3
    f = jnp.where(low, t / (3 * DELTA**2) + 4 / 29, jnp.cbrt(jnp.where(low, 1, t)))
    x, y, z = jnp.moveaxis(f, -1, 0)
    return jnp.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def lab_to_rgb(lab: jax.Array) -> jax.Array:
    """CIE Lab [..., 3] -> sRGB [..., 3], clipped to [0, 1] where a screen cannot show the colour.

    The inverse of `rgb_to_lab`.
    """
    chex.assert_axis_dimension(lab, -1, 3)
    lightness, a, b = jnp.moveaxis(lab.astype(jnp.float32), -1, 0)
    y = (lightness + 16) / 116
    f = jnp.stack([y + a / 500, y, y - b / 200], -1)
    xyz = WHITE * jnp.where(f > DELTA, f**3, 3 * DELTA**2 * (f - 4 / 29))
    linear = jnp.clip(_mix(XYZ_TO_RGB, xyz), 0, 1)
    low = linear <= 0.0031308
    return jnp.where(low, 12.92 * linear, 1.055 * jnp.where(low, 1, linear) ** (1 / 2.4) - 0.055)


def _mix(matrix, x):
    """matrix @ x in full precision, which a product on an accelerator would not have."""
    return sum(matrix[:, i] * x[..., i, None] for i in range(3))
