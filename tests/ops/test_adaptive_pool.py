"""Adaptive average pooling against torch (golden file) and against pooling with fixed windows."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax.ops.pooling import adaptive_avg_pool, avg_pool

GOLDEN = np.load(Path(__file__).parents[1] / "golden/adaptive_pool.npz")


@pytest.mark.parametrize("name", sorted({key.split("/")[0] for key in GOLDEN}))
def test_equals_torch_forward_and_backward(name):
    x, y, g, dx = (GOLDEN[f"{name}/{key}"] for key in ("x", "y", "g", "dx"))
    size = tuple(map(int, name.split("_")[1].split("x")))
    found, backward = jax.vjp(lambda x: adaptive_avg_pool(x, size), x)
    np.testing.assert_allclose(found, y, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(backward(g)[0], dx, rtol=1e-5, atol=1e-5)


def test_worked_example():
    # 5 pixels in 2 bins: the middle one is in both.
    x = jnp.array([1.0, 2, 6, 3, 9])[None, None, :, None]
    assert adaptive_avg_pool(x, (1, 2)).ravel().tolist() == [3, 6]


@pytest.mark.parametrize(("side", "same"), [(60, True), (90, True), (64, False)])
def test_pspnets_bins_are_fixed_windows_at_its_crops(side, same):
    # The authors' Caffe code pools windows of 60, 30, 20, 10 at a crop of 473 (90, ... at 713).
    x = np.random.default_rng(0).normal(size=(1, side, side, 2)).astype(np.float32)
    for bins in (1, 2, 3, 6):
        window = -(-side // bins)
        fixed = avg_pool(x, (window, window), ceil_mode=True)
        found = adaptive_avg_pool(jnp.asarray(x), (bins, bins))
        if same or side % bins == 0:
            np.testing.assert_allclose(found, fixed, rtol=1e-4, atol=1e-6)
        else:
            assert not np.allclose(found, fixed, rtol=1e-2)


def test_half_precision_is_summed_in_single():
    x = np.random.default_rng(0).uniform(1, 2, size=(2, 64, 48, 3)).astype(np.float32)
    half = jnp.asarray(x, jnp.bfloat16)
    found = adaptive_avg_pool(half, (3, 1))
    assert found.dtype == jnp.bfloat16
    wanted = adaptive_avg_pool(half.astype(jnp.float32), (3, 1))
    np.testing.assert_allclose(found.astype(jnp.float32), wanted, rtol=2**-8)
