"""Pooling, switches and unpooling against worked numbers and torch (golden file)."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from segjax.errors import InputError
from segjax.ops.pooling import Switches, avg_pool, max_pool, max_pool_with_switches, max_unpool

GOLDEN = np.load(Path(__file__).parents[1] / "golden/resize_pool_torch.npz")
# As in golden/resize_pool_torch.py: window, stride, padding, ceil_mode. The inputs have ties.
CASES = {
    "2_2": ((2, 2), (2, 2), (0, 0), False),
    "2_2_ceil": ((2, 2), (2, 2), (0, 0), True),
    "3_2_p1": ((3, 3), (2, 2), (1, 1), False),
    "3_2_ceil": ((3, 3), (2, 2), (0, 0), True),
    "3_2_p1_ceil": ((3, 3), (2, 2), (1, 1), True),
    "3_1_p1": ((3, 3), (1, 1), (1, 1), False),
    "2x3_1x2_p01": ((2, 3), (1, 2), (0, 1), False),
    "2_3": ((2, 2), (3, 3), (0, 0), False),
    "7_2_p3": ((7, 7), (2, 2), (3, 3), False),
    "2_2_p1_ceil": ((2, 2), (2, 2), (1, 1), True),
    "2_4_ceil": ((2, 2), (4, 4), (0, 0), True),
}
EXAMPLE = jnp.array([[1, 2, 6, 3], [3, 5, 2, 1], [1, 2, 2, 1], [7, 3, 4, 8.0]])[None, :, :, None]


def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def flat_positions(switches):
    """What torch calls indices: row-major positions in the (H, W) plane before the pool."""
    row, column = np.divmod(np.asarray(switches.index, int), switches.window[1])
    row += np.arange(row.shape[1])[:, None, None] * switches.window[0]
    column += np.arange(column.shape[2])[:, None] * switches.window[1]
    return row * switches.size[1] + column


def test_worked_example():
    y, switches = max_pool_with_switches(EXAMPLE)
    assert y[0, :, :, 0].tolist() == [[5, 6], [7, 8]]
    assert switches.index.dtype == jnp.uint8
    unpooled = max_unpool(jnp.array([[1.0, 2], [3, 4]])[None, :, :, None], switches)
    expected = [[0, 0, 2, 0], [0, 1, 0, 0], [0, 0, 0, 0], [3, 0, 0, 4]]
    assert unpooled[0, :, :, 0].tolist() == expected


@pytest.mark.parametrize("name", CASES)
def test_max_pool_equals_torch_forward_and_backward(name):
    window, stride, padding, ceil = CASES[name]
    x, y, g, dx = (GOLDEN[f"max/{name}/{key}"] for key in ("x", "y", "g", "dx"))
    pads = tuple((p, p) for p in padding)
    pool = jax.jit(lambda x: max_pool(x, window, stride, pads, ceil))
    pooled, pullback = jax.vjp(pool, x)
    np.testing.assert_array_equal(pooled, y)
    np.testing.assert_allclose(pullback(g)[0], dx, atol=1e-5)


@pytest.mark.parametrize("count_include_pad", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_avg_pool_equals_torch_forward_and_backward(name, count_include_pad):
    window, stride, padding, ceil = CASES[name]
    x, y, g, dx = (GOLDEN[f"avg/{name}/{count_include_pad}/{k}"] for k in ("x", "y", "g", "dx"))
    pads = tuple((p, p) for p in padding)
    pool = jax.jit(lambda x: avg_pool(x, window, stride, pads, ceil, count_include_pad))
    pooled, pullback = jax.vjp(pool, x)
    np.testing.assert_allclose(pooled, y, atol=1e-5)
    np.testing.assert_allclose(pullback(g)[0], dx, atol=1e-5)


@pytest.mark.parametrize(("label", "ceil"), [("even", False), ("odd", False), ("ceil", True)])
def test_switches_and_unpooling_equal_torch(label, ceil):
    x, index = GOLDEN[f"unpool/{label}/pooled"], GOLDEN[f"unpool/{label}/index"]
    pooled, switches = max_pool_with_switches(x, ceil_mode=ceil)
    np.testing.assert_array_equal(flat_positions(switches), index)
    np.testing.assert_array_equal(pooled, max_pool(x, (2, 2), ceil_mode=ceil))
    y, out, g, dy = (GOLDEN[f"unpool/{label}/{key}"] for key in ("x", "y", "g", "dx"))
    unpooled, pullback = jax.vjp(jax.jit(lambda y: max_unpool(y, switches)), y)
    np.testing.assert_array_equal(unpooled, out)
    np.testing.assert_array_equal(pullback(g)[0], dy)


def test_first_of_equal_maxima_wins():
    x = jnp.ones((1, 4, 6, 2))
    _, switches = max_pool_with_switches(x)
    assert not switches.index.any()
    expected = {
        (2, 2): [[1, 0, 1, 0, 1, 0], [0] * 6, [1, 0, 1, 0, 1, 0], [0] * 6],  # the fast formulation
        (4, 3): [[1, 0, 0, 1, 0, 0], [0] * 6, [0] * 6, [0] * 6],
        (4, 7): [[1, 0, 0, 0, 0, 0], [0] * 6, [0] * 6, [0] * 6],  # lax.reduce_window
    }
    for window, rows in expected.items():
        pads = ((0, 0), (0, 1 if window == (4, 7) else 0))
        dx = jax.jit(jax.grad(lambda x: max_pool(x, window, padding=pads).sum()))(x)  # noqa: B023
        assert dx[0, :, :, 0].tolist() == rows


@settings(deadline=None, max_examples=6)
@given(height=st.integers(3, 8), width=st.integers(3, 8), ceil=st.booleans(), kw=st.integers(1, 3))
def test_unpooling_restores_the_maxima_in_place(height, width, ceil, kw):
    x = 1 + np.abs(normal(1, height, width, 1))
    pool = jax.jit(lambda x: max_pool_with_switches(x, (2, kw), ceil))
    y, switches = pool(x)
    restored = np.asarray(jax.jit(max_unpool)(y, switches))
    assert restored.shape == x.shape
    np.testing.assert_array_equal(restored[restored != 0], x[restored != 0])
    assert (restored != 0).sum() == y.size
    np.testing.assert_array_equal(pool(restored)[0], y)


@pytest.mark.parametrize("window", [(2, 2), (6, 6)])  # both formulations
def test_nan_propagates(window):
    x = normal(1, 6, 6, 1)
    for i in range(2):
        for j in range(2):
            bad = x.copy()
            bad[0, i, j] = np.nan
            pooled = np.asarray(max_pool(bad, window))
            assert np.isnan(pooled[0, 0, 0, 0])
            assert np.isnan(pooled).sum() == 1


def test_unpooling_drops_what_it_does_not_place():
    _, switches = max_pool_with_switches(EXAMPLE)
    gradient = np.full((1, 4, 4, 1), np.nan, np.float32)
    gradient[0, [0, 1, 3, 3], [2, 1, 0, 3]] = 1
    y, pullback = jax.vjp(lambda y: max_unpool(y, switches), jnp.ones((1, 2, 2, 1)))
    assert y.sum() == 4
    assert pullback(gradient)[0].sum() == 4


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: max_pool(x, (2, 2)),
        lambda x: max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1))),
        lambda x: max_pool(x, (6, 5), (1, 2)),
        lambda x: avg_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)), True),
        lambda x: max_unpool(*max_pool_with_switches(x, ceil_mode=True)),
    ],
)
def test_jit_vmap_and_gradients(pool):
    x = np.random.default_rng(0).permutation(3 * 7 * 5 * 2).reshape(3, 7, 5, 2).astype(np.float32)
    y = pool(x)
    np.testing.assert_allclose(jax.jit(pool)(x), y, atol=1e-5)
    np.testing.assert_allclose(jax.jit(jax.vmap(pool))(x[:, None])[:, 0], y, atol=1e-5)
    check_grads(jax.jit(pool), (x,), order=1, modes=["rev"], atol=1e-2, rtol=1e-2, eps=0.25)


def test_switches_pass_through_jit():
    y, switches = jax.jit(max_pool_with_switches)(EXAMPLE)
    assert isinstance(switches, Switches)
    assert (switches.window, switches.size) == ((2, 2), (4, 4))
    np.testing.assert_array_equal(jax.jit(max_unpool)(y, switches)[0, 3, 3], [8])


def test_integers_and_half_precision():
    assert max_pool(EXAMPLE.astype(jnp.uint8), (2, 2)).dtype == jnp.uint8
    assert max_pool(EXAMPLE.astype(jnp.int32), (6, 6), padding=((1, 1), (1, 1))).item() == 8
    assert avg_pool(EXAMPLE.astype(jnp.bfloat16), (2, 2)).dtype == jnp.bfloat16


def test_bad_input_is_named():
    with pytest.raises(InputError, match=r"side of 4 with window 5"):
        max_pool(EXAMPLE, (2, 5))
    with pytest.raises(InputError, match="larger than the padding"):
        avg_pool(EXAMPLE, (2, 2), padding=((2, 0), (0, 0)))
    with pytest.raises(AssertionError):
        max_pool(EXAMPLE[0], (2, 2))
    with pytest.raises(AssertionError):
        max_unpool(jnp.ones((1, 2, 3, 1)), max_pool_with_switches(EXAMPLE)[1])
