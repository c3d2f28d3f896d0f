"""The inverted residual unit and its parts, with numbers by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax.nn.mobile import InvertedResidual, SqueezeExcitation, make_divisible


@pytest.mark.parametrize(
    ("channels", "wanted"),
    # multiples of 8; 10.8 would lose more than a tenth at 8, 35 does not at 32
    [(1.0, 8), (8.0, 8), (10.8, 16), (12.0, 16), (35.0, 32), (36.0, 40), (44.8, 48), (240.0, 240)],
)
def test_make_divisible(channels, wanted):
    assert make_divisible(channels) == wanted


@pytest.mark.parametrize(
    ("features", "stride", "same"), [(6, 1, True), (6, 2, False), (4, 1, False)]
)
def test_the_input_is_added_where_shapes_agree(features, stride, same):
    unit = InvertedResidual(features, 12, stride=stride)
    x = jax.random.normal(jax.random.key(1), (3, 5, 4, 6))
    variables = jax.jit(functools.partial(unit.init, train=False))(jax.random.key(0), x)
    variables["params"]["project"]["kernel"] *= 0
    out = jax.jit(functools.partial(unit.apply, train=False))(variables, x)
    np.testing.assert_array_equal(out, x if same else jnp.zeros_like(out))


def test_stochastic_depth_leaves_the_unit_out_for_whole_examples():
    unit = InvertedResidual(3, 6, drop_rate=0.75)
    x = jax.random.normal(jax.random.key(1), (40, 2, 3, 3))
    variables = jax.jit(functools.partial(unit.init, train=False))(jax.random.key(0), x)

    @functools.partial(jax.jit, static_argnums=0)
    def run(unit):
        rngs = {"dropout": jax.random.key(2)}
        return unit.apply(variables, x, train=True, mutable="batch_stats", rngs=rngs)[0]

    out, kept = run(unit), run(unit.clone(drop_rate=0.0))
    # either the input alone, or the unit's residual over the probability of keeping it
    dropped = np.array([np.array_equal(a, b) for a, b in zip(out, x, strict=True)])
    assert 20 <= dropped.sum() <= 38  # 30 expected
    np.testing.assert_allclose((out - x)[~dropped], 4 * (kept - x)[~dropped], rtol=1e-4, atol=1e-5)


def test_squeeze_and_excitation_is_a_gate_for_each_channel():
    # Hu et al. 2017, equations 2 to 4, with numbers.
    x = jnp.array([[[[1.0, -2.0], [3.0, 4.0]]]])  # means 2 and 1
    params = {
        "fc1": {"kernel": jnp.array([[[[1.0], [-3.0]]]]), "bias": jnp.array([4.0])},  # 3
        "fc2": {"kernel": jnp.array([[[[0.5, -1.0]]]]), "bias": jnp.array([0.0, 1.0])},
    }
    out = SqueezeExcitation(1).apply({"params": params}, x)
    gates = 1 / (1 + np.exp([-1.5, 2.0]))
    np.testing.assert_allclose(out, x * gates, rtol=1e-6)
