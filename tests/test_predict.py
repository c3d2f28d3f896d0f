import json
import os

import numpy as np
import pytest
from miniature import sources, train_once
from ml_collections import ConfigDict
from PIL import Image

from segjax import export, predict
from segjax.errors import InputError

SMALL = {"tile": 32, "margin": 8}
GENERATOR = np.random.default_rng(0)
GREY = GENERATOR.integers(0, 256, (40, 50), np.uint8)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    return train_once(tmp_path_factory.getbasetemp() / "miniature")


@pytest.fixture(scope="session")
def network(trained):
    return predict.load(trained)[0]


def save(path, array, **options):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(array).save(path, **options)


def label(folder, name):
    with Image.open(folder / f"{name}_label.png") as picture:
        return np.asarray(picture)


def test_predictions_have_the_figures_of_the_evaluation(trained, tmp_path):
    """The intersection over union of what is written is the one that the run logged."""
    source = sources(ConfigDict({"data_dir": str(trained.parent / "data")}))["val"]
    records = [source.records[i] for i in range(4)]
    for record in records:
        save(tmp_path / "in" / f"{record['name']}.png", record["image"][..., 0])
    assert predict.run(trained, str(tmp_path / "in"), tmp_path / "out", tile=32, margin=0) == 0
    truth = np.stack([record["label"] for record in records])
    found = np.stack([label(tmp_path / "out", record["name"]) for record in records])
    iou = np.sum((truth == 1) & (found == 1)) / np.sum((truth == 1) | (found == 1))
    logged = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    best = max((x for x in logged if x["split"] == "val"), key=lambda x: x["miou"])
    assert iou == pytest.approx(best["iou/cell"], abs=2e-3)


