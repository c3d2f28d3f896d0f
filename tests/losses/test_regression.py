"""L1 and L2 against torch; what is not valid changes nothing and has no gradient."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from segjax.losses.regression import l1, l2

GOLDEN = json.loads(pathlib.Path(__file__).with_name("regression_golden.json").read_text())
SHAPE = (3, 4, 5, 2)
PREDICTION, TARGET = (
    np.array(GOLDEN[name], np.float32).reshape(SHAPE) for name in ("prediction", "target")
)
HOLE = np.array(GOLDEN["hole"]).reshape(SHAPE[:-1])
CASES = {
    "l1": lambda x: l1(x, TARGET),
    "l2": lambda x: l2(x, TARGET),
    "l1 valid": lambda x: l1(x, TARGET, valid=~HOLE),
    "l2 valid": lambda x: l2(x, TARGET, valid=~HOLE),
    "holes": lambda x: l1(x, TARGET, weight=np.where(HOLE, 6.0, 1.0)),
}


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_are_torchs(name):
    value, grad = jax.jit(jax.value_and_grad(CASES[name]))(PREDICTION)
    want = GOLDEN["cases"][name]
    np.testing.assert_allclose(value, want["loss"], rtol=1e-5)
    np.testing.assert_allclose(grad.ravel(), want["grad"], rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("loss", [l1, l2])
def test_what_is_not_valid_changes_nothing_and_has_no_gradient(loss):
    valid = ~HOLE
    weight = np.random.default_rng(0).random(HOLE.shape).astype(np.float32)

    @jax.jit
    def run(x, y, w):
        return jax.value_and_grad(loss, (0, 1))(x, y, valid=valid, weight=w)

    value, grads = run(PREDICTION, TARGET, weight)
    dirty = [np.where(valid[..., None], x, np.nan) for x in (PREDICTION, TARGET)]
    dirty_value, dirty_grads = run(*dirty, np.where(valid, weight, np.inf))
    assert value == dirty_value
    for grad, other in zip(grads, dirty_grads, strict=True):
        np.testing.assert_array_equal(grad, other)
        assert not np.asarray(grad)[~valid].any()
    nothing = jax.value_and_grad(lambda x: loss(x, dirty[1], valid=np.zeros_like(valid)))
    value, grad = nothing(jnp.full(SHAPE, jnp.nan))
    assert value == 0
    assert not np.asarray(grad).any()


def test_worked_numbers_and_gradients():
    x, y = np.float32([[1, 2], [0, 4]]), np.float32([[0, 0], [0, 0]])
    weight, valid = np.float32([1, 3]), np.array([True, True])
    np.testing.assert_allclose(l1(x, y, weight=weight), (1.5 + 3 * 2) / 2)
    np.testing.assert_allclose(l2(x, y, weight=weight), (2.5 + 3 * 8) / 2)
    np.testing.assert_allclose(l1(x, y, valid=np.array([False, True])), 2)
    for loss in (l1, l2):
        check_grads(
            lambda x, y, w, loss=loss: loss(x, y, valid=valid, weight=w),
            (x + 0.5, y, weight),
            order=1,
            modes=("rev",),
            eps=1e-2,
            rtol=1e-2,
        )
        np.testing.assert_array_equal(jax.grad(loss)(y, y), 0)


def test_half_precision_is_summed_in_float32():
    x = jnp.full((1, 300, 300, 1), 0.1, jnp.bfloat16)
    value = l1(x, jnp.zeros_like(x))
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, float(x[0, 0, 0, 0]), rtol=1e-5)


def test_shapes_that_do_not_fit_are_refused():
    for bad in ({"valid": np.ones((3, 4), bool)}, {"weight": np.ones(SHAPE)}):
        with pytest.raises(AssertionError):
            l1(PREDICTION, TARGET, **bad)
    with pytest.raises(AssertionError):
        l2(PREDICTION, TARGET[..., :1])
