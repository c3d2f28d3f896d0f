import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segjax.data import isbi_em
from segjax.errors import InputError

SHARED = Path(os.environ.get("SEGJAX_REAL_DATA", "not given")) / "isbi_em_2012"

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (30, 6, 7)).astype(np.uint8)
CELL = RNG.random((30, 6, 7)) < 0.7


def write_files(root, cell=CELL):
    for kind, stack in (("image", IMAGES), ("label", cell.astype(np.uint8) * 255)):
        (root / "train" / kind).mkdir(parents=True)
        for i in range(30):
            Image.fromarray(stack[i]).save(root / "train" / kind / f"{i:02d}.png")
    return str(root)


def write_volumes(root):
    root.mkdir()
    for kind, stack in (("volume", IMAGES), ("labels", CELL.astype(np.uint8) * 255)):
        pages = [Image.fromarray(page) for page in stack]
        pages[0].save(root / f"train-{kind}.tif", save_all=True, append_images=pages[1:])
    return str(root)


@pytest.mark.parametrize("write", [write_files, write_volumes])
def test_both_layouts_give_the_sections_in_order(tmp_path, write):
    folder = write(tmp_path / "manual")
    parts = {
        split: isbi_em.source(split, str(tmp_path / "tfds"), manual_dir=folder)
        for split in ("train", "val", "all")
    }
    assert [len(parts[s].records) for s in ("train", "val", "all")] == [24, 6, 30]
    assert parts["train"].class_names == ("membrane", "cell")
    for i, record in enumerate(parts["all"].records):
        np.testing.assert_array_equal(record["image"], IMAGES[i][..., None])
        np.testing.assert_array_equal(record["label"], CELL[i])
        assert record["name"] == f"{i:02d}"
    assert [r["name"] for r in parts["val"].records] == ["24", "25", "26", "27", "28", "29"]
    assert parts["train"].records[-1]["name"] == "23"


def test_instances_are_the_four_connected_cells(tmp_path):
    cell = CELL.copy()
    cell[3] = [
        [1, 1, 0, 1, 0, 0, 1],
        [0, 1, 0, 1, 0, 1, 0],
        [0, 0, 0, 1, 0, 0, 0],
        [1, 0, 1, 1, 0, 1, 1],
        [1, 0, 0, 0, 0, 1, 0],
        [1, 1, 1, 0, 0, 1, 1],
    ]
    folder = write_files(tmp_path / "manual", cell)
    record = isbi_em.source("train", str(tmp_path), manual_dir=folder).records[3]
    expected = [
        [1, 1, 0, 2, 0, 0, 3],
        [0, 1, 0, 2, 0, 4, 0],  # 3 and 4 meet at a corner only
        [0, 0, 0, 2, 0, 0, 0],
        [5, 0, 2, 2, 0, 6, 6],
        [5, 0, 0, 0, 0, 6, 0],
        [5, 5, 5, 0, 0, 6, 6],
    ]
    np.testing.assert_array_equal(record["instances"], expected)
    assert record["instances"].dtype == np.uint16


def test_default_place_and_later_use_without_the_files(tmp_path):
    place = tmp_path / "downloads" / "manual" / "isbi_em"
    write_files(place)
    isbi_em.source("train", str(tmp_path))
    for path in sorted(place.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    place.rmdir()
    assert len(isbi_em.source("val", str(tmp_path)).records) == 6


def test_missing_files_tell_the_layout(tmp_path):
    for make in (lambda p: None, lambda p: p.mkdir(), lambda p: (p / "train").mkdir()):
        make(tmp_path / "manual")
        with pytest.raises(InputError, match=r"train-volume\.tif(.|\n)*train/image/00\.png"):
            isbi_em.source("train", str(tmp_path), manual_dir=str(tmp_path / "manual"))


def test_wrong_files_are_named(tmp_path):
    folder = Path(write_files(tmp_path / "manual"))
    label = folder / "train" / "label" / "07.png"
    good = label.read_bytes()

    def fails(match):
        with pytest.raises(InputError, match=match):
            isbi_em.source("train", str(tmp_path), manual_dir=str(folder))

    Image.fromarray(np.uint8(CELL[7] * 3)).save(label)
    fails(r"07\.png: labels must be 0 \(membrane\) or 255")
    Image.fromarray(np.zeros((6, 6), np.uint8)).save(label)
    fails(r"07\.png: its size")
    label.write_bytes(good[: len(good) // 2])
    fails(r"07\.png: damaged")
    label.unlink()
    fails("the same names")
    (folder / "train" / "image" / "07.png").unlink()
    fails("must hold 30 sections and labels, it holds 29 and 29")
    label.write_bytes(good)
    Image.fromarray(np.dstack([IMAGES[7]] * 3)).save(folder / "train" / "image" / "07.png")
    fails(r"07\.png: expected 8-bit grey")


@pytest.mark.skipif(not SHARED.exists(), reason=f"the real sections are not in {SHARED}")
def test_real_sections(tmp_path):
    source = isbi_em.source("val", str(tmp_path), manual_dir=str(SHARED))
    record = source.records[5]
    image = np.asarray(Image.open(SHARED / "train" / "image" / "29.png"))
    label = np.asarray(Image.open(SHARED / "train" / "label" / "29.png"))
    np.testing.assert_array_equal(record["image"][..., 0], image)
    np.testing.assert_array_equal(record["label"], label == 255)
    assert record["image"].shape == (512, 512, 1)
    assert 50 < record["instances"].max() < 500
