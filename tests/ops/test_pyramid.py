"""Colour, pyramids and contrast against OpenCV and a plain sum."""

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax.errors import InputError
from segjax.ops.pyramid import (
    collapse,
    expand,
    laplacian_pyramid,
    local_contrast_normalization,
    reduce,
    rgb_to_yuv,
)


def uniform(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


def test_yuv_equals_opencv():
    image = uniform(12, 10, 3)
    found = np.asarray(rgb_to_yuv(jnp.asarray(image)))
    wanted = cv2.cvtColor(image, cv2.COLOR_RGB2YUV) - np.array([0, 0.5, 0.5])
    np.testing.assert_allclose(found, wanted, atol=2e-4)
    grey = rgb_to_yuv(jnp.full((2, 3, 3, 3), 7.0))
    np.testing.assert_allclose(grey, np.broadcast_to([7, 0, 0], grey.shape), atol=1e-5)


def test_reduce_and_expand_equal_opencv():
    image = uniform(3, 18, 14, 2)
    found, large = jax.jit(reduce)(image), jax.jit(expand)(image)
    for i in range(3):
        np.testing.assert_allclose(found[i], cv2.pyrDown(image[i]), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(large[i], cv2.pyrUp(image[i]), rtol=1e-5, atol=1e-6)


def test_pyramid():
    image = uniform(1, 24, 40, 3)
    pyramid, again = jax.jit(
        lambda x: (laplacian_pyramid(x, 3), collapse(laplacian_pyramid(x, 3)))
    )(image)
    assert [x.shape for x in pyramid] == [(1, 24, 40, 3), (1, 12, 20, 3), (1, 6, 10, 3)]
    half = cv2.pyrDown(image[0])
    np.testing.assert_allclose(pyramid[0][0], image[0] - cv2.pyrUp(half), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(pyramid[2][0], cv2.pyrDown(half), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(again, image, atol=1e-6)


def test_sizes_that_do_not_halve_are_refused():
    with pytest.raises(InputError, match="level 1: give sides of at least 12, multiples of 4"):
        laplacian_pyramid(jnp.zeros((1, 24, 14, 1)), 3)


def normalised(image, size):
    """By the sum over each window."""
    h, w = image.shape
    r = size // 2

    def window(x, i, j):
        return x[max(i - r, 0) : i + r + 1, max(j - r, 0) : j + r + 1]

    def each(f, x):
        return np.array([[f(window(x, i, j)) for j in range(w)] for i in range(h)])

    centred = image - each(np.mean, image)
    deviation = each(lambda x: np.sqrt(np.mean(x**2)), centred)
    return centred / np.maximum(deviation, deviation.mean())


def test_local_contrast_normalization():
    image = uniform(3, 11, 9, 2) ** 3
    found = jax.jit(lambda x: local_contrast_normalization(x, 5))(image)
    for b, c in ((0, 0), (1, 1), (2, 0)):
        wanted = normalised(image[b, :, :, c].astype(np.float64), 5)
        np.testing.assert_allclose(found[b, :, :, c], wanted, rtol=1e-3, atol=1e-4)


def test_flat_regions_stay_flat():
    def largest(image):
        return jnp.max(jnp.abs(local_contrast_normalization(image, 5)))

    for level in (0.0, 2.0, 2550.0):
        value, gradient = jax.jit(jax.value_and_grad(largest))(jnp.full((1, 8, 8, 1), level))
        assert value < 0.01
        assert np.isfinite(gradient).all()


def test_windows_have_a_centre():
    with pytest.raises(InputError, match="size is 4; give an odd size"):
        local_contrast_normalization(jnp.zeros((1, 8, 8, 1)), 4)
