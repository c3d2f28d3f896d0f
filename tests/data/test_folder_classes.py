"""How many classes a folder has: by classes.txt, or by masks that leave no doubt."""

import os
from pathlib import Path

import numpy as np
import pytest
from by_hand import mask_set
from PIL import Image, ImageFilter

from segjax.data import folder
from segjax.errors import InputError


def opened(root, **options):
    return folder.source("train", str(root.parent / "tfds"), root=root, **options)


def refused(root, words, **options):
    """That the folder is refused in one sentence with these words, and nothing is prepared."""
    with pytest.raises(InputError, match=words) as error:
        opened(root, **options)
    text = str(error.value)
    assert "\n" not in text
    assert text.endswith(".")
    assert text.count(". ") == 0
    assert not list((root.parent / "tfds").glob("mask_folder/*/*"))


def test_255_is_ignored_beside_other_ids(tmp_path):
    source = opened(mask_set(tmp_path / "set", a=[0, 255, 0], b=[0, 1, 255], c=[1, 0, 0]))
    assert [r["label"].tolist() for r in source.records] == [
        [[0, 255, 0]],
        [[0, 1, 255]],
        [[1, 0, 0]],
    ]
    assert source.class_names == ("background", "foreground")


@pytest.mark.parametrize("others", [[0, 1, 0], [1, 1, 1]])
@pytest.mark.parametrize("first", [[0, 255, 255], [255, 255, 255]])
def test_255_in_one_mask_and_1_in_another_is_not_guessed(tmp_path, first, others):
    root = mask_set(tmp_path / "set", a=[0, 0, 0], b=first, c=others)
    words = r"In train/masks/b\.png of .* 0 and 255 only.*write 1.*classes\.txt that names both"
    refused(root, words)
    refused(root, words, skip_bad=True)
    (root / "classes.txt").write_text("no\nyes")
    assert opened(root).records[1]["label"].tolist() == [first]  # ignored


def test_one_stray_id_is_named(tmp_path):
    ids = np.zeros((20, 20), np.uint8)
    ids[3:9] = 1
    stray = ids.copy()
    stray[0, 0] = 254
    root = mask_set(tmp_path / "set", a=ids, b=stray, c=ids)
    words = r"id 254 \(see train/masks/b\.png\), but none holds 2, 3, 4, 5, 6 and so on"
    refused(root, words + r".*name all 255 in a classes\.txt.*mend the masks")
    refused(root, words, skip_bad=True)


def test_blurred_edges_are_no_classes(tmp_path):
    ids = np.zeros((20, 20), np.uint8)
    ids[3:9, 4:12] = 255
    soft = Image.fromarray(ids).filter(ImageFilter.GaussianBlur(1))
    refused(mask_set(tmp_path / "set", a=soft), "none holds .*blurred edge")


@pytest.mark.parametrize(("masks", "missing"), [({"a": [0, 1, 3]}, "2"), ({"a": [1, 2, 3]}, "0")])
def test_a_class_that_is_absent_needs_its_name(tmp_path, masks, missing):
    root = mask_set(tmp_path / "set", **masks)
    refused(root, f"holds {missing}: if these classes are only rare, name all 4 in a classes.txt")
    (root / "classes.txt").write_text("a\nb\nc\nd\n")
    assert len(opened(root).class_names) == 4


def test_other_bad_files_are_named_with_it(tmp_path):
    root = mask_set(tmp_path / "set", a=[0, 1, 3], b=[0, 0, 0])
    (root / "train" / "masks" / "b.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"holds 2:.*Besides, 1 file in (?s:.*)b\.png: empty"):
        opened(root)


def test_a_mask_that_is_left_out_makes_no_class(tmp_path):
    root = mask_set(tmp_path / "set", a=[0, 1, 0], b=[0, 2, 1], c=[0, 0, 1])
    deep = Image.fromarray(np.zeros((1, 3), np.uint16))
    deep.save(root / "train" / "images" / "b.png")
    assert opened(root, skip_bad=True).class_names == ("background", "foreground")


@pytest.mark.parametrize("classes", ["", "no\nyes"])
def test_a_mask_that_is_left_out_says_nothing_of_255(tmp_path, classes):
    root = mask_set(tmp_path / "set", a=[0, 255, 0], b=[0, 0, 255])
    Image.fromarray(np.uint16([[0, 7, 300]])).save(root / "train" / "masks" / "b.png")
    if classes:
        (root / "classes.txt").write_text(classes)
    with pytest.raises(InputError, match=r"b\.png: label 7, 300 of 2 classes"):
        opened(root)
    source = opened(root, skip_bad=True)
    assert [record["label"].tolist() for record in source.records] == [[[0, 1, 0]]]


@pytest.mark.parametrize(
    ("masks", "says"),
    [
        ({"a": [0, 1, 2], "b": [0, 255, 1]}, "3 classes, 0 to 2"),
        ({"a": [0, 255, 0], "b": [0, 0, 0]}, "2 classes, 0 and 255"),
        ({"a": [0, 0, 0]}, "2 classes, 0 to 1"),
    ],
)
def test_the_number_of_classes_is_said_once(tmp_path, capfd, masks, says):
    root = mask_set(tmp_path / "set", **masks)
    opened(root)
    assert f"{root} has no classes.txt: {says}.\n" in capfd.readouterr().err
    opened(root)
    assert "classes.txt" not in capfd.readouterr().err
    (root / "classes.txt").write_text("a\nb\nc")
    opened(root)
    assert "classes.txt" not in capfd.readouterr().err


REAL = Path(os.environ.get("SEGJAX_REAL_DATA", "nowhere"))


@pytest.mark.parametrize(
    ("name", "splits", "classes"),
    [("camvid", ("train", "val"), 12), ("isbi_em_2012", ("train",), 2)],
)
def test_published_sets_as_folders(tmp_path, name, splits, classes):
    if not (REAL / name).is_dir():
        pytest.skip("SEGJAX_REAL_DATA has no such set")
    for split in splits:
        (tmp_path / split).mkdir()
        (tmp_path / split / "images").symlink_to(REAL / name / split / "image")
        (tmp_path / split / "masks").symlink_to(REAL / name / split / "label")
    found = folder.inspect(tmp_path)
    assert not found.bad
    assert not found.unclear
    assert len(found.class_names) == classes
    assert found.binary == (classes == 2)


def test_more_ids_than_classes_have_without_names_are_refused(tmp_path):
    for i in range(2):
        for kind, array in (("images", np.zeros(128)), ("masks", np.arange(128))):
            (tmp_path / kind).mkdir(exist_ok=True)
            Image.fromarray(np.uint8(array).reshape(8, 16)).save(tmp_path / kind / f"{i}.png")
    with pytest.raises(InputError, match="hold 128 different ids: .* name them in a classes.txt"):
        folder.source("train", str(tmp_path / "data"), root=tmp_path)
    (tmp_path / "classes.txt").write_text("\n".join(f"c{i}" for i in range(128)))
    found = folder.inspect(tmp_path)
    assert len(found.class_names) == 128
