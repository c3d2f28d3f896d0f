"""Resizes against worked numbers, torch (golden file), np.interp and jax.image."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from segjax.errors import InputError
from segjax.ops.resize import bed_of_nails, bilinear, bilinear_by_factor, nearest

FOLDER = Path(__file__).parents[1] / "golden"
GOLDEN = np.load(FOLDER / "resize_pool_torch.npz")
SQUARE = jnp.array([[1.0, 2.0], [3.0, 4.0]])[None, :, :, None]
COORDINATES = {
    "half-pixel": lambda i, n, out: (i + 0.5) * n / out - 0.5,
    "corner-aligned": lambda i, n, out: i * (n - 1) / max(out - 1, 1),
    "legacy": lambda i, n, out: i * n / out,
}


def torch_mode(name):
    if name.startswith("nearest"):
        convention = "half-pixel" if name == "nearest-exact" else "floor"
        return lambda x, size: nearest(x, size, convention)
    return lambda x, size: bilinear(x, size, name)


@functools.partial(jax.jit, static_argnums=(0, 2))
def value_and_pullback(mode, x, size, g):
    y, pullback = jax.vjp(lambda x: torch_mode(mode)(x, size), x)
    return y, pullback(g)[0]


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def test_nearest_worked_example():
    rows = [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    np.testing.assert_array_equal(nearest(SQUARE, (4, 4))[0, :, :, 0], rows)


def test_bed_of_nails_worked_example():
    rows = [[1, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(bed_of_nails(SQUARE, 2)[0, :, :, 0], rows)


@pytest.mark.parametrize(
    ("convention", "row", "column"),
    [
        ("half-pixel", [1, 1.25, 1.75, 2], [1, 1.5, 2.5, 3]),
        ("corner-aligned", [1, 4 / 3, 5 / 3, 2], [1, 5 / 3, 7 / 3, 3]),
        ("legacy", [1, 1.5, 2, 2], [1, 2, 3, 3]),
    ],
)
def test_bilinear_worked_example(convention, row, column):
    y = bilinear(SQUARE, (4, 4), convention)[0, :, :, 0]
    np.testing.assert_allclose(y[0], row, rtol=1e-6)
    np.testing.assert_allclose(y[:, 0], column, rtol=1e-6)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "half-pixel", "corner-aligned"])
def test_equals_torch_forward_and_backward(mode):
    for label in ("up", "x3", "odd", "down", "mixed", "one"):
        x, y, g, dx = (GOLDEN[f"{mode}/{label}/{key}"] for key in ("x", "y", "g", "dx"))
        resized, gradient = value_and_pullback(mode, x, y.shape[1:3], g)
        np.testing.assert_allclose(resized, y, atol=1e-5, err_msg=label)
        np.testing.assert_allclose(gradient, dx, atol=1e-5, err_msg=label)


def test_half_pixel_equals_jax_image():
    x = normal(2, 5, 3, 2)
    expected = jax.image.resize(x, (2, 7, 9, 2), "linear", antialias=False)
    np.testing.assert_allclose(bilinear(x, (7, 9)), expected, atol=1e-5)


SIDE = st.integers(1, 9)


@settings(deadline=None, max_examples=10)
@given(n=SIDE, out=SIDE, convention=st.sampled_from(sorted(COORDINATES)))
def test_bilinear_equals_linear_interpolation_on_either_axis(n, out, convention):
    values = normal(n, seed=n)
    expected = np.interp(COORDINATES[convention](np.arange(out), n, out), np.arange(n), values)
    down = bilinear(values[None, :, None, None], (out, 1), convention)[0, :, 0, 0]
    across = bilinear(values[None, None, :, None], (1, out), convention)[0, 0, :, 0]
    np.testing.assert_allclose(down, expected, atol=1e-5)
    np.testing.assert_allclose(across, expected, atol=1e-5)


@settings(deadline=None, max_examples=8)
@given(n=SIDE, out=SIDE, mode=st.sampled_from(["nearest", "nearest-exact", *COORDINATES]))
def test_gradient_is_the_adjoint(n, out, mode):
    x, g = normal(1, n, 2, 1), normal(1, out, 3, 1, seed=1)
    y, gradient = value_and_pullback(mode, x, (out, 3), g)
    np.testing.assert_allclose(np.vdot(y, g), np.vdot(x, gradient), atol=1e-4)


@pytest.mark.parametrize(
    "resize",
    [
        lambda x: nearest(x, (5, 2)),
        lambda x: bilinear(x, (5, 2)),
        lambda x: bilinear(x, (2, 7), "corner-aligned"),
        lambda x: bed_of_nails(x, 2, (7, 8)),
    ],
)
def test_jit_vmap_and_gradients(resize):
    x = normal(3, 3, 4, 2)
    y = resize(x)
    np.testing.assert_allclose(jax.jit(resize)(x), y, atol=1e-6)
    np.testing.assert_allclose(jax.jit(jax.vmap(resize))(x[:, None])[:, 0], y, atol=1e-6)
    check_grads(jax.jit(resize), (x,), order=2, modes=["rev"], atol=1e-2, rtol=1e-2)


def test_nearest_keeps_labels():
    labels = jnp.array([[0, 255], [7, 1]], jnp.uint8)[None, :, :, None]
    resized = nearest(labels, (3, 4))
    assert resized.dtype == jnp.uint8
    assert resized[0, :, :, 0].tolist() == [[0, 0, 255, 255], [0, 0, 255, 255], [7, 7, 1, 1]]


def test_half_precision_is_interpolated_in_float32():
    x = normal(1, 3, 4, 2).astype(jnp.bfloat16)
    y = bilinear(x, (7, 5))
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y, bilinear(x.astype(jnp.float32), (7, 5)).astype(jnp.bfloat16))


def test_bed_of_nails_fills_a_larger_size_with_zeros():
    y = bed_of_nails(SQUARE, 2, (5, 3))[0, :, :, 0]
    assert y.tolist() == [[1, 0, 2], [0, 0, 0], [3, 0, 4], [0, 0, 0], [0, 0, 0]]


def test_bad_input_is_named():
    with pytest.raises(InputError, match="larger size"):
        bed_of_nails(SQUARE, 2, (2, 4))
    with pytest.raises(InputError, match="'half-pixel'"):
        bilinear(SQUARE, (4, 4), "aligned")
    with pytest.raises(AssertionError):
        nearest(SQUARE[0], (4, 4))
    with pytest.raises(AssertionError):
        bilinear(SQUARE.astype(jnp.int32), (4, 4))


@pytest.mark.parametrize("factor", [0.75, 0.5, 1.25, 1.75, 0.3, 1.05])
def test_by_factor_as_torch_where_no_side_stays_whole(factor):
    x, y, g, dx = (
        np.load(FOLDER / "resize_by_factor.npz")[f"{factor}/{k}"] for k in ["x", "y", "g", "dx"]
    )
    got, pullback = jax.vjp(lambda x: bilinear_by_factor(x, factor), x)
    np.testing.assert_allclose(got, y, atol=1e-5)
    np.testing.assert_allclose(pullback(g)[0], dx, atol=1e-5)
    apart = np.abs(bilinear(x, y.shape[1:3]) - y).max()
    assert (apart > 0.01) == (y.shape != x.shape)


def test_by_factor_where_the_sides_stay_whole_is_by_size():
    x = jnp.asarray(normal(1, 8, 12, 2))
    np.testing.assert_array_equal(bilinear_by_factor(x, 0.75), bilinear(x, (6, 9)))
    np.testing.assert_array_equal(bilinear_by_factor(x, 1), x)
    with pytest.raises(InputError, match="8x12 pixels cannot be resized by 0.1"):
        bilinear_by_factor(x, 0.1)
