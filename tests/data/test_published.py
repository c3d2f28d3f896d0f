import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from segjax.data import published, source
from segjax.errors import InputError

SHARED = Path(os.environ.get("SEGJAX_REAL_DATA", "not given")) / "coco50"

MASK = np.uint8([[0, 3, 3, 1], [7, 0, 1, 1], [3, 3, 255, 0]])
PICTURE = np.arange(36).reshape(3, 4, 3).astype(np.uint8)


class HandMade(tfds.core.GeneratorBasedBuilder):
    """A builder as others publish them: one image, one mask, no class names."""

    VERSION = tfds.core.Version("1.2.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(),
            "segmentation_mask": tfds.features.Image(shape=(None, None, 1)),
            "label": tfds.features.ClassLabel(num_classes=3),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(), "test": self._generate_examples()}

    def _generate_examples(self):
        for i in range(3):
            yield (
                f"k{i}",
                {
                    "image": source.png(PICTURE),
                    "segmentation_mask": source.png(MASK),
                    "label": i,
                },
            )


class HandMadeLabeled(HandMade):
    """The same with a mask that knows its classes."""

    def _info(self):
        features = {
            "picture": tfds.features.Image(),
            "annotation": tfds.features.LabeledImage(labels=["a", "b", "c"], shape=(None, None, 1)),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _generate_examples(self):
        yield 0, {"picture": source.png(PICTURE), "annotation": source.png(MASK % 3)}


def test_one_mask_is_found_among_the_features(tmp_path):
    names = [f"c{i}" for i in range(8)]
    got = published.source("hand_made", "train", str(tmp_path), class_names=names)
    assert got.class_names == tuple(names)
    assert len(got.records) == 3
    record = pickle.loads(pickle.dumps(got.records))[1]
    np.testing.assert_array_equal(record["image"], PICTURE)
    np.testing.assert_array_equal(record["label"], MASK)
    assert record["label"].dtype == np.uint8
    assert record["name"] == "train_000001"


def test_values_map_to_classes_and_the_rest_is_ignored(tmp_path):
    got = published.source(
        "hand_made", "test", str(tmp_path), class_names=["x", "y"], values={3: 1, 0: 0}
    )
    i = 255
    np.testing.assert_array_equal(
        got.records[0]["label"], [[0, 1, 1, i], [i, 0, i, i], [1, 1, i, 0]]
    )


def test_class_names_of_the_feature(tmp_path):
    got = published.source("hand_made_labeled", "train", str(tmp_path))
    assert got.class_names == ("a", "b", "c")
    np.testing.assert_array_equal(got.records[0]["label"], MASK % 3)


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("hand_made", {}, "does not say its classes; pass class_names="),
        ("hand_made", {"mask": "seg", "image": "image"}, "no feature 'seg'; it has image .Image"),
        (
            "hand_made",
            {"class_names": "ab", "values": {1: 2}},
            r"maps 1 to 2, but classes are 0\.\.1",
        ),
        ("mnist", {}, r"cannot tell .* image .Image \(28, 28, 1\)"),
        ("no_such_set", {}, "tfds knows no data set 'no_such_set'"),
        ("coco/2017_panoptic", {}, r"needs TensorFlow .*pip install 'segjax\[prepare\]'"),
        ("cityscapes/semantic_segmentation", {}, "leftImg8bit_trainvaltest.zip"),
    ],
)
def test_what_cannot_be_had_is_said_before_anything_is_prepared(tmp_path, name, options, match):
    with pytest.raises(InputError, match=match):
        published.source(name, "train", str(tmp_path), **options)
    assert not list(tmp_path.rglob("*.array_record*"))


def test_set_prepared_by_others_in_another_format(tmp_path, monkeypatch):
    builder = HandMade(data_dir=str(tmp_path))
    with source.quiet():
        builder.download_and_prepare(file_format="array_record")
    info = tmp_path / "hand_made" / "1.2.0" / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(InputError, match=f"in {tmp_path}.* prepared as tfrecord"):
        published.source("hand_made", "train", str(tmp_path), class_names="abcdefgh")


def test_prepared_set_needs_no_code(tmp_path):
    published.source("hand_made", "train", str(tmp_path), class_names="abcdefgh")
    (tmp_path / "hand_made").rename(tmp_path / "made_elsewhere")
    for path in (tmp_path / "made_elsewhere").rglob("*hand_made-*"):
        path.rename(path.with_name(path.name.replace("hand_made", "made_elsewhere")))
    info = tmp_path / "made_elsewhere" / "1.2.0" / "dataset_info.json"
    info.write_text(info.read_text().replace("hand_made", "made_elsewhere"))
    got = published.source("made_elsewhere", "train", str(tmp_path), class_names="abcdefgh")
    np.testing.assert_array_equal(got.records[0]["label"], MASK)


