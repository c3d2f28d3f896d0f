import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from segjax.losses.cross_entropy import binary_cross_entropy, class_weights, cross_entropy

GOLDEN = json.loads(pathlib.Path(__file__).with_name("cross_entropy_golden.json").read_text())
B, H, W, C = 3, 5, 7, 4


def golden(name, *shape):
    values = np.array(GOLDEN[name])
    return values.astype(np.int32 if name in ("labels", "ignored") else np.float32).reshape(shape)


LOGITS = golden("logits", B, H, W, C)
LABELS = golden("labels", B, H, W)
IGNORED = golden("ignored", B, H, W)


def torch_class_mean(z):
    weight = class_weights(LABELS, golden("per_class", C))
    return cross_entropy(z, LABELS, weight=weight / weight.mean())


CASES = {
    "plain": lambda z: cross_entropy(z, LABELS),
    "ignored": lambda z: cross_entropy(z, IGNORED, valid=IGNORED != 255),
    "smooth": lambda z: cross_entropy(z, IGNORED, valid=IGNORED != 255, label_smoothing=0.2),
    "class weights": torch_class_mean,
    "pixel weights": lambda z: cross_entropy(z, LABELS, weight=golden("weight", B, H, W)),
    "binary": lambda z: binary_cross_entropy(z, golden("target", B, H, W, C)),
}


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_are_torchs(name):
    value, grad = jax.jit(jax.value_and_grad(CASES[name]))(LOGITS)
    want = GOLDEN["cases"][name]
    np.testing.assert_allclose(value, want["loss"], rtol=1e-5)
    np.testing.assert_allclose(grad.ravel(), want["grad"], rtol=1e-4, atol=1e-7)


def test_worked_numbers():
    # p = 3/4 and 1/4 of the true class; weights 1 and 3 are summed over 2 pixels, not over 4.
    logits = np.log(np.array([[3.0, 1.0], [3.0, 1.0]], np.float32))
    labels = np.array([0, 1], np.int32)
    np.testing.assert_allclose(
        cross_entropy(logits, labels, weight=np.array([1.0, 3.0], np.float32)),
        (np.log(4 / 3) + 3 * np.log(4)) / 2,
        rtol=1e-6,
    )
    z = np.log(np.array([3.0, 3.0], np.float32))
    np.testing.assert_allclose(
        binary_cross_entropy(z, labels), (np.log(4) + np.log(4 / 3)) / 2, rtol=1e-6
    )


def softmax(z, valid, weight):
    return cross_entropy(z, IGNORED, valid=valid, weight=weight, label_smoothing=0.1)


def sigmoid(z, valid, weight):
    return binary_cross_entropy(z[..., 0], IGNORED % 2, valid=valid, weight=weight)


@pytest.mark.parametrize("loss", [softmax, sigmoid])
@pytest.mark.parametrize("junk", [np.nan, np.inf, -np.inf, 1e30])
def test_excluded_pixels_change_nothing_and_have_no_gradient(loss, junk):
    valid = IGNORED != 255
    weight = golden("weight", B, H, W)
    step = jax.jit(jax.value_and_grad(loss, argnums=(0, 2)))
    value, (grad, of_weight) = step(LOGITS, valid, weight)
    assert value > 0
    dirty = np.where(valid[..., None], LOGITS, junk).astype(np.float32)
    dirty_weight = np.where(valid, weight, junk).astype(np.float32)
    again, (dirty_grad, of_dirty) = step(dirty, valid, dirty_weight)
    np.testing.assert_array_equal(value, again)
    np.testing.assert_array_equal(grad, dirty_grad)
    np.testing.assert_array_equal(of_weight, of_dirty)
    assert (np.asarray(dirty_grad)[~valid] == 0).all()
    assert (np.asarray(of_dirty)[~valid] == 0).all()


@pytest.mark.parametrize("loss", [softmax, sigmoid])
def test_no_valid_pixel_is_exactly_nothing(loss):
    nothing = np.zeros((B, H, W), bool)
    dirty = np.full_like(LOGITS, np.nan)
    value, grad = jax.jit(jax.value_and_grad(loss))(dirty, nothing, np.ones((B, H, W), np.float32))
    assert value == 0
    assert (np.asarray(grad) == 0).all()


def test_mean_is_over_the_valid_pixels_alone():
    valid = IGNORED != 255
    loss = jax.jit(cross_entropy)
    picked = loss(LOGITS[valid], LABELS[valid])
    np.testing.assert_allclose(loss(LOGITS, LABELS, valid=valid), picked, rtol=1e-6)


@pytest.mark.parametrize("label", [-1, C, 255])
def test_valid_label_that_is_no_class_is_loud(label):
    labels = LABELS.copy()
    labels[1, 2, 3] = label
    loss = jax.jit(cross_entropy)
    assert np.isnan(loss(LOGITS, labels))
    valid = np.full(labels.shape, True)
    valid[1, 2, 3] = False
    assert np.isfinite(loss(LOGITS, labels, valid=valid))


def test_half_precision_logits_are_summed_in_float32():
    logits = jnp.asarray(LOGITS, jnp.bfloat16)
    value = cross_entropy(logits, LABELS)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, cross_entropy(logits.astype(jnp.float32), LABELS))


def test_binary_is_finite_for_every_logit():
    z = np.array([-1e4, -100, 0, 100, 1e4], np.float32)
    value, grad = jax.value_and_grad(
        lambda z: binary_cross_entropy(z, np.float32([0, 1, 0, 0, 1]))
    )(z)
    np.testing.assert_allclose(value, (100 + np.log(2) + 100) / 5, rtol=1e-6)
    np.testing.assert_allclose(grad * 5, [0, -1, 0.5, 1, 0], atol=1e-6)


def test_gradients_against_finite_differences():
    z = LOGITS[0, :2, :2] / 3
    label, valid = LABELS[0, :2, :2], np.array([[True, False], [True, True]])
    weight = golden("weight", B, H, W)[0, :2, :2]
    for loss in (
        lambda z, w: cross_entropy(z, label, valid=valid, weight=w, label_smoothing=0.1),
        lambda z, w: binary_cross_entropy(z[..., 1], label % 2, valid=valid, weight=w),
    ):
        check_grads(jax.jit(loss), (z, weight), order=1, modes=("rev",), eps=1e-2, rtol=2e-2)


def test_vmap_gives_a_loss_per_image():
    valid = IGNORED != 255
    one = jax.jit(lambda z, t, v: cross_entropy(z, t, valid=v))
    each = jax.jit(jax.vmap(one))(LOGITS, LABELS, valid)
    for b in range(B):
        want = one(LOGITS[b], LABELS[b], valid[b])
        np.testing.assert_allclose(each[b], want, rtol=1e-6)


def test_class_weights_map_classes_to_pixels():
    got = class_weights(np.array([[2, 0, -1], [1, 255, 2]], np.int32), np.float32([5, 6, 7]))
    np.testing.assert_array_equal(got, [[7, 5, 0], [6, 0, 7]])


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(AssertionError):
        cross_entropy(LOGITS, LABELS[:1])
    with pytest.raises(AssertionError):
        cross_entropy(LOGITS, LABELS, weight=np.ones((B, 1, W), np.float32))
    with pytest.raises(AssertionError):
        binary_cross_entropy(LOGITS, LABELS)
