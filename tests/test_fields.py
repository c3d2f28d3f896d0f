"""What a batch may hold: padding on the host, names that are refused."""

import numpy as np
import pytest

from segjax import fields
from segjax.errors import InputError

RNG = np.random.default_rng(0)


def example(height=5, width=7):
    label = RNG.integers(1, 9, (height, width)).astype(np.uint8)
    return {
        "image": RNG.integers(0, 255, (height, width, 3)).astype(np.uint8),
        "label": label,
        "weight": label * np.float32(0.5),
        "instances": label.astype(np.uint16),
    }


def test_padding_mirrors_the_image_and_does_not_count():
    start = example()
    out = fields.padded(start, (8, 9), "a.png")
    for name in fields.GRIDS:
        assert out[name].shape[:2] == (8, 9)
    np.testing.assert_array_equal(
        out["image"], np.pad(start["image"], [(0, 3), (0, 2), (0, 0)], mode="reflect")
    )
    for name in ("label", "weight", "instances"):
        np.testing.assert_array_equal(out[name][:5, :7], start[name])
        assert out[name].sum() == start[name].sum()
        assert out[name].dtype == start[name].dtype
    assert out["mask"].sum() == 5 * 7
    assert out["mask"][:5, :7].all()
    np.testing.assert_array_equal(out["extent"], [5, 7])


def test_a_mask_is_kept_and_padded():
    mask = RNG.integers(0, 2, (5, 7)).astype(bool)
    out = fields.padded({**example(), "mask": mask}, (5, 9))
    np.testing.assert_array_equal(out["mask"], np.pad(mask, [(0, 0), (0, 2)]))


def test_a_larger_image_is_named():
    with pytest.raises(InputError, match="image a.png is 5 x 7, larger .* of 5 x 6: raise eval_s"):
        fields.padded(example(), (5, 6), "a.png")
    with pytest.raises(InputError, match="label of a.png is .5, 6., not .5, 7."):
        fields.padded({**example(), "label": np.zeros((5, 6), np.uint8)}, (8, 8), "a.png")


def test_unknown_fields_are_refused():
    with pytest.raises(InputError, match="no field 'depth'; it may have image, label"):
        fields.padded({**example(), "depth": np.zeros((5, 7))}, (8, 8))


def test_objects_are_padded_and_present_says_which_there_are():
    boxes, points = RNG.random((2, 4), np.float32), RNG.random((2, 5, 2), np.float32)
    objects = {"boxes": boxes, "points": points, "classes": np.array([4, 5])}
    out = fields.padded_objects({**example(), **objects}, 3)
    np.testing.assert_array_equal(out["present"], [True, True, False])
    np.testing.assert_array_equal(out["boxes"][:2], boxes)
    assert not out["boxes"][2].any()
    assert out["points"].shape == (3, 5, 2)
    np.testing.assert_array_equal(out["classes"], [4, 5, 0])
    with pytest.raises(InputError, match="has 2 objects, and there is room for 1"):
        fields.padded_objects({**example(), **objects}, 1)


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535)])
def test_unit_divides_by_the_largest_of_the_type(dtype, top):
    image = RNG.integers(0, top, (3, 4, 1), endpoint=True).astype(dtype)
    np.testing.assert_array_equal(fields.unit(image), np.float32(image) / np.float32(top))
    real = RNG.random((3, 4, 1), np.float32)
    assert fields.unit(real) is real
