import os
import re

import cv2
import numpy as np
import pytest
from PIL import Image

from segjax import cli
from segjax.data import folder
from segjax.errors import InputError


def write(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array)).save(path, **options)
    return path


def ramp(h=6, w=9, c=None, dtype=np.uint8, start=0):
    shape = (h, w) if c is None else (h, w, c)
    return (start + np.arange(np.prod(shape)).reshape(shape)).astype(dtype)


def mask(h=6, w=9, classes=2):
    return (np.arange(h * w).reshape(h, w) % classes).astype(np.uint8)


def fill(root, n=4, sub="", classes=3, start=0):
    for i in range(n):
        write(root / sub / "images" / f"im{i}.png", ramp(start=start + i))
        write(root / sub / "masks" / f"im{i}.png", mask(classes=classes))
    return root


def open_all(tmp_path, root, split="train", **options):
    return folder.source(split, str(tmp_path / "tfds"), root=root, **options)


def test_split_folders(tmp_path):
    root = tmp_path / "set"
    fill(root, 3, "train")
    fill(root, 2, "val", start=100)
    train, val = open_all(tmp_path, root), open_all(tmp_path, root, "val")
    assert [r["name"] for r in train.records] == ["im0", "im1", "im2"]
    assert [r["name"] for r in val.records] == ["im0", "im1"]
    np.testing.assert_array_equal(val.records[1]["image"], ramp(start=101)[..., None])
    np.testing.assert_array_equal(train.records[1]["label"], mask(classes=3))
    assert train.class_names == val.class_names == ("class_0", "class_1", "class_2")


def names_of(root, tmp_path, **options):
    found = folder.inspect(root, **options)
    return {
        split: {p.image.stem for p in found.pairs if p.split == split} for split in ("train", "val")
    }


def test_hash_split_is_stable_as_files_come_and_go(tmp_path):
    root = fill(tmp_path / "set", 40)
    before = names_of(root, tmp_path)
    assert before["train"]
    assert before["val"]
    assert not before["train"] & before["val"]
    for i in range(0, 40, 2):
        (root / "images" / f"im{i}.png").unlink()
        (root / "masks" / f"im{i}.png").unlink()
    write(root / "images" / "another.png", ramp())
    write(root / "masks" / "another.png", mask(classes=3))
    after = names_of(root, tmp_path)
    for split in ("train", "val"):
        assert after[split] - {"another"} <= before[split]
    wider = names_of(root, tmp_path, val_fraction=0.5)
    assert wider["val"] >= after["val"]  # a larger share only adds


def test_hash_split_keeps_its_share():
    sides = [folder._side(f"frame_{i:05d}", 0.2) for i in range(4000)]
    assert 0.18 < sides.count("val") / 4000 < 0.22
    # sha256sum of the name begins with 4cc9a280...: 0.29995 of the range.
    assert folder._side("frame_00000", 0.299) == "train"
    assert folder._side("frame_00000", 0.3) == "val"


def labels_of(tmp_path, masks, classes=None):
    root = tmp_path / "set"
    for i, values in enumerate(masks):
        write(root / "train" / "images" / f"{i}.png", ramp(2, 3))
        write(root / "train" / "masks" / f"{i}.png", np.uint8(values).reshape(2, 3))
    if classes:
        (root / "classes.txt").write_text("\n".join(classes))
    source = open_all(tmp_path, root)
    return [r["label"].ravel().tolist() for r in source.records], source.class_names


def test_zero_and_255_with_two_classes_means_class_one(tmp_path):
    labels, names = labels_of(tmp_path, [[0, 255, 0, 0, 255, 255], [0] * 6])
    assert labels == [[0, 1, 0, 0, 1, 1], [0] * 6]
    assert names == ("background", "foreground")


def test_zero_and_255_with_two_named_classes(tmp_path):
    labels, names = labels_of(tmp_path, [[0, 255, 0, 0, 255, 255]], ["sky", "not sky"])
    assert labels == [[0, 1, 0, 0, 1, 1]]
    assert names == ("sky", "not sky")


def test_255_is_ignore_if_any_mask_of_the_set_has_another_value(tmp_path):
    labels, names = labels_of(tmp_path, [[0, 255, 0, 0, 255, 255], [0, 1, 0, 0, 0, 255]])
    assert labels[0] == [0, 255, 0, 0, 255, 255]
    assert names == ("background", "foreground")


