"""Colour, contrast and scale of an image as scene labelling before 2014 prepared it."""

import chex
import jax
import jax.numpy as jnp

from segjax.errors import InputError
from segjax.ops.pooling import avg_pool

_YUV = (  # of ITU-R BT.601: U = 0.492 (B - Y), V = 0.877 (R - Y)
    (0.299, -0.147108, 0.614777),
    (0.587, -0.288804, -0.514799),
    (0.114, 0.435912, -0.099978),
)


def rgb_to_yuv(image: jax.Array) -> jax.Array:
    """Luminance and two colour differences of RGB [..., 3], in its units; greys have U = V = 0."""
    chex.assert_axis_dimension(image, -1, 3)
    return jnp.einsum("...c,cd->...d", image, jnp.asarray(_YUV, image.dtype))


def laplacian_pyramid(image: jax.Array, levels: int) -> list[jax.Array]:
    """What each octave of [B, H, W, C] adds to the next coarser one, and the coarsest itself.

    `levels` images of sides H, H/2, H/4, ...; all but the last are differences between an image
    and its blurred half, and `collapse` puts them together again. Burt and Adelson 1983 with the
    kernel (1, 4, 6, 4, 1) / 16, borders as OpenCV's pyrDown and pyrUp. Raises `InputError` where a
    side does not halve evenly, or to less than 3 pixels.
    """
    chex.assert_rank(image, 4)
    pyramid = []
    for level in range(levels - 1):
        if any(n % 2 or n < 6 for n in image.shape[1:3]):
            raise InputError(
                f"laplacian_pyramid cannot halve {image.shape[1]} x {image.shape[2]} at level "
                f"{level}: give sides of at least {6 * 2 ** (levels - 2)}, multiples of "
                f"{2 ** (levels - 1)}."
            )
        half = reduce(image)
        pyramid.append(image - expand(half))
        image = half
    return [*pyramid, image]


def collapse(pyramid: list[jax.Array]) -> jax.Array:
    """The image [B, H, W, C] of a Laplacian pyramid."""
    image = pyramid[-1]
    for difference in reversed(pyramid[:-1]):
        image = difference + expand(image)
    return image


def reduce(image: jax.Array) -> jax.Array:
    """Blurs [B, H, W, C] with the binomial kernel and keeps every other pixel; H and W are even."""
    chex.assert_rank(image, 4)
    for axis in (1, 2):
        n = image.shape[axis]
        pads = [(2, 1) if i == axis else (0, 0) for i in range(4)]
        x = jnp.pad(image, pads, mode="reflect")

        def tap(i: int, x: jax.Array = x, axis: int = axis, n: int = n) -> jax.Array:
            return jax.lax.slice_in_dim(x, i, i + n - 1, 2, axis)

        image = (tap(0) + 4 * tap(1) + 6 * tap(2) + 4 * tap(3) + tap(4)) / 16
    return image


def expand(image: jax.Array) -> jax.Array:
    """Doubles [B, h, w, C]: zeros between the pixels, then the binomial kernel."""
    chex.assert_rank(image, 4)
    for axis in (1, 2):
        n = image.shape[axis]
        before = [(1, 0) if i == axis else (0, 0) for i in range(4)]
        after = [(0, 1) if i == axis else (0, 0) for i in range(4)]
        x = jnp.pad(jnp.pad(image, before, mode="reflect"), after, mode="edge")
        left, here, right = (jax.lax.slice_in_dim(x, i, i + n, 1, axis) for i in range(3))
        pairs = jnp.stack([(left + 6 * here + right) / 8, (here + right) / 2], axis + 1)
        image = pairs.reshape(*image.shape[:axis], 2 * n, *image.shape[axis + 1 :])
    return image


def local_contrast_normalization(image: jax.Array, size: int = 15) -> jax.Array:
    """Removes the mean of every size x size window of [B, H, W, C], then its standard deviation.

    Each channel alone; windows end at the border. The deviation counts no less than its own mean
    over the image, nor than 1e-4 of the largest value, so that flat regions stay flat. Jarrett et
    al. 2009, section 2 (with the box window of Farabet et al. 2013); `size` is odd, or InputError.
    """
    chex.assert_rank(image, 4)
    if size % 2 == 0:
        raise InputError(f"size is {size}; give an odd size, so that a window has a centre.")
    floor = 1e-4 * jnp.max(jnp.abs(image), axis=(1, 2), keepdims=True) + 1e-12
    image = image - _box(image, size)
    deviation = jnp.sqrt(jnp.maximum(_box(jnp.square(image), size), jnp.square(floor)))
    return image / jnp.maximum(deviation, jnp.mean(deviation, axis=(1, 2), keepdims=True))


def _box(x, size):
    """The mean of the size x size window of each pixel, of what it has inside the image."""
    pad = (size // 2, size // 2)
    x = avg_pool(x, (size, 1), (1, 1), (pad, (0, 0)), count_include_pad=False)
    return avg_pool(x, (1, size), (1, 1), ((0, 0), pad), count_include_pad=False)
