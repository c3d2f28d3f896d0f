import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax.errors import InputError
from segjax.metrics.confusion import confusion, confusion_matrix, figures


def one_by_one(labels, predictions, num_classes, valid):
    matrix = np.zeros((num_classes, num_classes), int)
    for t, p, v in zip(labels.ravel(), predictions.ravel(), valid.ravel(), strict=True):
        if v and 0 <= t < num_classes and 0 <= p < num_classes:
            matrix[t, p] += 1
    return matrix


@hypothesis.given(
    labels=hnp.arrays(np.int32, (3, 5, 7), elements=st.sampled_from([-1, 0, 1, 2, 3, 255])),
    predictions=hnp.arrays(np.int32, (3, 5, 7), elements=st.sampled_from([-2, 0, 1, 2, 3])),
    valid=hnp.arrays(bool, (3, 5, 7)),
)
@hypothesis.settings(deadline=None, max_examples=50)
def test_counts_one_by_one(labels, predictions, valid):
    counted = jax.jit(confusion_matrix, static_argnums=2)(labels, predictions, 3, valid)
    assert counted.dtype == jnp.int32
    np.testing.assert_array_equal(counted, one_by_one(labels, predictions, 3, valid))


def test_byte_labels_do_not_wrap():
    labels = jnp.full((1, 1, 2), 40, jnp.uint8)  # 40 * 41 + 7 needs more than a byte
    matrix = confusion_matrix(labels, jnp.full((1, 1, 2), 7, jnp.uint8), 41)
    assert matrix[40, 7] == 2
    assert matrix.sum() == 2


def test_vmap_gives_a_matrix_per_image():
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 4, (2, 3, 4, 5))
    matrices = jax.vmap(lambda t, p: confusion_matrix(t, p, 4))(labels, predictions)
    for one, t, p in zip(matrices, labels, predictions, strict=True):
        np.testing.assert_array_equal(one, one_by_one(t, p, 4, np.full(t.shape, True)))


def test_worked_figures():
    # Class a: 6 pixels, 4 found; b: 3, all found; c: 1, taken for a; d: nowhere.
    matrix = np.array([[4, 2, 0, 0], [0, 3, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    got = figures(matrix, ["a", "b", "c", "d"])
    want = {
        "pixel_accuracy": 7 / 10,
        "mean_accuracy": (4 / 6 + 1 + 0) / 3,
        "iou/a": 4 / 7,
        "iou/b": 3 / 5,
        "iou/c": 0,
        "iou/d": np.nan,
        "dice/a": 8 / 11,
        "dice/b": 6 / 8,
        "dice/c": 0,
        "dice/d": np.nan,
        "miou": (4 / 7 + 3 / 5) / 3,
        "mean_dice": (8 / 11 + 6 / 8) / 3,
        "fw_iou": (6 * 4 / 7 + 3 * 3 / 5) / 10,
    }
    assert got.keys() == want.keys()
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-12, err_msg=name)


def test_class_predicted_but_never_true_counts_as_zero_iou_and_no_accuracy():
    got = figures(np.array([[3, 1], [0, 0]]))
    assert got["iou/1"] == 0
    assert got["miou"] == 0.375
    assert got["mean_accuracy"] == 0.75


def test_figures_of_nothing_are_nan():
    assert all(np.isnan(value) for value in figures(np.zeros((2, 2), int)).values())


def test_dice_and_iou_obey_their_identity():
    got = figures(np.random.default_rng(1).integers(1, 99, (5, 5)))
    for c in range(5):
        iou = got[f"iou/{c}"]
        np.testing.assert_allclose(got[f"dice/{c}"], 2 * iou / (1 + iou))


def test_wrong_number_of_names_is_refused():
    with pytest.raises(InputError, match="3 names for 2 classes"):
        figures(np.eye(2), ["a", "b", "c"])


def test_metric_pools_the_split_not_the_batches():
    rng = np.random.default_rng(2)
    metric = confusion(3, ["x", "y", "z"])
    batches, pooled = [], np.zeros((3, 3), int)
    for b in (3, 1):
        labels, predictions = rng.integers(0, 3, (2, b, 4, 5))
        valid = rng.random((b, 4, 5)) < 0.7
        stats = jax.jit(metric.stats)({"label": predictions}, {"label": labels}, valid)
        batches.append(np.asarray(stats))
        pooled += one_by_one(labels, predictions, 3, valid)
    assert metric.summarise(batches) == figures(pooled, ["x", "y", "z"])


def test_split_may_exceed_int32():
    metric = confusion(1)
    many = np.full((1, 1), 2**31 - 1, np.int32)
    assert metric.summarise([many] * 4)["pixel_accuracy"] == 1
