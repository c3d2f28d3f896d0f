"""Checkerboards: how often a transposed convolution writes each pixel, and patterns of one period.

Odena et al. 2016, "Deconvolution and checkerboard artifacts", doi:10.23915/distill.00003.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from segjax.errors import InputError


def overlap_count(kernel_size: int, stride: int, size: int) -> np.ndarray:
    """Copies of the kernel that reach each output of a transposed convolution, along one axis.

    int [(size - 1) * stride + kernel_size], without padding, from `size` inputs. In the plane the
    counts multiply: `np.outer(count, count)`. As many windows of a convolution of that kernel and
    stride read each of its inputs, and write its gradient.
    """
    if min(kernel_size, stride, size) < 1:
        raise InputError(
            f"overlap_count got kernel_size {kernel_size}, stride {stride} and size {size}; give "
            "positive numbers."
        )
    inputs = np.zeros((size - 1) * stride + 1, np.int64)
    inputs[::stride] = 1
    return np.convolve(inputs, np.ones(kernel_size, np.int64))


def stride_energy(image: jax.Array, stride: int) -> jax.Array:
    """The share of the energy of [B, H, W, C] that repeats every `stride` pixels: 0 to 1.

    The energy is the mean square about the mean of each image and channel; what repeats is, by
    Parseval, its spectrum at the multiples of 1/stride cycles per pixel. Rows and columns beyond a
    multiple of the stride are left out; 0 for constant images.
    """
    pattern = _pattern(image, stride)
    mean = pattern.mean((1, 2), keepdims=True)
    height, width = (n // stride * stride for n in image.shape[1:3])
    energy = jnp.mean(jnp.square(image[:, :height, :width] - mean))
    repeats = jnp.mean(jnp.square(pattern - mean))
    return jnp.where(energy > 0, repeats / jnp.where(energy > 0, energy, 1), 0)


def stride_contrast(power: jax.Array, stride: int) -> jax.Array:
    """How unevenly [B, H, W, C] is spread over the stride * stride positions of its blocks.

    The standard deviation of the positions' means over their mean, taken over all images, channels
    and blocks. 0 where every position gets as much; of a non-negative quantity, such as the square
    of a gradient, at most sqrt(stride**2 - 1), where one position gets all.
    """
    pattern = _pattern(power, stride).mean((0, 3))
    return jnp.std(pattern) / jnp.mean(pattern)


def _pattern(image: jax.Array, stride: int) -> jax.Array:
    """The mean block [B, stride, stride, C]."""
    chex.assert_rank(image, 4)
    b, h, w, c = image.shape
    if min(h, w) < stride:
        raise InputError(f"An image of {h} x {w} pixels holds no block of {stride}: take a larger.")
    rows, columns = h // stride, w // stride
    image = image[:, : rows * stride, : columns * stride]
    return image.reshape(b, rows, stride, columns, stride, c).mean((1, 3))
