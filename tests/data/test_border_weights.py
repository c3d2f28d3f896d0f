import numpy as np
import pytest
from scipy import ndimage

from segjax.data import border_weights as module
from segjax.data.border_weights import (
    border_weights,
    border_weights_of,
    separate_touching,
    two_nearest_distances,
)
from segjax.errors import InputError


def one_transform_an_instance(instances):
    """The distances to every instance over the whole image, sorted: the two smallest."""
    far = np.full(instances.shape, np.inf)
    each = [ndimage.distance_transform_edt(instances != k) for k in np.unique(instances) if k]
    return np.sort([*each, far, far], axis=0)[:2]


def random_instances(rng, shape, count):
    """Discs of 0 to 4 pixels, numbered with gaps and in no order; later ones cover earlier."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    instances = np.zeros(shape, np.int32)
    for number in rng.permutation(5 * count)[:count] + 1:
        centre, radius = rng.uniform(0, 1, 2) * shape, rng.uniform(0.8, 4)
        instances[(y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2] = number
    return instances


@pytest.mark.parametrize("count", [0, 1, 2, 3, 17, 60])
@pytest.mark.parametrize("shape", [(37, 53), (64, 5), (1, 40)])
def test_distances_against_a_transform_per_instance(shape, count):
    rng = np.random.default_rng(count)
    for _ in range(3):
        instances = random_instances(rng, shape, count)
        got = two_nearest_distances(instances)
        assert all(d.dtype == np.float32 for d in got)
        np.testing.assert_allclose(got, one_transform_an_instance(instances), rtol=1e-6)


def test_large_images_are_exact_too():
    rng = np.random.default_rng(1)
    instances = random_instances(rng, (5, 2100), 25)
    np.testing.assert_allclose(
        two_nearest_distances(instances), one_transform_an_instance(instances), rtol=1e-6
    )


def test_worked_weights():
    # Between two cells 4 apart d1 + d2 is 4 on the straight line, beyond the right one 1 + 5.
    instances = np.array([[7, 0, 0, 0, 3, 0]])
    d1, d2 = two_nearest_distances(instances)
    np.testing.assert_array_equal(d1, [[0, 1, 2, 1, 0, 1]])
    np.testing.assert_array_equal(d2, [[4, 3, 2, 3, 4, 5]])
    gap, beyond = 10 * np.exp(-16 / 50), 10 * np.exp(-36 / 50)
    np.testing.assert_allclose(
        border_weights(instances, class_balance=False)[0],
        [1, 1 + gap, 1 + gap, 1 + gap, 1, 1 + beyond],
        rtol=1e-6,
    )
    gap, beyond = 3 * np.exp(-16 / 8), 3 * np.exp(-36 / 8)
    balanced = border_weights(instances, w0=3, sigma=2)[0]
    assert balanced.dtype == np.float32
    cell, free = 6 / (2 * 2), 6 / (2 * 4)
    np.testing.assert_allclose(
        balanced, [cell, free + gap, free + gap, free + gap, cell, free + beyond], rtol=1e-6
    )


def test_fewer_than_two_instances_have_no_border():
    one = np.zeros((6, 9), np.int32)
    np.testing.assert_array_equal(border_weights(one), np.ones((6, 9)))
    one[2:4, 3:6] = 5
    np.testing.assert_array_equal(border_weights(one, class_balance=False), np.ones((6, 9)))
    np.testing.assert_allclose(border_weights(one)[one == 5], 54 / (2 * 6))
    np.testing.assert_allclose(border_weights(one)[one == 0], 54 / (2 * 48))
    np.testing.assert_array_equal(border_weights(np.ones((3, 3), np.int32)), np.ones((3, 3)))


def test_class_balance_gives_both_classes_half_of_a_mean_of_one():
    instances = random_instances(np.random.default_rng(2), (31, 47), 9)
    w_c = border_weights(instances) - border_weights(instances, class_balance=False) + 1
    np.testing.assert_allclose(w_c.mean(), 1, rtol=1e-5)
    np.testing.assert_allclose(w_c[instances > 0].sum(), w_c[instances == 0].sum(), rtol=1e-5)


def touches(instances):
    """Whether two different instances share a side or a corner, pixel by pixel."""
    height, width = instances.shape
    for y, x in np.argwhere(instances):
        around = instances[max(0, y - 1) : min(height, y + 2), max(0, x - 1) : min(width, x + 2)]
        if ((around != 0) & (around != instances[y, x])).any():
            return True
    return False


@pytest.mark.parametrize("seed", range(5))
def test_separate_touching_carves_only_what_touches(seed):
    instances = random_instances(np.random.default_rng(seed), (24, 33), 40)
    assert touches(instances)
    before = instances.copy()
    carved = separate_touching(instances)
    np.testing.assert_array_equal(instances, before)
    assert not touches(carved)
    gone = carved != instances
    assert (carved[gone] == 0).all()
    for y, x in np.argwhere(gone):
        around = instances[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
        assert ((around != 0) & (around != instances[y, x])).any()
    np.testing.assert_array_equal(separate_touching(carved), carved)


def test_separate_touching_spares_the_smaller():
    instances = np.array([[1, 1, 1, 2, 0], [1, 1, 1, 0, 4], [5, 1, 1, 0, 0]])
    carved = separate_touching(instances)
    # The single pixels 2 and 5 stand; 2 and 4 are equals, and 2 comes first.
    np.testing.assert_array_equal(carved, [[1, 1, 0, 0, 0], [0, 0, 0, 0, 4], [5, 0, 1, 0, 0]])


def test_touching_cells_get_a_border_once_separated():
    instances = np.repeat(np.array([[1] * 6 + [2] * 7]), 5, 0)
    weights = border_weights(separate_touching(instances), class_balance=False)
    np.testing.assert_allclose(weights[:, 6], 1 + 10 * np.exp(-4 / 50), rtol=1e-6)
    assert (np.delete(weights, 6, 1) == 1).all()


def test_binary_membrane_mask_through_components():
    mask = np.random.default_rng(3).random((20, 20)) < 0.5
    instances, count = ndimage.label(mask)
    assert count > 5
    assert (border_weights(instances, class_balance=False)[mask] == 1).all()
    assert module.two_nearest_distances(instances)[1].max() < np.inf


@pytest.mark.parametrize("w0", [-10.0, np.nan, np.inf])
def test_a_negative_weight_is_refused(w0):
    with pytest.raises(InputError, match=f"w0 must be at least 0 and finite, not {w0}"):
        border_weights(np.zeros((4, 4), np.int32), w0)


def test_a_record_without_instances_has_no_weights():
    label = np.zeros((4, 5), np.uint8)
    assert border_weights_of({"label": label}, w0=3.0) is None
    instances = np.array([[1, 0, 2, 0]] * 3)
    np.testing.assert_array_equal(
        border_weights_of({"label": label, "instances": instances}, w0=3.0),
        border_weights(instances, w0=3.0),
    )