def pet_archives(root):
    """The two archives of oxford_iiit_pet, unpacked: three images with trimaps."""
    images, notes = root / "images" / "images", root / "annotations" / "annotations"
    for folder in (images, notes / "trimaps", notes / "xmls"):
        folder.mkdir(parents=True)
    trimaps = {}
    for i, name in enumerate(["Bombay_1", "pug_10", "beagle_7"]):
        picture = np.full((6, 5 + i, 3), [200, 100, 10 * i], np.uint8)
        Image.fromarray(picture).save(images / f"{name}.jpg", quality=95)
        trimaps[f"{name}.jpg"] = 1 + (np.arange(picture[..., 0].size) % 3).reshape(6, -1)
        Image.fromarray(trimaps[f"{name}.jpg"].astype(np.uint8)).save(
            notes / "trimaps" / f"{name}.png"
        )
    (notes / "xmls" / "Bombay_1.xml").write_text(
        "<a><size><width>5</width><height>6</height></size><object><bndbox><xmin>1</xmin>"
        "<ymin>1</ymin><xmax>3</xmax><ymax>4</ymax></bndbox></object></a>"
    )
    (notes / "trainval.txt").write_text("Bombay_1 8 1 1\nbeagle_7 5 2 1\n")
    (notes / "test.txt").write_text("pug_10 26 2 1\n")
    return {"images": root / "images", "annotations": root / "annotations"}, trimaps


def test_oxford_iiit_pet_through_its_own_builder(tmp_path, monkeypatch):
    archives, trimaps = pet_archives(tmp_path / "raw")
    monkeypatch.setattr(
        tfds.download.DownloadManager, "download_and_extract", lambda self, urls: archives
    )
    train = published.source("oxford_iiit_pet", "train", str(tmp_path))
    test = published.source("oxford_iiit_pet", "test", str(tmp_path))
    assert train.class_names == ("animal", "background", "border")
    assert {r["name"] for r in train.records} == {"Bombay_1.jpg", "beagle_7.jpg"}
    for record in [*train.records, *test.records]:
        np.testing.assert_array_equal(record["label"], trimaps[record["name"]] - 1)
        assert record["image"].shape == (*record["label"].shape, 3)
        assert np.abs(record["image"].mean((0, 1))[:2] - [200, 100]).max() < 4  # RGB, not BGR


def converted(name, **record):
    return published._convert(record, published.READINGS[name])


def test_cityscapes_train_ids():
    # labelId -> trainId as cityscapesScripts' labels.py lists them; -1 (licence plate) and
    # 0..6, 9, 10, 14..16, 18, 29, 30 are ignored in evaluation.
    train_ids = {
        7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11,
        25: 12, 26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18,
    }  # fmt: skip
    ids = np.arange(36, dtype=np.uint8).reshape(4, 9, 1)
    got = converted(
        "cityscapes/semantic_segmentation",
        image_left=PICTURE,
        segmentation_label=ids,
        image_id=b"ulm_3",
    )
    expected = [train_ids.get(i, 255) for i in range(36)]
    np.testing.assert_array_equal(got["label"].ravel(), expected)
    assert got["name"] == "ulm_3"


def test_scene_parse150_takes_the_category_channel():
    annotation = np.zeros((2, 3, 3), np.uint8)
    annotation[..., 0] = [[0, 1, 100], [7, 101, 2]]
    annotation[..., 1] = 9  # instance numbers
    got = converted("scene_parse150", image=PICTURE, annotation=annotation)
    np.testing.assert_array_equal(got["label"], [[255, 0, 99], [6, 255, 1]])


def test_panoptic_ids_become_classes():
    picture = np.zeros((2, 3, 3), np.uint8)
    picture[0, 1] = [5, 1, 0]  # 261
    picture[1] = [[0, 0, 1], [5, 1, 0], [1, 0, 0]]  # 65536, 261, 1
    segments = {"id": np.array([261, 65536]), "label": np.array([80, 3])}
    got = converted(
        "coco/2017_panoptic",
        image=PICTURE,
        panoptic_image=picture,
        panoptic_objects=segments,
        **{"image/filename": b"000.jpg"},
    )
    np.testing.assert_array_equal(got["label"], [[255, 80, 255], [3, 80, 255]])


@pytest.mark.skipif(not SHARED.exists(), reason=f"the COCO sample is not in {SHARED}")
def test_panoptic_areas_of_real_annotations():
    notes = SHARED / "annotations" / "panoptic_train2017.json"
    for entry in json.loads(notes.read_text())["annotations"][:5]:
        (path,) = (SHARED / "annotations").rglob(entry["file_name"])
        picture = np.asarray(Image.open(path).convert("RGB"))
        segments = entry["segments_info"]
        ids = [s["id"] for s in segments]
        label = published.panoptic_label(picture, np.array(ids), np.arange(len(ids)))
        counts = np.bincount(label.ravel(), minlength=256)
        assert counts[: len(ids)].tolist() == [s["area"] for s in segments]
