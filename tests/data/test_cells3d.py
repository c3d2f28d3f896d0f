import pickle

import numpy as np
import pytest
from scipy import ndimage

from segjax.data import cells3d
from segjax.errors import InputError

SIZE = (48, 64, 64)
SMALL = {"size": (24, 25, 30), "train": 2, "val": 3}
BLOCK = np.ones((3, 3, 3))


@pytest.fixture(scope="module")
def examples():
    return [cells3d.example(0, "train", i, SIZE) for i in range(2)]


def test_records():
    train, val = (cells3d.source(split, **SMALL) for split in ("train", "val"))
    assert (len(train.records), len(val.records), train.ignore) == (2, 3, 255)
    assert len(train.class_names) == len(train.palette) == 2
    for i, record in enumerate(val.records):
        made = cells3d.example(0, "val", i, SMALL["size"])
        assert record["name"] == f"val_{i:04d}"
        assert record["image"].dtype == record["label"].dtype == np.uint8
        np.testing.assert_array_equal(record["image"], made["image"][..., None])
        np.testing.assert_array_equal(record["label"], made["label"])
    again = pickle.loads(pickle.dumps(train.records))
    np.testing.assert_array_equal(again[1]["image"], train.records[1]["image"])


def test_defaults():
    records = cells3d.source("val").records
    assert [record["label"].shape for record in records] == [SIZE] * 4


def test_example_depends_on_each_of_its_seeds_and_nothing_else():
    one = cells3d.example(3, "train", 2, (24, 24, 24))["image"]
    np.testing.assert_array_equal(one, cells3d.example(3, "train", 2, (24, 24, 24))["image"])
    for other in [(4, "train", 2), (3, "val", 2), (3, "train", 1)]:
        assert not np.array_equal(one, cells3d.example(*other, (24, 24, 24))["image"])


def test_only_slices_are_annotated():
    sparse = cells3d.source("train", **SMALL, annotated_slices=(1, 0, 3)).records
    dense = cells3d.source("train", **SMALL, annotated_slices=None).records
    places = []
    for few, all_of_it in zip(sparse, dense, strict=True):
        seen = few["label"] != 255
        np.testing.assert_array_equal(few["image"], all_of_it["image"])
        np.testing.assert_array_equal(few["label"][seen], all_of_it["label"][seen])
        assert set(np.unique(all_of_it["label"])) == {0, 1}
        # One slice of 25 x 30 and three of 24 x 25, which meet in three lines of 25.
        assert seen.sum() == 25 * 30 + 3 * 24 * 25 - 3 * 25
        whole = [np.flatnonzero(seen.all(axes)) for axes in [(1, 2), (0, 2), (0, 1)]]
        assert [len(x) for x in whole] == [1, 0, 3]
        places.append(np.concatenate(whole).tolist())
    assert places[0] != places[1]
    val = cells3d.source("val", **SMALL, annotated_slices=(1, 0, 3)).records
    assert all(np.all(record["label"] < 2) for record in val)


def test_cells_are_the_connected_pieces_of_the_label(examples):
    for example in examples:
        ids = example["instances"].astype(int)
        pieces, n = ndimage.label(example["label"], BLOCK)
        assert n == ids.max() >= 20
        np.testing.assert_array_equal(ids > 0, example["label"] == 1)
        assert np.unique(np.stack([pieces.ravel(), ids.ravel()]), axis=1).shape[1] == n + 1


def test_cells_touch_and_differ_in_size(examples):
    for example in examples:
        ids = example["instances"].astype(int)
        near = [ndimage.distance_transform_edt(ids != i) for i in range(1, ids.max() + 1)]
        order = np.argsort(near, axis=0)[:2]
        first, second = np.sort(near, axis=0)[:2]
        sheet = (ids == 0) & (first + second <= 3)
        assert 0.003 < sheet.mean() < 0.1
        assert len(set(order[:, sheet].ravel())) > 0.5 * ids.max()  # most cells touch another
        sizes = np.bincount(ids.ravel())[1:]
        assert sizes.min() >= 80
        assert np.percentile(sizes, 90) > 4 * np.percentile(sizes, 10)
        assert 0.2 < example["label"].mean() < 0.6


def test_brightness_alone_does_not_separate_cells_from_background(examples):
    for example in examples:
        image, label = example["image"], example["label"] == 1
        ious = [
            ((image > t) & label).sum() / ((image > t) | label).sum() for t in range(20, 250, 4)
        ]
        assert max(ious) < 0.7


def test_light_is_lost_with_depth(examples):
    for example in examples:
        image = example["image"].astype(float)
        medium = ~ndimage.binary_dilation(example["label"], BLOCK, iterations=3)
        assert image[:8][medium[:8]].mean() > 1.1 * image[-8:][medium[-8:]].mean()


def test_touching_by_hand():
    ids = np.zeros((3, 4, 5), int)
    ids[0, :, 0] = 1
    ids[:, 0, 2] = 2
    ids[1, 3, 1] = 3
    expected = np.zeros(ids.shape, bool)
    expected[0, 2:, 0] = expected[1, 3, 1] = True  # 1 and 3 meet at an edge, 2 is a voxel away
    np.testing.assert_array_equal(cells3d.touching(ids), expected)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"split": "test"}, "'test': use train or val"),
        ({"size": (24, 24, 23)}, r"size=\(24, 24, 23\)"),
        ({"size": (24, 24)}, "three sides"),
        ({"train": 0}, "train=0"),
        ({"val": 0}, "val=0"),
        ({"seed": -1}, "seed=-1"),
        ({"annotated_slices": (0, 0, 0)}, "at least one"),
        ({"annotated_slices": (1, 1)}, "across depth, height and width"),
        ({"annotated_slices": (49, 1, 1)}, r"at most \(48, 64, 64\)"),
    ],
)
def test_impossible_options(options, words):
    with pytest.raises(InputError, match=words):
        cells3d.source(**{"split": "train", **options})
