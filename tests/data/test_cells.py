import numpy as np
import pytest
from scipy import ndimage

from segjax.data import cells
from segjax.errors import InputError

EIGHT = np.ones((3, 3))


@pytest.fixture(scope="module")
def examples():
    return [cells.example(0, "train", i, 128) for i in range(8)]


def test_records(tmp_path):
    train = cells.source("train", str(tmp_path), size=48, train=3, val=2)
    val = cells.source("val", str(tmp_path), size=48, train=3, val=2)
    assert train.class_names == ("background", "cell")
    assert train.palette.shape == (2, 3)
    assert (len(train.records), len(val.records), train.ignore) == (3, 2, 255)
    record = train.records[1]
    assert record["image"].shape == (48, 48, 1)
    assert record["label"].shape == record["instances"].shape == (48, 48)
    assert [record[k].dtype.name for k in ("image", "label", "instances")] == [
        "uint8",
        "uint8",
        "uint16",
    ]
    made = cells.example(0, "train", 1, 48)
    np.testing.assert_array_equal(record["image"][..., 0], made["image"])
    np.testing.assert_array_equal(record["label"], made["label"])
    np.testing.assert_array_equal(record["instances"], made["instances"])
    assert [r["name"] for r in val.records] == ["val_0000", "val_0001"]


def test_options_have_folders_of_their_own(tmp_path):
    a = cells.source("train", str(tmp_path), size=32, train=1, val=1)
    b = cells.source("train", str(tmp_path), size=32, train=1, val=1, seed=5)
    assert not np.array_equal(a.records[0]["image"], b.records[0]["image"])


def test_example_depends_on_each_of_its_seeds_and_nothing_else():
    one = cells.example(3, "train", 2, 40)["image"]
    np.testing.assert_array_equal(one, cells.example(3, "train", 2, 40)["image"])
    for other in [(4, "train", 2), (3, "val", 2), (3, "train", 1)]:
        assert not np.array_equal(one, cells.example(*other, 40)["image"])


def test_cells_are_the_connected_pieces_of_the_label(examples):
    for example in examples:
        ids = example["instances"]
        pieces, n = ndimage.label(example["label"], EIGHT)
        assert n == ids.max() >= 8
        np.testing.assert_array_equal(ids > 0, example["label"] == 1)
        pairs = np.unique(np.stack([pieces.ravel(), ids.ravel()]), axis=1)
        assert pairs.shape[1] == n + 1  # one piece, one id


def test_touching_by_hand():
    ids = np.array(
        [
            [1, 1, 1, 2, 2, 2],
            [1, 1, 1, 2, 2, 2],
            [1, 1, 0, 0, 2, 2],
            [0, 0, 0, 0, 3, 3],
            [4, 4, 0, 0, 3, 3],
        ]
    )
    expected = np.array(
        [
            [0, 0, 1, 1, 0, 0],
            [0, 0, 1, 1, 0, 0],
            [0, 0, 0, 0, 1, 1],
            [0, 0, 0, 0, 1, 1],
            [0, 0, 0, 0, 0, 0],
        ]
    )
    np.testing.assert_array_equal(cells.touching(ids), expected)


def test_lines_between_touching_cells_are_thin_and_common(examples):
    for example in examples:
        ids = example["instances"].astype(int)
        assert ids.max() >= 8
        near = [ndimage.distance_transform_edt(ids != i) for i in range(1, ids.max() + 1)]
        first, second = np.sort(near, axis=0)[:2]
        line = (ids == 0) & (first + second <= 3.0)
        assert 0.005 < line.mean() < 0.15
        assert first[line].max() <= 1.5


def test_cells_differ_in_size(examples):
    sizes = np.concatenate([np.bincount(e["instances"].ravel())[1:] for e in examples])
    assert sizes.min() >= 20
    assert np.percentile(sizes, 90) > 4 * np.percentile(sizes, 10)
    assert 0.3 < np.mean([e["label"].mean() for e in examples]) < 0.7


def test_seams_are_visible_but_fainter_than_outer_membranes_and_organelles():
    seams, outers, organelles = [], [], []
    for i in range(12):
        rng = np.random.default_rng([7, i])
        ids = cells.cell_map(rng, 128)
        image = cells.picture(rng, ids).astype(float)
        inside = ids > 0
        seam = cells.touching(ids)
        core = inside & ~ndimage.binary_dilation(seam, EIGHT, iterations=2)
        core &= ndimage.binary_erosion(inside, EIGHT, iterations=3, border_value=1)
        beside = inside & ndimage.binary_dilation(seam, EIGHT, iterations=3) & ~seam
        beside &= ~ndimage.binary_dilation(seam, EIGHT) & ndimage.binary_erosion(inside, EIGHT)
        edge = inside & ~ndimage.binary_erosion(inside, border_value=1) & ~seam
        around = ndimage.binary_dilation(inside, EIGHT, iterations=2) & ~inside
        seams.append(image[seam].mean() - image[beside].mean())
        outers.append(image[edge].mean() - image[around].mean())
        organelles.append(np.percentile(image[core], 95) - image[core].mean())
    assert 3 < np.mean(seams) < 0.5 * np.mean(outers)
    assert np.mean(organelles) > np.mean(seams)


def test_brightness_alone_does_not_separate_cells_from_background(examples):
    best = []
    for example in examples:
        image, label = example["image"], example["label"] == 1
        ious = [
            ((image > t) & label).sum() / ((image > t) | label).sum() for t in range(40, 200, 4)
        ]
        best.append(max(ious))
    assert np.mean(best) < 0.75


@pytest.mark.parametrize("options", [{"size": 16}, {"train": 0}, {"val": 0}, {"seed": -1}])
def test_impossible_options(tmp_path, options):
    with pytest.raises(InputError, match=next(iter(options))):
        cells.source("train", str(tmp_path), **options)


def test_odd_size():
    example = cells.example(0, "val", 0, 37)
    assert example["image"].shape == example["instances"].shape == (37, 37)
