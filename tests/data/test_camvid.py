import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segjax.data import camvid
from segjax.errors import InputError

SHARED = Path(os.environ.get("SEGJAX_REAL_DATA", "not given")) / "camvid"

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (3, 5, 8, 3)).astype(np.uint8)
LABELS = RNG.integers(0, 12, (3, 5, 8)).astype(np.uint8)


def write(images, labels, numbers, suffix="png"):
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    for i in numbers:
        Image.fromarray(IMAGES[i]).save(images / f"f{i}.{suffix}")
        Image.fromarray(LABELS[i]).save(labels / f"f{i}.png")


def sorted_layout(root, splits=("train", "val"), suffix="png"):
    for split in splits:
        write(root / split / "image", root / split / "label", range(3), suffix)
    return str(root)


def segnet_layout(root):
    for split in ("train", "val", "test"):
        write(root / split, root / f"{split}annot", range(3))
    return str(root)


@pytest.mark.parametrize("layout", [sorted_layout, segnet_layout])
def test_both_layouts(tmp_path, layout):
    folder = layout(tmp_path / "manual")
    source = camvid.source("val", str(tmp_path), manual_dir=folder)
    assert len(source.records) == 3
    assert len(source.class_names) == len(source.palette) == 11
    for i, record in enumerate(source.records):
        assert record["name"] == f"f{i}"
        np.testing.assert_array_equal(record["image"], IMAGES[i])
        np.testing.assert_array_equal(record["label"], np.where(LABELS[i] == 11, 255, LABELS[i]))
        assert "instances" not in record


def test_jpeg_files_are_kept_as_they_are(tmp_path):
    folder = sorted_layout(tmp_path / "manual", suffix="jpg")
    record = camvid.source("train", str(tmp_path), manual_dir=folder).records[1]
    decoded = np.asarray(Image.open(tmp_path / "manual" / "train" / "image" / "f1.jpg"))
    assert np.abs(record["image"].astype(int) - decoded).max() <= 2  # two JPEG decoders


def test_test_split_if_it_was_there(tmp_path):
    folder = sorted_layout(tmp_path / "a", ("train", "val", "test"))
    assert len(camvid.source("test", str(tmp_path / "x"), manual_dir=folder).records) == 3
    folder = sorted_layout(tmp_path / "b")
    with pytest.raises(InputError, match=r"prepared in .* has no split 'test'.*train, val"):
        camvid.source("test", str(tmp_path / "y"), manual_dir=folder)


def test_missing_files_tell_the_layout(tmp_path):
    for make in (lambda p: None, lambda p: p.mkdir()):
        make(tmp_path / "manual")
        with pytest.raises(InputError, match=r"trainannot/(.|\n)*train/label/\*\.png"):
            camvid.source("train", str(tmp_path), manual_dir=str(tmp_path / "manual"))


def test_wrong_files_are_named(tmp_path):
    folder = sorted_layout(tmp_path / "manual")
    label = tmp_path / "manual" / "val" / "label" / "f2.png"
    image = tmp_path / "manual" / "val" / "image" / "f2.png"
    good = label.read_bytes(), image.read_bytes()

    def fails(match):
        with pytest.raises(InputError, match=match):
            camvid.source("train", str(tmp_path), manual_dir=folder)
        label.write_bytes(good[0])
        image.write_bytes(good[1])

    Image.fromarray(LABELS[2] + np.uint8(26)).save(label)
    fails(r"f2\.png: label 37")
    Image.fromarray(LABELS[2][:4]).save(label)
    fails(r"f2\.png: its size")
    label.unlink()
    fails(r"label/f2\.png: there is no such file")
    image.write_bytes(good[1][:50])
    fails(r"image/f2\.png: damaged")
    Image.fromarray(IMAGES[2][..., 0]).save(image)
    fails(r"image/f2\.png: expected 8-bit RGB")
    assert len(camvid.source("val", str(tmp_path), manual_dir=folder).records) == 3


@pytest.mark.skipif(not SHARED.exists(), reason=f"the real frames are not in {SHARED}")
def test_real_frames(tmp_path):
    # A few of the real files: preparing all of them takes 5 s.
    for split in ("train", "val"):
        for kind in ("image", "label"):
            folder = tmp_path / "manual" / split / kind
            folder.mkdir(parents=True)
            for path in sorted((SHARED / split / kind).iterdir())[:4]:
                (folder / path.name).symlink_to(path)
    source = camvid.source("val", str(tmp_path), manual_dir=str(tmp_path / "manual"))
    record = source.records[2]
    label = np.asarray(Image.open(SHARED / "val" / "label" / f"{record['name']}.png"))
    np.testing.assert_array_equal(record["label"], np.where(label == 11, 255, label))
    assert record["image"].shape == (360, 480, 3)
    sky = record["image"][record["label"] == source.class_names.index("sky")].mean(0)
    road = record["image"][record["label"] == source.class_names.index("road")].mean(0)
    assert (sky > road).all()


def test_a_set_prepared_from_another_folder_is_not_passed_off(tmp_path):
    for name in ("one", "two"):
        sorted_layout(tmp_path / name)
    camvid.source("train", str(tmp_path / "data"), manual_dir=str(tmp_path / "one"))
    with pytest.raises(InputError, match=r"prepared from .*/one, not from .*/two: delete it"):
        camvid.source("train", str(tmp_path / "data"), manual_dir=str(tmp_path / "two"))
