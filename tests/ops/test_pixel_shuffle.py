"""Pixel shuffle against its definition and torch (golden file)."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from segjax.errors import InputError
from segjax.ops.pixel_shuffle import depth_to_space, space_to_depth

GOLDEN = np.load(Path(__file__).parents[1] / "golden/resize_pool_torch.npz")


def test_channel_c_dy_dx_goes_to_channel_c_at_dy_dx():
    r = 2
    y = depth_to_space(jnp.arange(3.0 * r * r).reshape(1, 1, 1, -1), r)
    assert y.shape == (1, r, r, 3)
    for c in range(3):
        for dy in range(r):
            for dx in range(r):
                assert y[0, dy, dx, c] == c * r * r + dy * r + dx


@pytest.mark.parametrize(
    ("name", "op"), [("shuffle", depth_to_space), ("unshuffle", space_to_depth)]
)
def test_equals_torch_forward_and_backward(name, op):
    x, y, g, dx = (GOLDEN[f"{name}/{key}"] for key in ("x", "y", "g", "dx"))
    out, pullback = jax.vjp(jax.jit(lambda x: op(x, 3)), x)
    np.testing.assert_array_equal(out, y)
    np.testing.assert_array_equal(pullback(g)[0], dx)


def test_inverse_vmap_and_gradients():
    x = np.random.default_rng(0).standard_normal((3, 2, 4, 8), np.float32)
    y = depth_to_space(x, 2)
    np.testing.assert_array_equal(space_to_depth(y, 2), x)
    np.testing.assert_array_equal(jax.vmap(lambda x: depth_to_space(x, 2))(x[:, None])[:, 0], y)
    check_grads(lambda x: depth_to_space(x, 2), (x,), order=1, atol=1e-2, rtol=1e-2)


def test_bad_input_is_named():
    with pytest.raises(InputError, match="multiple of 4"):
        depth_to_space(jnp.zeros((1, 2, 2, 6)), 2)
    with pytest.raises(InputError, match="5x4"):
        space_to_depth(jnp.zeros((1, 5, 4, 1)), 2)
    with pytest.raises(AssertionError):
        depth_to_space(jnp.zeros((2, 2, 4)), 2)
