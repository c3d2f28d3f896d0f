from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from segjax.analysis.checkerboard import overlap_count, stride_contrast, stride_energy
from segjax.errors import InputError
from segjax.ops.conv_transpose import conv_transpose
from segjax.ops.pooling import avg_pool, max_pool


def test_worked_counts():
    assert overlap_count(3, 2, 4).tolist() == [1, 1, 2, 1, 2, 1, 2, 1, 1]
    assert overlap_count(2, 2, 3).tolist() == [1] * 6
    assert overlap_count(4, 2, 4).tolist() == [1, 1, 2, 2, 2, 2, 2, 2, 1, 1]
    assert overlap_count(2, 3, 3).tolist() == [1, 1, 0, 1, 1, 0, 1, 1]
    assert overlap_count(64, 32, 9)[32:-32].tolist() == [2] * 256
    plane = np.outer(overlap_count(3, 2, 4), overlap_count(3, 2, 4))[2:-2, 2:-2]
    assert {*plane.flat} == {1, 2, 4}
    assert overlap_count(3, 2, 2).size == 5  # (I - 1) S + K
    with pytest.raises(InputError, match="stride 0"):
        overlap_count(3, 0, 4)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (2, 2), (4, 2), (5, 3), (2, 3)])
def test_counts_are_a_transposed_convolution_of_ones(kernel, stride):
    counts = overlap_count(kernel, stride, 5)
    ones = jnp.ones((1, 5, 5, 1)), jnp.ones((kernel, kernel, 1, 1))
    plane = conv_transpose(*ones, (stride, stride))[0, :, :, 0]
    np.testing.assert_array_equal(plane, np.outer(counts, counts))
    # and the gradient of the convolution with that kernel
    image = jnp.zeros((1, counts.size, counts.size, 1))
    forward = lambda x: lax.conv_general_dilated(
        x, ones[1], (stride, stride), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    gradient = jax.grad(lambda x: forward(x).sum())(image)
    np.testing.assert_array_equal(gradient[0, :, :, 0], np.outer(counts, counts))


@pytest.mark.parametrize("stride", [2, 3])
def test_energy_is_the_spectrum_at_the_stride(stride):
    image = np.random.default_rng(0).normal(size=(3, 12, 18, 2))
    power = np.abs(np.fft.fft2(image, axes=(1, 2))) ** 2
    power[:, 0, 0] = 0
    at_stride = power[:, :: 12 // stride, :: 18 // stride].sum()
    found = stride_energy(jnp.asarray(image, jnp.float32), stride)
    assert found == pytest.approx(at_stride / power.sum(), rel=1e-4)


def test_energy_of_known_images():
    ramp = jnp.arange(8.0)[None, :, None, None] * jnp.ones((1, 8, 8, 1))
    board = (jnp.indices((8, 8)).sum(0) % 2)[None, :, :, None].astype(jnp.float32)
    assert stride_energy(board, 2) == 1
    assert stride_energy(board, 3) < 0.01
    assert stride_energy(jnp.ones((1, 8, 8, 1)), 2) == 0
    # variance of 0..7 is 5.25; of the mean rows 3 and 4 of a ramp 0.25
    assert stride_energy(ramp, 2) == pytest.approx(0.25 / 5.25)
    # columns of a stripe pattern alone, and the rest of an odd image left out
    stripes = board.at[:].set(jnp.arange(8)[None, None, :, None] % 2)
    assert stride_energy(jnp.pad(stripes, ((0, 0), (0, 1), (0, 1), (0, 0))), 2) == 1
    with pytest.raises(InputError, match="no block of 4"):
        stride_energy(jnp.ones((1, 3, 8, 1)), 4)


def test_contrast_of_worked_counts():
    counts = overlap_count(3, 2, 9)[2:-1]
    plane = jnp.asarray(np.outer(counts, counts), jnp.float32)[None, :, :, None]
    # 4, 2, 2 and 1: their standard deviation over their mean, 9/4
    assert stride_contrast(plane, 2) == pytest.approx(np.sqrt(19 / 16) / (9 / 4))
    nails = jnp.zeros((1, 6, 6, 1)).at[:, ::2, ::2].set(1)
    assert stride_contrast(nails, 2) == pytest.approx(np.sqrt(3))
    assert stride_contrast(jnp.ones((2, 6, 4, 3)), 2) == 0


def test_energy_of_gradients():
    image = jnp.zeros((1, 8, 8, 1)).at[:, ::2, ::2].set(1)
    arriving = jnp.zeros((1, 4, 4, 1)).at[:, :2].set(2)
    share = lambda halve: stride_energy(jax.vjp(halve, image)[1](arriving)[0], 2)
    assert share(lambda x: avg_pool(x, (2, 2))) == 0
    # all of it on one pixel in four: mean m = 1, mean square s = 2, and 3 m^2 / (4 s - m^2)
    assert share(lambda x: max_pool(x, (2, 2))) == pytest.approx(3 / 7)


def test_gradients_of_the_experiment(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "experiments"))
    from checkerboard import halved

    assert halved("average-pool 2/2", 0) == pytest.approx([0, 0], abs=1e-5)
    for kernel, uneven in ((2, 0), (3, 0.484), (4, 0)):  # each position has weights of its own
        share, contrast = halved(f"convolution {kernel}/2", 0)
        assert 0.15 < share < 0.45
        assert contrast == pytest.approx(uneven, abs=0.1)
