"""The activations of `segjax.ops.activation`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax.ops.activation import relu

VALUES = [-jnp.inf, -1.5, -0.0, 0.0, 1e-30, 2.5, jnp.inf, jnp.nan]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_relu_is_jax_nn_relu_in_value_and_gradient(dtype):
    x = jnp.asarray(VALUES, dtype)
    assert relu(x).dtype == dtype
    np.testing.assert_array_equal(*(np.asarray(f(x), np.float32) for f in (relu, jax.nn.relu)))
    ours, theirs = (jax.grad(lambda x, f=f: jnp.sum(3 * f(x)))(x) for f in (relu, jax.nn.relu))
    np.testing.assert_array_equal(*(np.asarray(g[:-1], np.float32) for g in (ours, theirs)))


def test_sums_of_a_residual_network_are_not_computed_again():
    """Each block's program reads the block before it, not all of them."""

    def network(x):
        for _ in range(6):
            x = relu(x + jnp.dot(x, jnp.eye(64)))
        return x

    def reads(f):  # operands of the largest program that XLA fuses
        text = jax.jit(f).lower(jnp.ones((128, 64))).compile().as_text()
        fusions = [line for line in text.splitlines() if " fusion(" in line]
        return max(line.split(" fusion(")[1].split(")")[0].count("%") for line in fusions)

    assert reads(network) <= 3
