"""Sizes that meet: legal inputs, crops and mirrored borders, of images and volumes."""

import jax.numpy as jnp
import numpy as np
import pytest

from segjax.errors import InputError
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
    label = np.arange(3 * 5 * 7).reshape(3, 5, 7)
    example = {"image": label[..., None] / 105, "label": label, "weight": label * 2.0}
    got = fit.crop_or_fill(example, (2, 6, 4), 255, np.random.default_rng(0))
    assert {name: y.shape[:3] for name, y in got.items()} == dict.fromkeys(example, (2, 6, 4))
    inside = got["label"] != 255
    assert inside[:, :5].all()
    assert not inside[:, 5].any()
    np.testing.assert_allclose(got["image"][..., 0][inside] * 105, got["label"][inside])
    np.testing.assert_array_equal(got["weight"], np.where(inside, got["label"] * 2, 0))
    np.testing.assert_array_equal(got["image"][:, 5], got["image"][:, 4])  # mirrored


def test_a_size_for_other_images_is_refused():
    example = {"image": np.zeros((8, 8, 1))}
    with pytest.raises(InputError, match=r"\(2, 3, 4\) does not fit an image of \(8, 8\)"):
        fit.crop_or_fill(example, (2, 3, 4), 255, np.random.default_rng(0))
