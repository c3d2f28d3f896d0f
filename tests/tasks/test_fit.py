"""Sizes that meet: legal inputs, crops and mirrored borders, of images and volumes."""

import jax.numpy as jnp
import numpy as np
import pytest

from segjax.models.unet import UNet
from segjax.tasks import fit


@pytest.mark.parametrize(
    ("available", "wanted", "side"), [(572, 388, 572), (576, 384, 572), (400, 388, 572)]
)
def test_input_side_of_unpadded_networks(available, wanted, side):
    assert fit.input_side(UNet(2), available, wanted) == side


@pytest.mark.parametrize(
    ("available", "wanted", "side"), [(576, 384, 576), (580, 384, 576), (500, 500, 512)]
)
def test_input_side_of_padded_networks(available, wanted, side):
    assert fit.input_side(UNet(2, padding="same"), available, wanted) == side


def test_centre_and_mirror_are_inverse():
    x = jnp.arange(2 * 5 * 7.0).reshape(2, 5, 7, 1)
    big = fit.mirror_to(x, (8, 9))
    np.testing.assert_array_equal(fit.centre(big, (5, 7)), x)
    # Rows above the image mirror it without repeating its edge.
    np.testing.assert_array_equal(big[:, 0, 1:-1], x[:, 1])


def test_volumes_are_cropped_centred_and_mirrored_along_every_axis():
    x = jnp.arange(3 * 5 * 7.0).reshape(1, 3, 5, 7, 1)
    big = fit.mirror_to(x, (4, 8, 9))
    assert big.shape == (1, 4, 8, 9, 1)
    np.testing.assert_array_equal(fit.centre(big, (3, 5, 7)), x)
    np.testing.assert_array_equal(big[0, 3, 1:6, 1:8], x[0, 1])
