"""Local response normalisation against torch's and by hand."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax.ops.local_response import local_response_norm

GOLDEN = np.load(Path(__file__).parent.parent / "golden" / "local_response.npz")


@pytest.mark.parametrize("i", range(3))
def test_torchs_values_and_gradients(i):
    size, alpha, beta, k = GOLDEN[f"options{i}"].tolist()

    @jax.jit
    def value_and_gradient(x, cotangent):
        y, vjp = jax.vjp(lambda x: local_response_norm(x, int(size), alpha, beta, k), x)
        return y, vjp(cotangent)[0]

    y, dx = value_and_gradient(GOLDEN[f"x{i}"], GOLDEN[f"cotangent{i}"])
    np.testing.assert_allclose(y, GOLDEN[f"y{i}"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(dx, GOLDEN[f"dx{i}"], rtol=1e-5, atol=1e-5)


def test_by_hand():
    # Window 3 over 1, 2, 3: sums of squares 5, 14, 13; alpha 3 makes the mean of three a sum.
    x = jnp.array([[[[1.0, 2.0, 3.0]]]])
    y = local_response_norm(x, size=3, alpha=3.0, beta=1.0)
    np.testing.assert_allclose(y, [[[[1 / 6, 2 / 15, 3 / 14]]]], rtol=1e-6)


def test_half_precision_squares_do_not_overflow():
    x = jnp.full((1, 1, 1, 5), 1000.0, jnp.float16)  # squares are beyond float16
    y = local_response_norm(x)
    assert y.dtype == jnp.float16
    np.testing.assert_allclose(y[0, 0, 0, 2], 1000 / 101**0.75, rtol=1e-3)
