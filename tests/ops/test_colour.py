"""sRGB and CIE Lab against published values, OpenCV, and each other."""

import cv2
import jax
import numpy as np
import pytest

from segjax.ops.colour import lab_to_rgb, rgb_to_lab

# Lab of the sRGB primaries under D65, 2 degrees (Lindbloom's calculator).
PUBLISHED = {
    (1.0, 1.0, 1.0): (100, 0, 0),
    (0.0, 0.0, 0.0): (0, 0, 0),
    (1.0, 0.0, 0.0): (53.2408, 80.0925, 67.2032),
    (0.0, 1.0, 0.0): (87.7347, -86.1827, 83.1793),
    (0.0, 0.0, 1.0): (32.2970, 79.1875, -107.8602),
    (1.0, 1.0, 0.0): (97.1393, -21.5537, 94.4780),
    (0.5, 0.5, 0.5): (53.3890, 0, 0),
}


@pytest.mark.parametrize("rgb", PUBLISHED)
def test_published_values(rgb):
    np.testing.assert_allclose(rgb_to_lab(np.float32(rgb)), PUBLISHED[rgb], atol=5e-3)
    np.testing.assert_allclose(lab_to_rgb(np.float32(PUBLISHED[rgb])), rgb, atol=2e-3)


def test_as_opencv_and_there_and_back():
    image = np.random.default_rng(0).random((3, 17, 23, 3), np.float32)
    image[0, :9] *= 0.05  # the linear ends of both curves
    lab = jax.jit(rgb_to_lab)(image)
    want = [cv2.cvtColor(x, cv2.COLOR_RGB2Lab) for x in image]
    np.testing.assert_allclose(lab, want, atol=1)  # of 100: OpenCV interpolates tables
    assert np.abs(lab - np.array(want)).mean() < 0.1
    np.testing.assert_allclose(jax.jit(lab_to_rgb)(lab), image, atol=1e-4)


def test_colours_beyond_the_screen_are_clipped_and_gradients_finite():
    lab = np.array([[50, 200, 0], [0, 0, 0], [120, 0, 0], [50, 0, -200]], np.float32)
    rgb = lab_to_rgb(lab)
    assert np.asarray(rgb).min() >= 0
    assert np.asarray(rgb).max() <= 1
    for function, x in ((lab_to_rgb, lab), (rgb_to_lab, np.zeros((2, 3), np.float32))):
        assert np.isfinite(jax.grad(lambda x, f=function: f(x).sum())(x)).all()