def test_images_of_every_kind_and_broken_ones_among_them(trained, tmp_path, capsys):
    images, out = tmp_path / "in", tmp_path / "out"
    save(images / "grey.png", GREY)
    save(images / "rgb.png", np.repeat(GREY[..., None], 3, -1))
    save(images / "deep.png", GREY.astype(np.uint16) * 257)
    save(images / "pixel.png", GREY[:1, :1])
    save(images / "tiny.PNG", GREY[:7, :5])
    pages = [Image.fromarray(page) for page in (GREY[::-1].copy(), GREY[:20, :33])]
    save(images / "stack.tif", GREY, save_all=True, append_images=pages)
    whole = (images / "grey.png").read_bytes()
    (images / "cut.png").write_bytes(whole[: len(whole) // 2])
    (images / "empty.jpg").touch()
    (images / "notes.txt").write_text("not looked at")

    assert predict.run(trained, str(images), out, **SMALL) == 1
    printed = capsys.readouterr()
    assert "Segmented 6 of 8 files" in printed.out
    for name in ("cut.png", "empty.jpg"):
        assert f"Skipped: {images / name}" in printed.err
    written = {path.name.removesuffix("_label.png") for path in out.glob("*_label.png")}
    pages = {f"stack_{i:04d}" for i in range(3)}
    assert written == {"grey", "rgb", "deep", "pixel", "tiny"} | pages

    grey = label(out, "grey")
    assert grey.shape == (40, 50)
    np.testing.assert_array_equal(grey, label(out, "rgb"))
    np.testing.assert_array_equal(grey, label(out, "deep"))
    np.testing.assert_array_equal(grey, label(out, "stack_0000"))
    assert label(out, "pixel").shape == (1, 1)
    assert label(out, "tiny").shape == (7, 5)
    assert label(out, "stack_0002").shape == (20, 33)
    with Image.open(out / "grey_label.png") as picture:
        assert picture.mode == "P"
        assert picture.getpalette()[:6] == [0, 0, 0, 90, 200, 120]
    with Image.open(out / "deep_overlay.png") as picture:
        assert (picture.mode, picture.size) == ("RGB", (50, 40))

    with pytest.raises(InputError, match=r"already holds results for 6 .*--overwrite"):
        predict.run(trained, str(images), out, **SMALL)
    options = {**SMALL, "overwrite": True, "probabilities": True}
    assert predict.run(trained, str(images / "grey.png"), out, **options) == 0
    prob = np.load(out / "grey_prob.npy")
    assert prob.shape == (40, 50, 2)
    assert prob.dtype == np.float32
    np.testing.assert_allclose(prob.sum(-1), 1, atol=1e-5)
    np.testing.assert_array_equal(prob.argmax(-1), label(out, "grey"))


def test_tiles_leave_no_seams(network):
    """With more context than the 18 rows that a pixel sees, tiles are as good as the whole."""
    image = GREY[..., None]
    whole = predict.segment(network, image, 1, tile=64, margin=16)
    tiled = predict.segment(network, image, 1, tile=16, margin=16)
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


def test_grey_images_become_colour_for_a_network_that_wants_it():
    def network(tiles, size):
        assert tiles.shape[-1] == 3
        return tiles

    prob = predict.segment(network, GREY[..., None], 3, tile=64, margin=0)
    np.testing.assert_allclose(prob, np.repeat(GREY[..., None] / 255, 3, -1), atol=1e-6)


def test_find_images(tmp_path):
    for name in ("b.png", "a.TIF", "notes.txt", "[1].png"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    found = [path.name for path in predict.find_images(str(tmp_path))]
    assert found == ["[1].png", "a.TIF", "b.png"]
    assert [p.name for p in predict.find_images(f"{tmp_path}/*.png")] == ["[1].png", "b.png"]
    assert [p.name for p in predict.find_images(f"{tmp_path}/[1].png")] == ["[1].png"]
    for pattern in ("*.gif", "none.png", "folder.png", "no/such/folder"):
        with pytest.raises(InputError, match=f"{pattern.split('.')[-1]}.*quoted pattern"):
            predict.find_images(f"{tmp_path}/{pattern}")


def test_what_is_no_file_is_found_and_left_to_the_reader(tmp_path):
    (tmp_path / "a.png").symlink_to("nowhere")
    (tmp_path / "b.png").symlink_to("b.png")
    os.mkfifo(tmp_path / "c.png")
    (tmp_path / "d").mkdir()
    (tmp_path / "e.png").symlink_to("d")
    for pattern in (tmp_path, tmp_path / "*.png"):
        assert [p.name for p in predict.find_images(str(pattern))] == ["a.png", "b.png", "c.png"]
    for name in "abc":
        path = tmp_path / f"{name}.png"
        assert predict.find_images(str(path)) == [path]


def test_odd_files_are_named_and_the_others_segmented(trained, tmp_path, capsys):
    images = tmp_path / "in"
    odd = os.fsdecode(b"\xff")
    save(images / "fine.png", GREY)
    save(images / f"{odd}.png", GREY)
    exif = Image.Exif()
    exif[0x0112] = 6
    save(images / "turned.tif", GREY, exif=exif)
    (images / "gone.png").symlink_to("nowhere")
    os.mkfifo(images / "pipe.png")
    save(images / "large.png", np.tile(GREY, (3, 3)))
    options = {"tile": 32, "margin": 8, "max_pixels": 1000}
    assert predict.run(trained, str(images), tmp_path / f"out{odd}", **options) == 1
    printed = capsys.readouterr()
    assert f"Segmented 3 of 6 files into {tmp_path}/out\\udcff." in printed.out
    for name, reason in (
        ("gone", "a link to a file that is not there"),
        ("pipe", "a named pipe, not a file"),
        ("large", "unfolds to 0.0 MiB, more than the 0.0 MiB of max_pixels=1000; raise that"),
    ):
        assert f"Skipped: {images / name}.png: {reason}" in printed.err
    assert f"{images / 'turned.tif'}: its orientation tag is not applied" in printed.err
    assert printed.err.count("orientation") == 1
    assert label(tmp_path / f"out{odd}", "turned").shape == (40, 50)
    assert label(tmp_path / f"out{odd}", odd).shape == (40, 50)


def test_no_two_images_share_a_name(tmp_path):
    def names(*files):
        return predict.output_names([tmp_path.relative_to("/") / file for file in files])

    assert names("a.png", "b.c.png") == ["a", "b.c"]
    assert names("a.png", "a.jpg", "b.png") == ["a_png", "a_jpg", "b"]
    assert len({*names("x/a.png", "y/a.png", "x/a_png.tif")}) == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"path": "none"}, "none is not the workdir of a run"),
        ({"step": 77}, "no checkpoint of step 77 in .*, but of 2, 4"),
        ({"output": "file/out"}, "file/out cannot be written .*another --output"),
        ({"pattern": "*.nope"}, r"no file at .*\*\.nope"),
    ],
)
def test_bad_requests_get_one_sentence(trained, tmp_path, options, words):
    (tmp_path / "file").touch()
    save(tmp_path / "a.png", GREY)
    paths = {"pattern": "a.png", "output": "out"} | options
    given = {name: tmp_path / x if name != "step" else x for name, x in paths.items()}
    given = {"path": trained, **given, "pattern": str(given["pattern"])}
    with pytest.raises(InputError, match=words):
        predict.run(**given, **SMALL)


