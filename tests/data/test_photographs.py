import re

import numpy as np
import pytest
from PIL import Image

from segjax.data import photographs
from segjax.errors import InputError


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array)).save(path)
    return path


def colours(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def open_all(tmp_path, root, split="train", **options):
    options = {"side": 12, **options}
    return photographs.source(split, str(tmp_path / "tfds"), root=root, **options)


def test_split_folders_with_albums_in_them(tmp_path):
    root = tmp_path / "set"
    small = colours(9, 20)
    write(root / "train/b/small.png", small)
    write(root / "train/a.png", colours(48, 36, 1))
    write(root / "val/grey.png", small[..., 0])
    write(root / "train/.thumbs/a.png", small)
    (root / "train/notes.txt").write_text("not looked at")
    train, val = open_all(tmp_path, root), open_all(tmp_path, root, "val")
    assert [r["name"] for r in train.records] == ["a", "small"]
    assert train.records[0]["image"].shape == (16, 12, 3)  # the shorter side shrunk to 12
    np.testing.assert_array_equal(train.records[1]["image"], small)
    np.testing.assert_array_equal(val.records[0]["image"], np.repeat(small[..., :1], 3, -1))
    assert train.class_names == ()


def test_a_plain_folder_is_split_by_name_and_seen_anew_when_it_changes(tmp_path):
    root = tmp_path / "set"
    for i in range(20):
        write(root / f"{i % 3}/im{i}.jpg", colours(14, 13, i))
    names = {
        split: {r["name"] for r in open_all(tmp_path, root, split).records}
        for split in ("train", "val")
    }
    assert len(names["train"]) + len(names["val"]) == 20
    assert names["val"]
    write(root / "im99.jpg", colours(14, 13))
    again = [r["name"] for split in names for r in open_all(tmp_path, root, split).records]
    assert set(again) == names["train"] | names["val"] | {"im99"}


def test_every_file_that_cannot_be_read_is_named(tmp_path):
    root = tmp_path / "set"
    whole = write(root / "train/a.png", colours(20, 20)).read_bytes()
    write(root / "val/b.png", colours(20, 20))
    (root / "train/cut.png").write_bytes(whole[: len(whole) // 2])
    (root / "train/empty.jpg").touch()
    with pytest.raises(InputError, match=re.compile(r"2 photographs.*cut.png.*empty.jpg", re.S)):
        open_all(tmp_path, root)
    assert len(open_all(tmp_path, root, skip_bad=True).records) == 1


def test_folders_without_photographs_say_what_is_missing(tmp_path):
    with pytest.raises(InputError, match="none is not a folder"):
        open_all(tmp_path, tmp_path / "none")
    write(tmp_path / "set/train/a.png", colours(20, 20))
    with pytest.raises(InputError, match=r"no photographs .* for val: add some"):
        open_all(tmp_path, tmp_path / "set")


def test_sixteen_bits_become_eight(tmp_path):
    deep = (np.arange(400, dtype=np.uint16) * 160).reshape(20, 20)
    for split in ("train", "val"):
        write(tmp_path / f"set/{split}/a.png", deep)
    image = open_all(tmp_path, tmp_path / "set", side=20).records[0]["image"]
    np.testing.assert_array_equal(image[..., 1], deep >> 8)


def test_shrunk_and_middle():
    image = colours(40, 60)
    assert photographs.shrunk(image, 20).shape == (20, 30, 3)
    np.testing.assert_array_equal(photographs.shrunk(image, 40), image)
    assert photographs.shrunk(image[..., :1], 20).shape == (20, 30, 1)
    np.testing.assert_array_equal(photographs.middle(image, (20, 70)), image[10:30])
