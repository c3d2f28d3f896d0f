"""The soft Jaccard index and TernausNet's losses, by hand, and what may not change them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from segjax.losses.jaccard import (
    binary_cross_entropy_log_jaccard,
    cross_entropy_log_jaccard,
    soft_jaccard,
)

# logits of p = 3/4, 1/4 and 1/2
Z = np.log(np.array([3.0, 1 / 3, 1.0], np.float32))


def test_worked_index():
    p = np.array([[0.75, 0.25], [0.5, 0.0]], np.float32)
    t = np.array([[1, 0], [1, 1]])
    # I = 0.75 + 0.5, S = 1.5 + 3: over the batch 1.25 / 3.25; per row 0.75 / 1.25 and 0.5 / 2.
    np.testing.assert_allclose(soft_jaccard(p, t), 1.25 / 3.25, rtol=1e-6)
    np.testing.assert_allclose(soft_jaccard(p, t, axis=1), [0.6, 0.25], rtol=1e-6)
    np.testing.assert_allclose(soft_jaccard(p, t, valid=p > 0.3), 1.25 / 2, rtol=1e-6)
    np.testing.assert_allclose(soft_jaccard(p, t, epsilon=1.0), 2.25 / 4.25, rtol=1e-6)


def test_worked_gradient_of_the_index():
    # J = I / U with dI/dp = t, dU/dp = 1 - t: dJ/dp = (t U - (1 - t) I) / U^2; I = 1, U = 2.5.
    p, t = jnp.array([0.75, 0.25, 0.25]), jnp.array([1, 1, 0])
    # S = 1.25 + 2, U = 2.25
    want = [1 / 2.25, 1 / 2.25, -1 / 2.25**2]
    np.testing.assert_allclose(jax.grad(soft_jaccard)(p, t), want, rtol=1e-6)


def test_worked_binary_loss():
    t = np.array([1, 0, 1])
    # -log p of the right answer: log 4/3, log 4/3, log 2; I = 1.25, S = 1.5 + 2.
    entropy, jaccard = (2 * np.log(4 / 3) + np.log(2)) / 3, 1.25 / 2.25
    for w in (0.3, 0.5):
        np.testing.assert_allclose(
            binary_cross_entropy_log_jaccard(Z, t, jaccard_weight=w),
            (1 - w) * entropy - w * np.log(jaccard),
            rtol=1e-6,
        )
    np.testing.assert_allclose(
        binary_cross_entropy_log_jaccard(Z, t), 0.7 * entropy - 0.3 * np.log(jaccard), rtol=1e-6
    )


def test_worked_loss_of_two_classes():
    # The second class has the probabilities above, the first their complements.
    t = np.array([1, 0, 1])
    entropy = (2 * np.log(4 / 3) + np.log(2)) / 3
    second = 1.25 / 2.25
    first = 0.75 / (1.5 + 1 - 0.75)
    np.testing.assert_allclose(
        cross_entropy_log_jaccard(np.stack([0 * Z, Z], -1), t, jaccard_weight=0.4),
        0.6 * entropy - 0.4 * (np.log(first) + np.log(second)),
        rtol=1e-6,
    )
    np.testing.assert_allclose(  # a weight counts in the entropy alone
        cross_entropy_log_jaccard(np.stack([0 * Z, Z], -1), t, weight=2 * np.ones(3)),
        1.4 * entropy - 0.3 * (np.log(first) + np.log(second)),
        rtol=1e-6,
    )


def test_a_class_without_a_pixel():
    # I = 0: log J = log(1e-15 / sum p), as the released code has it.
    logits = np.zeros((1, 2, 2, 4), np.float32)
    labels = np.array([[[0, 1], [2, 2]]])
    loss = functools.partial(cross_entropy_log_jaccard, labels=labels, jaccard_weight=1.0)
    seen = -2 * np.log(0.25 / 1.75) - np.log(0.5 / 2.5)
    np.testing.assert_allclose(loss(logits), seen + 15 * np.log(10), rtol=1e-6)
    assert np.isfinite(jax.grad(loss)(logits)).all()


def test_perfection_costs_nothing():
    labels = np.array([[0, 1, 2], [2, 2, 1]])
    logits = 100 * np.eye(3, dtype=np.float32)[labels]
    assert abs(cross_entropy_log_jaccard(logits, labels)) < 1e-6
    assert abs(binary_cross_entropy_log_jaccard(logits, logits > 0)) > 0.1  # 0 is p = 1/2
    assert abs(binary_cross_entropy_log_jaccard(2 * logits - 100, logits > 0)) < 1e-6


RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(3, 5, 7, 4)).astype(np.float32)
LABELS = RANDOM.integers(0, 4, (3, 5, 7))
VALID = RANDOM.random((3, 5, 7)) < 0.6


def binary(z, labels=LABELS, valid=VALID):
    return binary_cross_entropy_log_jaccard(z[..., 0], labels % 2, valid=valid)


def multi(z, labels=LABELS, valid=VALID):
    return cross_entropy_log_jaccard(z, labels, valid=valid)


@pytest.mark.parametrize("loss", [binary, multi])
def test_gradients(loss):
    check_grads(jax.jit(loss), (LOGITS,), 1, ["rev"], rtol=1e-2)


@pytest.mark.parametrize("loss", [binary, multi])
@pytest.mark.parametrize("junk", [np.nan, np.inf, -np.inf, 1e30])
def test_excluded_pixels_change_nothing_and_have_no_gradient(loss, junk):
    step = jax.jit(jax.value_and_grad(loss))
    value, grad = step(LOGITS)
    # the excluded pixels cut out by hand
    kept = loss(LOGITS[VALID], LABELS[VALID], None)
    np.testing.assert_allclose(value, kept, rtol=1e-6)
    dirty = np.where(VALID[..., None], LOGITS, junk).astype(np.float32)
    labels = np.where(VALID, LABELS, 255)
    same, same_grad = jax.jit(jax.value_and_grad(loss))(dirty, labels)
    np.testing.assert_array_equal(same, value)
    np.testing.assert_array_equal(same_grad, grad)
    assert not np.asarray(grad)[~VALID].any()


@pytest.mark.parametrize("loss", [binary, multi])
def test_without_a_valid_pixel_it_is_zero(loss):
    none = np.zeros_like(VALID)
    value, grad = jax.value_and_grad(loss)(np.full_like(LOGITS, np.nan), valid=none)
    assert value == 0
    assert not np.asarray(grad).any()


def test_half_precision_is_summed_in_single():
    p = jnp.full((1000,), 0.3, jnp.bfloat16)  # 0.30078125
    assert soft_jaccard(p, jnp.ones(1000, bool)) == 0.30078125


def test_shapes_must_agree():
    with pytest.raises(AssertionError):
        soft_jaccard(jnp.ones((2, 3)), jnp.ones((2, 3, 1)))