def test_255_is_ignore_with_three_classes(tmp_path):
    labels, _ = labels_of(tmp_path, [[0, 255, 0, 0, 255, 255]], ["a", "b", "c"])
    assert labels == [[0, 255, 0, 0, 255, 255]]


def test_palette_mask_is_its_indices(tmp_path):
    root = tmp_path / "set"
    picture = Image.fromarray(mask(classes=5)).convert("P")
    picture.putpalette(list(range(15, 0, -1)))
    write(root / "train" / "images" / "a.jpg", ramp(c=3))
    (root / "train" / "masks").mkdir()
    picture.save(root / "train" / "masks" / "a.png")
    source = open_all(tmp_path, root)
    np.testing.assert_array_equal(source.records[0]["label"], mask(classes=5))
    assert len(source.class_names) == 5


def test_alpha_is_dropped_and_said(tmp_path, capfd):
    root = tmp_path / "set"
    write(root / "train" / "images" / "a.png", ramp(c=4))
    write(root / "train" / "masks" / "a.png", mask())
    np.testing.assert_array_equal(open_all(tmp_path, root).records[0]["image"], ramp(c=4)[..., :3])
    assert f"1 images in {root} have an alpha channel, which is dropped" in capfd.readouterr().err


def test_sixteen_bits_stay(tmp_path):
    root = tmp_path / "set"
    deep = (ramp(c=3).astype(np.uint16) * 250)[..., ::-1]
    write(root / "train" / "masks" / "a.png", mask())
    (root / "train" / "images").mkdir()
    cv2.imwrite(str(root / "train" / "images" / "a.png"), deep[..., ::-1])
    record = open_all(tmp_path, root).records[0]
    assert record["image"].dtype == np.uint16
    np.testing.assert_array_equal(record["image"], deep)


def test_grey_among_colour_becomes_rgb(tmp_path):
    root = tmp_path / "set"
    write(root / "train" / "images" / "a.png", ramp(c=3))
    write(root / "train" / "images" / "b.png", ramp())
    for name in "ab":
        write(root / "train" / "masks" / f"{name}.png", mask())
    records = open_all(tmp_path, root).records
    np.testing.assert_array_equal(records[0]["image"], ramp(c=3))
    np.testing.assert_array_equal(records[1]["image"], np.dstack([ramp()] * 3))


def stack(path, pages):
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = [Image.fromarray(p) for p in pages]
    pictures[0].save(path, save_all=True, append_images=pictures[1:])


def test_every_page_of_a_stack_is_an_example(tmp_path):
    root = tmp_path / "set"
    for i in range(8):
        stack(root / "images" / f"s{i}.tif", [ramp(start=k, dtype=np.uint16) for k in range(3)])
        stack(root / "masks" / f"s{i}.tif", [mask(classes=2 + k) for k in range(3)])
    train = open_all(tmp_path, root, val_fraction=0.5).records
    val = open_all(tmp_path, root, "val", val_fraction=0.5).records
    assert len(train) + len(val) == 24
    assert len(train) % 3 == len(val) % 3 == 0  # a stack stays on one side
    assert train[1]["name"].endswith("_p0001")
    np.testing.assert_array_equal(train[2]["image"], ramp(start=2, dtype=np.uint16)[..., None])
    np.testing.assert_array_equal(train[2]["label"], mask(classes=4))


def spoilt(root):
    """A folder with one file of every fault beside two good pairs in each split."""
    for split in ("train", "val"):
        for name in ("fine1", "fine2"):
            write(root / split / "images" / f"{name}.png", ramp())
            write(root / split / "masks" / f"{name}.png", mask(classes=11))
    t = root / "train"
    for name in ("lonely", "size", "label", "cut", "cutmask", "deep", "pages", "colour"):
        write(t / "images" / f"{name}.png", ramp())
        write(t / "masks" / f"{name}.png", mask(classes=11))
    (t / "masks" / "lonely.png").unlink()
    write(t / "masks" / "size.png", mask(6, 8))
    wrong = mask(classes=11)
    wrong[0, :3] = 11, 255, 37
    write(t / "masks" / "label.png", wrong)
    for path in (t / "images" / "cut.png", t / "masks" / "cutmask.png"):
        path.write_bytes(path.read_bytes()[:40])
    write(t / "images" / "deep.png", ramp(dtype=np.uint16))
    stack(t / "masks" / "pages.tif", [mask(), mask()])
    (t / "masks" / "pages.png").unlink()
    write(t / "masks" / "colour.png", ramp(c=3))
    write(t / "masks" / "orphan.png", mask())
    write(t / "images" / "fine1.bmp", ramp())
    (t / "images" / "notes.txt").write_text("x")
    (t / "images" / "sub").mkdir()
    (t / "images" / ".DS_Store").write_text("x")
    (t / "images" / "Thumbs.db").write_text("x")
    (root / "classes.txt").write_text("\n".join("abcdefghijk"))
    return root


