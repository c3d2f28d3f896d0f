"""Batch normalisation: Flax's output and gradient, torch's running statistics."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax.errors import InputError
from segjax.nn.aspp import ASPP
from segjax.nn.layers import BatchNorm

X = np.random.default_rng(0).normal(3, 2, (2, 3, 5, 4)).astype(np.float32)


def variables():
    made = BatchNorm().init(jax.random.key(0), X, train=False)
    return jax.tree.map(lambda x: x + jnp.arange(4.0) / 3, made)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
def test_output_and_gradient_are_those_of_flax(train, dtype):
    ours = BatchNorm(dtype=dtype)
    theirs = nn.BatchNorm(not train, momentum=0.9, epsilon=1e-5, dtype=dtype)
    weights = np.random.default_rng(1).normal(size=X.shape).astype(np.float32)

    def value(apply, x, variables):
        out, _ = apply(variables, x)
        assert out.dtype == (dtype or jnp.float32)
        return jnp.sum(out * weights)

    def apply_ours(v, x):
        return ours.apply(v, x, train=train, mutable=["batch_stats"])

    def apply_theirs(v, x):
        return theirs.apply(v, x, mutable=["batch_stats"])

    found, wanted = (
        jax.value_and_grad(lambda x, v, apply=apply: value(apply, x, v), argnums=(0, 1))(
            X.astype(dtype or jnp.float32), variables()
        )
        for apply in (apply_ours, apply_theirs)
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            np.float32(a), np.float32(b), rtol=1e-4, atol=1e-5 if dtype is None else 0.05
        ),
        found,
        wanted,
    )


@pytest.mark.parametrize("shape", [(2, 1, 1, 4), (2, 3, 5, 4), (1, 2, 3, 5, 4)])
def test_running_statistics_are_torchs(shape):
    # torch.nn.BatchNorm2d: running <- 0.9 running + 0.1 batch, of the unbiased variance
    x = np.random.default_rng(2).normal(3, 2, shape).astype(np.float32)
    _, new = BatchNorm().apply(variables(), x, train=True, mutable=["batch_stats"])
    axes = tuple(range(x.ndim - 1))
    start = np.arange(4) / 3
    np.testing.assert_allclose(
        new["batch_stats"]["mean"], 0.9 * start + 0.1 * x.mean(axes), rtol=1e-5
    )
    np.testing.assert_allclose(
        new["batch_stats"]["var"], 0.9 * (1 + start) + 0.1 * x.var(axes, ddof=1), rtol=1e-5
    )


def test_making_variables_in_training_mode_moves_no_statistics():
    made = BatchNorm().init(jax.random.key(0), X, train=True)["batch_stats"]
    np.testing.assert_array_equal(made["mean"], np.zeros(4))
    np.testing.assert_array_equal(made["var"], np.ones(4))


def test_one_value_a_channel_is_refused_when_traced():
    model = ASPP(features=8, rates=(1, 2))
    image = jax.ShapeDtypeStruct((1, 8, 8, 4), jnp.float32)
    made = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), image)

    def train(variables, x):
        rngs = {"dropout": jax.random.key(0)}
        return model.apply(variables, x, train=True, mutable=["batch_stats"], rngs=rngs)

    with pytest.raises(InputError, match=r"BatchNorm pool/norm sees one value .*\(1, 1, 1, 8\)"):
        jax.eval_shape(train, made, image)
    two = jax.ShapeDtypeStruct((2, 8, 8, 4), jnp.float32)
    jax.eval_shape(train, made, two)
    jax.eval_shape(lambda v, x: model.apply(v, x, train=False), made, image)