def copy_config(trained, path, **changes):
    saved = json.loads((trained / "config.json").read_text()) | changes
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(saved))
    return path


def test_runs_that_cannot_predict(trained, tmp_path):
    with pytest.raises(InputError, match=r"no checkpoint in .*train first"):
        predict.load(copy_config(trained, tmp_path / "empty"))
    (tmp_path / "old.py").write_text(
        "from ml_collections import ConfigDict\n"
        "def build(config): ...\ndef get_config(): return ConfigDict()\n"
    )
    card = {"class_names": [], "palette": [], "channels": 3}
    with pytest.raises(InputError, match=r"in .*drawing .* has no classes: it draws images"):
        predict.load(copy_config(trained, tmp_path / "drawing", card=card))
    source = str(tmp_path / "old.py")
    with pytest.raises(InputError, match=r"old.py lacks task\(\)"):
        predict.load(copy_config(trained, tmp_path / "old", config_file=source), None, True)
    with pytest.raises(InputError, match=r"no config 'configs/gone.py'"):
        predict.load(copy_config(trained, tmp_path / "gone", config_file="configs/gone.py"))


def test_the_saved_values_are_those_of_the_prediction(trained, tmp_path):
    spy = tmp_path / "spy.py"
    every = {"seed": 0, "batch_size": 1, "best": "", "log_every": 1, "train": {"steps": 1}}
    spy.write_text(
        f"VALUES = {every}\n"
        "from ml_collections import ConfigDict\n"
        "from segjax.errors import InputError\n"
        "def get_config(): return ConfigDict({'width': 1, 'size': (2, 2), **VALUES})\n"
        "def build(config): ...\n"
        "def task(config, card): ...\n"
        "def model(config, card): raise InputError(f'{config.width} {config.size} {card}')\n"
    )
    values = {"width": 7, "size": [3, 4], "best": ""}
    card = {"class_names": ["ab"], "palette": [[1, 2, 3]], "channels": 1}
    copy_config(trained, tmp_path, config_file=str(spy), values=values, card=card)
    (tmp_path / "checkpoints").symlink_to(trained / "checkpoints")
    with pytest.raises(InputError, match=r"^7 \(3, 4\) {'class_names': \['ab'\], "):
        predict.load(tmp_path, trust_config=True)
    other = {"width": "wide", "size": [3, 4], "best": ""}
    copy_config(trained, tmp_path, config_file=str(spy), values=other, card=card)
    with pytest.raises(
        InputError, match=r"values in .*config.json do not fit the config .*spy.py: "
    ):
        predict.load(tmp_path, trust_config=True)


@pytest.mark.parametrize("program", [predict, export])
@pytest.mark.parametrize("place", ["elsewhere", "workdir", "link"])
def test_code_that_came_with_a_workdir_is_not_run(trained, tmp_path, monkeypatch, program, place):
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    path = copy_config(trained, here.joinpath("runs").mkdir(parents=True) or here / "runs" / "x")
    elsewhere.mkdir()
    code = {"elsewhere": elsewhere, "workdir": path, "link": elsewhere}[place] / "config.py"
    code.write_text("raise SystemExit('run')\n")
    if place == "link":
        (here / "config.py").symlink_to(code)
    name = str(here / "config.py") if place == "link" else str(code)
    words = "came with it" if place == "workdir" else "is from elsewhere"
    monkeypatch.chdir(here)
    for config_file in (name, f"{name}:argument"):
        copy_config(trained, path, config_file=config_file)
        with pytest.raises(InputError, match=f"Python code that {words}: .* give --trust_config"):
            program.load(path)
        with pytest.raises(SystemExit, match="run"):
            program.load(path, None, True)