FAULTS = {
    "train/images/lonely.png": "missing mask",
    "train/masks/size.png": "is 8x6 pixels, its image is 9x6",
    "train/masks/label.png": "label 11, 37 of 11 classes",
    "train/images/cut.png": "damaged",
    "train/masks/cutmask.png": "damaged",
    "train/images/deep.png": "not uint8 as most images",
    "train/masks/pages.tif": "has 2 pages, its image has 1",
    "train/masks/colour.png": "painted in colours",
    "train/masks/orphan.png": "a mask without an image",
    "train/images/notes.txt": "not one of .png",
    "train/images/sub": "a folder",
}


def test_all_bad_files_are_reported_at_once(tmp_path):
    root = spoilt(tmp_path / "set")
    with pytest.raises(InputError) as error:
        open_all(tmp_path, root)
    lines = dict(line.strip().split(": ", 1) for line in str(error.value).splitlines()[1:])
    # Of fine1.bmp and fine1.png, one cannot be used: they would share a mask.
    assert lines.pop("train/images/fine1.png") == "same name as fine1.bmp"
    assert lines.keys() == FAULTS.keys()
    for path, reason in FAULTS.items():
        assert reason in lines[path]
    assert str(error.value).startswith(f"12 files in {root} cannot be used; mend or remove them")
    assert not list((tmp_path / "tfds").glob("mask_folder/*/1.0.0"))


def test_skip_bad_goes_on_and_prints_them(tmp_path, capfd):
    root = spoilt(tmp_path / "set")
    source = open_all(tmp_path, root, skip_bad=True)
    assert [r["name"] for r in source.records] == ["fine1", "fine2"]
    err = capfd.readouterr().err
    assert "12 files in" in err
    for path in FAULTS:
        assert f"  {path}: " in err


def test_only_bad_files(tmp_path):
    root = fill(tmp_path / "set", 2)
    for path in (root / "masks").iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"2 files in .* cannot be used"):
        open_all(tmp_path, root, skip_bad=True)


def test_labels_beyond_255_without_class_names(tmp_path):
    root = fill(tmp_path / "set", 1, "train")
    write(root / "train" / "masks" / "im0.png", mask().astype(np.uint16) * 300)
    with pytest.raises(InputError, match=r"im0.png: label 300 of 2 classes"):
        open_all(tmp_path, root)


def one_sentence(error):
    text = str(error.value)
    return "\n" not in text and len(re.findall(r"\.( |$)", text)) == 1


def test_missing_empty_and_strange_folders(tmp_path):
    with pytest.raises(InputError, match="nowhere is not a folder") as error:
        open_all(tmp_path, tmp_path / "nowhere")
    assert one_sentence(error)
    root = tmp_path / "set"
    root.mkdir()
    with pytest.raises(InputError, match=r"must hold either .* it holds neither") as error:
        open_all(tmp_path, root)
    assert one_sentence(error)
    (root / "images").mkdir()
    with pytest.raises(InputError, match="masks is not a folder") as error:
        open_all(tmp_path, root)
    assert one_sentence(error)
    (root / "masks").mkdir()
    with pytest.raises(InputError, match="holds no images") as error:
        open_all(tmp_path, root)
    assert one_sentence(error)
    fill(root, 1, "train")
    with pytest.raises(InputError, match="it holds both") as error:
        open_all(tmp_path, root)
    assert one_sentence(error)


@pytest.mark.parametrize("text", ["one", "a\nb\na", "\n".join(map(str, range(256)))])
def test_bad_class_names(tmp_path, text):
    root = fill(tmp_path / "set", 1, "train")
    (root / "classes.txt").write_text(text)
    with pytest.raises(InputError, match=r"classes\.txt must hold"):
        open_all(tmp_path, root)


