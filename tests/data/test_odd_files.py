"""What users' folders hold besides files: links, pipes, names and texts of other encodings."""

import json
import os
import pickle
import socket

import numpy as np
import pytest
from by_hand import mask_set, tiff, tiff_page
from PIL import Image

from segjax.data import camvid, files, folder, photographs
from segjax.errors import InputError, printable

STRANGE = os.fsdecode(b"\xff\xfe")  # no UTF-8


def dangling(path):
    path.symlink_to("nowhere.png")


def loop(path):
    path.symlink_to(path.name)


def bind(path):
    here = os.getcwd()
    os.chdir(path.parent)  # the name of a socket must be short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


ODD = {
    "a link to a file that is not there": dangling,
    "a link that leads back to itself": loop,
    "a named pipe, not a file": os.mkfifo,
    "a socket, not a file": bind,
    "a device, not a file": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("reason", ODD)
def test_what_is_no_file_is_named_and_never_opened(tmp_path, reason):
    path = tmp_path / "x.png"
    ODD[reason](path)
    for read in (files.check, files.read_text):
        with pytest.raises(InputError) as error:
            read(path)
        assert str(error.value) == f"{path}: {reason}."
    size, _ = files.stamp(path)
    assert size >= 0


def test_errors_survive_the_way_between_processes():
    error = pickle.loads(pickle.dumps(files.FileError("a.png", "gone")))
    assert (str(error), error.path, error.reason) == ("a.png: gone.", "a.png", "gone")


@pytest.mark.parametrize("kind", ["images", "masks"])
@pytest.mark.parametrize("reason", ODD)
def test_a_folder_names_it_and_goes_on(tmp_path, capfd, reason, kind):
    root = mask_set(tmp_path / "set", a=[0, 1], b=[1, 0])
    path = root / "train" / kind / "b.png"
    path.unlink()
    ODD[reason](path)
    line = f"\n  train/{kind}/b.png: {reason}"
    with pytest.raises(InputError, match="1 file in .* cannot be used") as error:
        folder.source("train", str(tmp_path / "tfds"), root=root)
    assert line in str(error.value)
    source = folder.source("train", str(tmp_path / "tfds"), root=root, skip_bad=True)
    assert [r["name"] for r in source.records] == ["a"]
    assert line in capfd.readouterr().err


@pytest.mark.parametrize("reason", ODD)
def test_a_folder_of_photographs_names_it_and_goes_on(tmp_path, reason):
    for split in ("train", "val"):
        (tmp_path / "set" / split / "album").mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "set" / split / "a.png")
    ODD[reason](tmp_path / "set" / "train" / "album" / "b.png")

    def opened(**options):
        return photographs.source(
            "train", str(tmp_path / "tfds"), root=tmp_path / "set", side=8, **options
        )

    with pytest.raises(InputError, match=f"1 photograph in .*\n  train/album/b.png: {reason}"):
        opened()
    assert len(opened(skip_bad=True).records) == 1


def test_linked_albums_are_entered_once(tmp_path):
    for album in ("a", "b"):
        (tmp_path / album).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / album / f"{album}.png")
    (tmp_path / "a" / ".hidden").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "a" / ".hidden" / "h.png")
    (tmp_path / "a" / "link").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "back").symlink_to(tmp_path / "a")
    found = sorted(str(path.relative_to(tmp_path)) for path in photographs.walk(tmp_path / "a"))
    assert found == ["a/a.png", "a/link/b.png"]


def test_a_root_that_is_a_loop(tmp_path):
    loop(tmp_path / "set")
    for source in (folder.source, photographs.source):
        options = {"side": 8} if source is photographs.source else {}
        with pytest.raises(InputError, match="set is not a folder"):
            source("train", str(tmp_path / "tfds"), root=tmp_path / "set", **options)


def test_names_that_are_not_utf8(tmp_path, capfd):
    root = mask_set(tmp_path / f"set{STRANGE}", **{"a": [0, 1], f"b{STRANGE}": [1, 0]})
    source = folder.source("train", str(tmp_path / "tfds"), root=root)
    names = [record["name"] for record in source.records]
    assert names == ["a", "b\\udcff\\udcfe"]
    json.dumps(names).encode()
    np.testing.assert_array_equal(source.records[1]["label"], [[1, 0]])

    (root / "train" / "images" / f"c{STRANGE}.png").touch()
    with pytest.raises(InputError, match="cannot be used") as error:
        folder.source("train", str(tmp_path / "tfds"), root=root)
    assert r"c\udcff\udcfe.png: missing mask" in str(error.value).encode().decode()
    folder.source("train", str(tmp_path / "tfds"), root=root, skip_bad=True)
    assert r"c\udcff\udcfe.png: missing mask" in capfd.readouterr().err
    assert folder._side(STRANGE, 1.0) == "val"


