"""PSNR and SSIM against torchmetrics and numbers by hand; what is not valid changes nothing."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax.errors import InputError
from segjax.metrics.image_quality import psnr, squared_error, ssim, structural_similarity

GOLDEN = np.load(Path(__file__).parent.parent / "golden" / "image_quality.npz")
IMAGE, TRUTH = GOLDEN["image"], GOLDEN["truth"]
ALL = np.ones(IMAGE.shape[:3], bool)
BOTH = jax.jit(lambda a, b, v: (squared_error(a, b, v), structural_similarity(a, b, v)))


def figures(image, truth, valid, batches=1):
    """Both figures of a split in so many batches."""
    out = {}
    for metric in (psnr(), ssim()):
        parts = zip(*(np.array_split(x, batches) for x in (image, truth, valid)), strict=True)
        evidence = [metric.stats({"image": a, "truth": b}, {}, v) for a, b, v in parts]
        out |= metric.summarise(iter(jax.device_get(evidence)))
    return out


def test_figures_are_torchmetrics():
    error, similarity = BOTH(IMAGE, TRUTH, ALL)
    np.testing.assert_allclose(-10 * np.log10(error), GOLDEN["psnr"], rtol=1e-5)
    np.testing.assert_allclose(similarity, GOLDEN["ssim"], atol=1e-5)
    _, grey = BOTH(IMAGE[..., :1], TRUTH[..., :1], ALL)
    np.testing.assert_allclose(grey, GOLDEN["grey"], atol=1e-5)


def test_the_split_is_the_mean_of_its_images_however_batched():
    for batches in (1, 3):
        got = figures(IMAGE, TRUTH, ALL, batches)
        assert got["psnr"] == pytest.approx(np.mean(GOLDEN["psnr"]), rel=1e-5)
        assert got["ssim"] == pytest.approx(np.mean(GOLDEN["ssim"]), abs=1e-5)


def test_worked_numbers():
    # An offset of 0.1 is 20 dB. Of two constant images only the luminance term is left.
    flat = np.full((1, 12, 13, 1), 0.5, np.float32)
    error, similarity = BOTH(flat + 0.1, flat, ALL[:1, :12, :13])
    assert -10 * np.log10(error[0]) == pytest.approx(20, abs=1e-4)
    want = (2 * 0.5 * 0.6 + 1e-4) / (0.25 + 0.36 + 1e-4)
    np.testing.assert_allclose(similarity, want, rtol=1e-3)


def test_equal_images_are_perfect():
    got = figures(TRUTH, TRUTH, ALL)
    assert got["psnr"] == np.inf
    assert got["ssim"] == pytest.approx(1, abs=1e-5)


def test_what_is_not_valid_changes_nothing():
    valid = ALL.copy()
    valid[0, 15:] = False
    valid[1, :, :14] = False
    valid[2] = False
    dirty = np.where(valid[..., None], IMAGE, np.nan)
    clean = BOTH(np.where(valid[..., None], IMAGE, 0.3), TRUTH, valid)
    for a, b in zip(BOTH(dirty, TRUTH, valid), clean, strict=True):
        np.testing.assert_array_equal(a, b)
    # what remains is what a crop gives: every window of valid pixels lies in it
    error, similarity = BOTH(IMAGE[:1, :15], TRUTH[:1, :15], ALL[:1, :15])
    np.testing.assert_allclose(clean[0][0], error[0], rtol=1e-6)
    np.testing.assert_allclose(clean[1][0], similarity[0], rtol=1e-5)
    assert figures(IMAGE, TRUTH, valid) == pytest.approx(
        figures(IMAGE[:2], TRUTH[:2], valid[:2]), rel=1e-6
    )


def test_an_image_without_a_whole_window_counts_for_psnr_alone():
    valid = ALL.copy()
    valid[1:, ::10] = False
    got = figures(IMAGE, TRUTH, valid)
    assert got["ssim"] == pytest.approx(GOLDEN["ssim"][0], abs=1e-5)
    assert got["psnr"] < GOLDEN["psnr"][0] - 5


def test_figures_of_nothing_are_nan_and_nan_is_not_nothing():
    got = figures(IMAGE, TRUTH, ~ALL)
    assert np.isnan([got["psnr"], got["ssim"]]).all()
    broken = IMAGE.copy()
    broken[1, 9, 9] = np.nan
    got = figures(broken, TRUTH, ALL)
    assert np.isnan([got["psnr"], got["ssim"]]).all()


def test_gradients_are_finite_and_vanish_where_not_valid():
    valid = ALL.copy()
    valid[:, :, 20:] = False
    image = jnp.where(valid[..., None], IMAGE, jnp.nan)
    grad = jax.grad(lambda x: structural_similarity(x, TRUTH, valid).sum())(image)
    assert np.isfinite(grad).all()
    assert not np.asarray(grad)[:, :, 20:].any()
    assert np.abs(np.asarray(grad)[:, :, :20]).max() > 0


def test_images_smaller_than_a_window_are_named():
    with pytest.raises(InputError, match="at least 11 x 11 pixels, not 19 x 10"):
        structural_similarity(IMAGE[:, :, :10], TRUTH[:, :, :10], ALL[:, :, :10])