@pytest.mark.parametrize("program", [predict, export])
def test_the_checkouts_config_goes_before_one_that_lies_in_the_current_folder(
    trained, tmp_path, monkeypatch, program
):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "miniature.py").write_text("raise SystemExit('run')\n")
    monkeypatch.chdir(tmp_path)
    program.load(trained)
    copy_config(trained, tmp_path / "run", config_file="mine.py")
    (tmp_path / "mine.py").write_text("raise SystemExit('mine')\n")
    with pytest.raises(SystemExit, match="mine"):  # the user's own, in the current folder
        program.load(tmp_path / "run")


DAMAGES = {
    "empty": b"",
    "cut off": b'{"config_file": "configs/un',
    "not UTF-8": b"\xff\xfe\x00",
    "a list": b"[]",
    "a number for the file": {"config_file": 3},
    "a list of values": {"values": []},
    "a best that is a number": {"values": {"best": 0}},
    "a card that is null": {"card": None},
    "class names of numbers": {"card": {"class_names": [1, 2], "palette": [], "channels": 1}},
    "a palette of text": {"card": {"class_names": ["a"], "palette": ["red"], "channels": 1}},
    "a short palette": {"card": {"class_names": ["a", "b"], "palette": [[1, 2, 3]], "channels": 1}},
    "channels of text": {"card": {"class_names": [], "palette": [], "channels": "three"}},
    "a card without colours": {"card": {"class_names": ["a"], "channels": 1}},
    "a card without channels": {"card": {"class_names": ["a"], "palette": [[1, 2, 3]]}},
    "a file without a name": {"config_file": ""},
    "a folder for the file": {"config_file": "."},
    "a null in the file's name": {"config_file": "a\0.py"},
    "data that are a number": {"data": 5},
    "a folder": None,
}


@pytest.mark.parametrize("program", [predict, export])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_config_is_one_sentence(trained, tmp_path, program, damage):
    found = DAMAGES[damage]
    if isinstance(found, dict):
        copy_config(trained, tmp_path, **found)
    elif found is None:
        (tmp_path / "config.json").mkdir()
    else:
        (tmp_path / "config.json").write_bytes(found)
    with pytest.raises(InputError, match=str(tmp_path)):
        program.load(tmp_path)


def test_a_full_disk_stops_with_a_sentence(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(predict.np, "save", full)
    prob = np.zeros((40, 50, 2), np.float32)
    with pytest.raises(InputError, match=r"results of cat cannot be written: .*No space left"):
        predict.write(tmp_path, "cat", GREY[..., None], prob, np.zeros((2, 3), np.uint8), True)


@pytest.mark.parametrize("scale", [1, 0.5, 2.0])
def test_the_network_sees_the_image_at_the_scale_it_was_trained_at(scale):
    # Two classes, left and right of column 12; the network sees brightness, at any scale.
    image = np.zeros((20, 30, 3), np.uint8)
    image[:, 12:] = 255
    seen = []

    def network(tiles, size):
        seen.append(tiles.shape)
        top, left = (tiles.shape[1] - size[0]) // 2, (tiles.shape[2] - size[1]) // 2
        bright = tiles[:, top : top + size[0], left : left + size[1], 0]
        return np.stack([1 - bright, bright], -1)

    prob = predict.segment(network, image, 3, tile=8, margin=2, scale=scale)
    assert prob.shape == (20, 30, 2)
    np.testing.assert_array_equal(prob.argmax(-1)[10], np.arange(30) >= 12)
    tiles = sum(shape[0] for shape in seen)
    wanted = {1: 3 * 4, 0.5: 2 * 2, 2.0: 5 * 8}[scale]  # of 20x30, 10x15 and 40x60 pixels
    assert wanted <= tiles <= wanted + 8  # the last batch of tiles is filled up