def test_photographs_whose_names_are_not_utf8(tmp_path):
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / split / f"{STRANGE}.png")
    source = photographs.source("train", str(tmp_path / "tfds"), root=tmp_path, side=8)
    assert source.records[0]["name"] == "\\udcff\\udcfe"
    assert photographs.side_of(STRANGE, 1.0) == "val"


def test_manual_folders_and_files_whose_names_are_not_utf8(tmp_path):
    manual = tmp_path / STRANGE
    for split in ("train", "val"):
        for kind in ("image", "label"):
            (manual / split / kind).mkdir(parents=True)
            array = np.zeros((4, 4, 3) if kind == "image" else (4, 4), np.uint8)
            Image.fromarray(array).save(manual / split / kind / f"{STRANGE}.png")
    for _ in range(2):
        source = camvid.source("train", str(tmp_path / "tfds"), manual_dir=str(manual))
        assert source.records[0]["name"] == "\\udcff\\udcfe"


def test_a_sentence_can_be_printed_whatever_it_names():
    assert str(InputError(f"{STRANGE} é is bad.")).encode() == "\\udcff\\udcfe é is bad.".encode()
    assert printable("é\ud800") == "é\\ud800"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("sky\nécru".encode("latin-1"), "not UTF-8 text .* save it as UTF-8"),
        ("sky\nécru".encode("utf-16"), "not UTF-8 text"),
        ("sky\nroad".encode("utf-16-le"), "not UTF-8 text"),
        ("folder", "a folder, not a file"),
        *((make, reason) for reason, make in ODD.items()),
    ],
)
def test_classes_that_cannot_be_read(tmp_path, text, reason):
    root = mask_set(tmp_path / "set", a=[0, 1])
    path = root / "classes.txt"
    if isinstance(text, bytes):
        path.write_bytes(text)
    elif text == "folder":
        path.mkdir()
    else:
        text(path)
    for skip_bad in (False, True):
        with pytest.raises(InputError, match=rf"classes\.txt: {reason}"):
            folder.source("train", str(tmp_path / "tfds"), root=root, skip_bad=skip_bad)


def test_classes_with_a_byte_order_mark(tmp_path):
    root = mask_set(tmp_path / "set", a=[0, 1])
    (root / "classes.txt").write_bytes("sky\r\nécru\r\n".encode("utf-8-sig"))
    assert folder.source("train", str(tmp_path / "tfds"), root=root).class_names == ("sky", "écru")


def test_orientation_tags_are_counted_once_a_set(tmp_path, capfd):
    root = mask_set(tmp_path / "set", a=np.eye(3), b=np.eye(3), c=np.eye(3))
    image = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    for name in ("a", "b"):
        (root / "train" / "images" / f"{name}.png").unlink()
        tiff(root / "train" / "images" / f"{name}.tif", tiff_page(image, t274=6))
    source = folder.source("train", str(tmp_path / "tfds"), root=root)
    note = f"2 files in {root} have an orientation tag, which is not applied"
    assert capfd.readouterr().err.count(note) == 1
    np.testing.assert_array_equal(source.records[1]["image"], image)
    np.testing.assert_array_equal(source.records[1]["label"], np.eye(3))
    folder.source("train", str(tmp_path / "tfds"), root=root)
    assert note not in capfd.readouterr().err

    (root / "val").mkdir()
    tiff(root / "val" / "d.tif", tiff_page(image, t274=3))
    photographs.source("train", str(tmp_path / "tfds"), root=root, side=3)
    assert f"3 files in {root} have an orientation tag" in capfd.readouterr().err


def test_more_pixels_than_an_example_may_have(tmp_path):
    root = mask_set(tmp_path / "set", a=np.zeros((1, 10**6)), b=np.zeros((1, 10**6 + 1)))
    with pytest.raises(InputError, match=r"train/masks/b\.png: more than 1000000 pixels"):
        folder.source("train", str(tmp_path / "tfds"), root=root)
    source = folder.source("train", str(tmp_path / "tfds"), root=root, skip_bad=True)
    assert source.records[0]["label"].shape == (1, 10**6)


def test_the_limit_of_pixels_is_an_option(tmp_path):
    root = mask_set(tmp_path / "set", a=np.eye(9), b=np.eye(3))
    with pytest.raises(InputError, match=r"images/a\.png: unfolds to .* of max_pixels=26; raise"):
        folder.source("train", str(tmp_path / "tfds"), root=root, max_pixels=26)
    options = {"root": root, "max_pixels": 26, "skip_bad": True}
    assert len(folder.source("train", str(tmp_path / "tfds"), **options).records) == 1
    options["max_pixels"] = 27  # 81 pixels of grey
    assert len(folder.source("train", str(tmp_path / "tfds"), **options).records) == 2

    (root / "train").rename(tmp_path / "train")
    (tmp_path / "val").symlink_to("train")
    options = {"root": tmp_path, "side": 3, "skip_bad": True}
    for limit, count in ((26, 2), (27, 4)):
        source = photographs.source("train", str(tmp_path / "tfds"), max_pixels=limit, **options)
        assert len(source.records) == count