def test_bad_fraction(tmp_path):
    with pytest.raises(InputError, match="val_fraction"):
        open_all(tmp_path, fill(tmp_path / "set", 1), val_fraction=1.0)


def test_split_that_got_no_files(tmp_path):
    root = fill(tmp_path / "set", 1, "train")
    with pytest.raises(InputError, match="has no split 'val'"):
        open_all(tmp_path, root, "val")


def snapshot(root):
    return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in root.rglob("*")}


def test_prepared_once_and_again_when_a_file_changes(tmp_path, capfd):
    root = fill(tmp_path / "set", 3, "train")
    path = root / "train" / "masks" / "im1.png"
    path.unlink()
    path = write(path.with_suffix(".bmp"), mask(classes=3))
    before = snapshot(root)
    open_all(tmp_path, root)
    assert snapshot(root) == before  # nothing is written into the user's folder
    assert "Preparing" in capfd.readouterr().err
    again = open_all(tmp_path, root)
    assert "Preparing" not in capfd.readouterr().err
    assert again.class_names == ("class_0", "class_1", "class_2")

    write(path, np.full((6, 9), 1, np.uint8))  # as many bytes as before
    time, size = before[path]
    assert path.stat().st_size == size
    os.utime(path, ns=(time + 10**9, time + 10**9))
    np.testing.assert_array_equal(open_all(tmp_path, root).records[1]["label"], 1)
    (root / "classes.txt").write_text("x\ny\nz\n")
    assert open_all(tmp_path, root).class_names == ("x", "y", "z")
    (root / "train" / "images" / "im0.png").unlink()
    (root / "train" / "masks" / "im0.png").unlink()
    assert len(open_all(tmp_path, root).records) == 2


def test_colour_set_is_read_again_as_colour(tmp_path):
    root = tmp_path / "set"
    write(root / "train" / "images" / "a.png", ramp(c=3))
    write(root / "train" / "masks" / "a.png", mask())
    open_all(tmp_path, root)
    np.testing.assert_array_equal(open_all(tmp_path, root).records[0]["image"], ramp(c=3))


def test_the_largest_images_and_what_tells_other_data(tmp_path):
    def save(name, height, width):
        for kind in ("images", "masks"):
            (tmp_path / "set" / "val" / kind).mkdir(parents=True, exist_ok=True)
            (tmp_path / "set" / "train" / kind).mkdir(parents=True, exist_ok=True)
            array = np.eye(height, width, dtype=np.uint8)
            for split in ("val", "train"):
                Image.fromarray(array).save(tmp_path / "set" / split / kind / f"{name}.png")

    for name, height, width in (("a", 20, 30), ("b", 41, 8), ("c", 9, 52), ("d", 40, 51)):
        save(name, height, width)
    config = {"dataset": "folder", "root": str(tmp_path / "set"), "data_dir": str(tmp_path)}
    options = {"eval_size": (41, 52), "crop": (16, 16), "batch_size": 2}
    module, values = cli.load_config("configs/naive_fcn.py", config | options)
    records = module.build(values).sources["val"]().records
    assert records.largest == [1, 2]
    before = records.fingerprint()
    assert before["examples"] == 4

    for height, width, name in ((40, 52, "b is 41 x 8"), (41, 51, "c is 9 x 52")):
        with values.unlocked():
            values.eval_size = (height, width)
        with pytest.raises(InputError, match=f"The image {name}, larger than the evaluation size"):
            module.build(values).train(0)  # before any training

    large = np.eye(42, 8, dtype=np.uint8)
    for kind in ("images", "masks"):
        Image.fromarray(large).save(tmp_path / "set" / "train" / kind / "z.png")
    with values.unlocked():
        values.eval_size = (41, 52)
    with pytest.raises(InputError, match="The image z is 42 x 8, larger than the evaluation size"):
        module.build(values).train(0)  # a training image, before it is drawn
    for kind in ("images", "masks"):
        (tmp_path / "set" / "train" / kind / "z.png").unlink()

    os.utime(tmp_path / "set" / "val" / "images" / "a.png")  # the same, though touched
    assert module.build(values).sources["val"]().records.fingerprint() == before
    for kind in ("images", "masks"):
        folder = tmp_path / "set" / "val" / kind
        (folder / "a.png").rename(folder / "e.png")
    renamed = module.build(values).sources["val"]().records.fingerprint()
    assert renamed["names"] != before["names"]
