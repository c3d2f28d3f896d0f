import json
import os

import jax
import nibabel
import numpy as np
import pytest
from every_config.test_configs import make_photographs
from miniature import source, train_once
from ml_collections import ConfigDict
from PIL import Image, ImageSequence

from segjax import cli, main, predict, runs, workdir
from segjax.data import nifti
from segjax.errors import InputError

SMALL = {"tile": 32, "margin": 8}
GENERATOR = np.random.default_rng(0)
GREY = GENERATOR.integers(0, 256, (40, 50), np.uint8)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    return train_once(tmp_path_factory.getbasetemp() / "miniature")


def save(path, array, **options):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(array).save(path, **options)


def label(folder, name):
    with Image.open(folder / f"{name}_label.png") as picture:
        return np.asarray(picture)


def test_predictions_have_the_figures_of_the_evaluation(trained, tmp_path):
    """The intersection over union of what is written is the one that the run logged."""
    found = source(ConfigDict({"data_dir": str(trained.parent / "data")}), "val")
    records = [found.records[i] for i in range(4)]
    for record in records:
        save(tmp_path / "in" / f"{record['name']}.png", record["image"][..., 0])
    assert predict.run(trained, str(tmp_path / "in"), tmp_path / "out") == 0
    truth = np.stack([record["label"] for record in records])
    found = np.stack([label(tmp_path / "out", record["name"]) for record in records])
    iou = np.sum((truth == 1) & (found == 1)) / np.sum((truth == 1) | (found == 1))
    logged = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    best = max((x for x in logged if x["split"] == "val"), key=lambda x: x["miou"])
    assert iou == pytest.approx(best["iou/cell"], abs=1e-6)


def test_images_of_every_kind_and_broken_ones_among_them(trained, tmp_path, capsys):
    images, out = tmp_path / "in", tmp_path / "out"
    save(images / "grey.png", GREY)
    with_palette = Image.fromarray(GREY)
    with_palette.putpalette(np.repeat(np.arange(256), 3).tolist())
    with_palette.save(images / "palette.png")
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
    assert written == {"grey", "palette", "deep", "pixel", "tiny"} | pages

    grey = label(out, "grey")
    assert grey.shape == (40, 50)
    np.testing.assert_array_equal(grey, label(out, "palette"))
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


def test_tiles_leave_no_seams(trained):
    """With more context than the 18 rows that a pixel sees, tiles are as good as the whole."""
    run = runs.load(trained)
    whole = predict.of_run(run, tile=64, margin=16)({"image": GREY[..., None]})
    tiled = predict.of_run(run, tile=16, margin=16)({"image": GREY[..., None]})
    assert whole["prob"].shape == (40, 50, 2)
    np.testing.assert_allclose(tiled["prob"], whole["prob"], atol=1e-5)


def test_what_evaluation_sees_whole_is_seen_whole(trained):
    """However small the tiles, and filled up as evaluation does it."""
    run = runs.load(trained)
    record = {"image": GREY[:32, :29, None], "label": np.zeros((32, 29), np.uint8)}
    task = run.experiment.task
    example = task.preprocess(record, GENERATOR, False)
    batch = {name: x[None] for name, x in example.items()} | {"valid": np.ones(1, bool)}
    want = jax.jit(task.predict)(run.variables, batch)["prob"][0, :32, :29]
    found = predict.of_run(run, tile=8, margin=0)(record)
    np.testing.assert_allclose(found["prob"], want, atol=1e-6)
    np.testing.assert_array_equal(found["label"], found["prob"].argmax(-1))


def recipe_run(apply, channels, classes, **values):
    """A run of a config that ships, with this in the place of its network."""
    facts = {"class_names": list("abc"[:classes]), "channels": channels}
    module, config = cli.load_config("configs/unet.py", {"dataset": "folder", **values})
    experiment = cli.build(module, config, facts)
    predictor = experiment.predictor._replace(apply=apply)
    experiment = experiment._replace(predictor=predictor)
    return runs.Run("here", "configs/unet.py", config, experiment, {}, 0)


@pytest.mark.parametrize("seen", [1, 3])
def test_images_become_grey_or_colour_as_the_network_wants_them(seen):
    def shown(variables, images, margin):
        assert images.shape[-1] == seen
        return {"prob": images / np.float32(255)}

    run = recipe_run(shown, seen, seen, eval_size=(16, 16))
    colour = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], -1)
    luma = (colour @ np.array([0.299, 0.587, 0.114])).astype(int)[..., None]  # Rec. 601
    for image in (GREY[..., None], colour):
        prob = predict.of_run(run, tile=64, margin=0)({"image": image})["prob"]
        want = luma if image.shape[-1] > seen else np.broadcast_to(image, (40, 50, seen))
        np.testing.assert_allclose(prob, want / 255, atol=1.01 / 255 if want is luma else 1e-6)


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
        runs.load(copy_config(trained, tmp_path / "empty"))
    run = runs.load(trained)
    run = run._replace(experiment=run.experiment._replace(predictor=None))
    with pytest.raises(InputError, match=f"config of the run in {trained} says no way to predict"):
        predict.of_run(run)
    (tmp_path / "old.py").write_text("def get_config(): ...\ndef experiment(config): ...\n")
    old = copy_config(trained, tmp_path / "old", config_file=str(tmp_path / "old.py"))
    with pytest.raises(InputError, match=r"old.py lacks build\(\)"):
        runs.load(old, trust_config=True)
    with pytest.raises(InputError, match=r"no config 'configs/gone.py'"):
        runs.load(copy_config(trained, tmp_path / "gone", config_file="configs/gone.py"))


def test_the_saved_values_are_those_of_the_prediction(trained, tmp_path):
    spy = tmp_path / "spy.py"
    every = {"seed": 0, "batch_size": 1, "best": "", "log_every": 1, "train": {"steps": 1}}
    spy.write_text(
        f"VALUES = {every}\n"
        "from ml_collections import ConfigDict\n"
        "from segjax.errors import InputError\n"
        "def get_config(): return ConfigDict({'width': 1, 'size': (2, 2), **VALUES})\n"
        "def build(config, facts):\n"
        "    raise InputError(f'{config.width} {config.size} {facts}')\n"
    )
    values = {"width": 7, "size": [3, 4], "best": ""}
    facts = {"class_names": ["ab"], "palette": [[1, 2, 3]], "channels": 1}
    copy_config(trained, tmp_path, config_file=str(spy), values=values, facts=facts)
    (tmp_path / "checkpoints").symlink_to(trained / "checkpoints")
    with pytest.raises(InputError, match=r"^7 \(3, 4\) {'class_names': \['ab'\], "):
        runs.load(tmp_path, trust_config=True)
    other = {"width": "wide", "size": [3, 4], "best": ""}
    copy_config(trained, tmp_path, config_file=str(spy), values=other, facts=facts)
    with pytest.raises(
        InputError, match=r"values in .*config.json do not fit the config .*spy.py: "
    ):
        runs.load(tmp_path, trust_config=True)


@pytest.mark.parametrize("place", ["elsewhere", "workdir", "link"])
def test_code_that_came_with_a_workdir_is_not_run(trained, tmp_path, monkeypatch, place):
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
            runs.load(path)
        with pytest.raises(SystemExit, match="run"):
            runs.load(path, trust_config=True)


def test_the_checkouts_config_goes_before_one_that_lies_in_the_current_folder(
    trained, tmp_path, monkeypatch
):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "miniature.py").write_text("raise SystemExit('run')\n")
    monkeypatch.chdir(tmp_path)
    runs.load(trained)
    copy_config(trained, tmp_path / "run", config_file="mine.py")
    (tmp_path / "mine.py").write_text("raise SystemExit('mine')\n")
    with pytest.raises(SystemExit, match="mine"):  # the user's own, in the current folder
        runs.load(tmp_path / "run")


DAMAGES = {
    "empty": b"",
    "cut off": b'{"config_file": "configs/un',
    "not UTF-8": b"\xff\xfe\x00",
    "a list": b"[]",
    "a number for the file": {"config_file": 3},
    "a list of values": {"values": []},
    "a best that is a number": {"values": {"best": 0}},
    "facts that are null": {"facts": None},
    "class names of numbers": {"facts": {"class_names": [1, 2], "palette": [], "channels": 1}},
    "a palette of text": {"facts": {"class_names": ["a"], "palette": ["red"], "channels": 1}},
    "a short palette": {
        "facts": {"class_names": ["a", "b"], "palette": [[1, 2, 3]], "channels": 1}
    },
    "channels of text": {"facts": {"class_names": [], "palette": [], "channels": "three"}},
    "a best of a number": {"facts": {"channels": 1, "best": 5}},
    "an input without std": {"facts": {"channels": 1, "input": {"mean": 0.5}}},
    "a mean of text": {"facts": {"channels": 1, "input": {"mean": "a", "std": 1, "order": None}}},
    "an eval_size of text": {"facts": {"channels": 1, "eval_size": "abc"}},
    "four dimensions": {"facts": {"channels": 1, "dimensions": 4}},
    "a shrink of text": {"facts": {"channels": 1, "shrink": "yes"}},
    "a scale of text": {"facts": {"class_names": [], "channels": 1, "scale": "half"}},
    "facts without channels": {"facts": {"class_names": ["a"], "palette": [[1, 2, 3]]}},
    "a file without a name": {"config_file": ""},
    "a folder for the file": {"config_file": "."},
    "a null in the file's name": {"config_file": "a\0.py"},
    "data that are a number": {"data": 5},
    "a folder": None,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_config_is_one_sentence(trained, tmp_path, damage):
    found = DAMAGES[damage]
    if isinstance(found, dict):
        copy_config(trained, tmp_path, **found)
    elif found is None:
        (tmp_path / "config.json").mkdir()
    else:
        (tmp_path / "config.json").write_bytes(found)
    wrong = "is damaged|is not valid JSON|is not the workdir|cannot be read"
    with pytest.raises(InputError, match=f"{tmp_path}.* ({wrong})"):
        runs.load(tmp_path)


def test_a_full_disk_stops_with_a_sentence(trained, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    run = runs.load(trained)
    results = predict.of_run(run, **SMALL)({"image": GREY[..., None]})
    monkeypatch.setattr(predict.np, "save", full)
    with pytest.raises(InputError, match=r"results of cat cannot be written: .*No space left"):
        predict.write(run.experiment, results, tmp_path / "cat", True)


@pytest.mark.parametrize("scale", [1.0, 0.5, 2.0])
def test_the_network_sees_the_image_at_the_scale_it_was_trained_at(monkeypatch, scale):
    # Two classes, left and right of column 12; the network sees brightness, at any scale.
    image = np.zeros((20, 30, 3), np.uint8)
    image[:, 12:] = 255
    seen = []

    def network(variables, images, margin):
        bright = images[:, margin:-margin, margin:-margin, 0] / np.float32(255)
        return {"prob": jax.numpy.stack([1 - bright, bright], -1)}

    def noting(apply, image, *arguments):
        seen.append(image.shape)
        return overlap_tile(apply, image, *arguments)

    overlap_tile = predict.overlap_tile
    monkeypatch.setattr(predict, "overlap_tile", noting)
    run = recipe_run(network, 3, 2, eval_size=(8, 8), scale=scale)
    found = predict.of_run(run, tile=8, margin=2)({"image": image})
    assert seen == [(20 * scale, 30 * scale, 3)]
    assert found["prob"].shape == (20, 30, 2)
    np.testing.assert_array_equal(found["label"][10], np.arange(30) >= 12)


def train_config(name, path, **values):
    """The workdir of a run of a config that ships, of so many images as there are devices."""
    every = {"batch_size": 8, "train.steps": 1, "train.eval_every": 1, "model.width": 2}
    every["data_dir"] = str(path / "data")
    _, config = cli.load_config(name, {**every, **values})
    assert main.run(name, config, path / "run") == 0
    return path / "run"


def test_a_run_that_draws_images(tmp_path):
    for split in ("train", "val"):
        make_photographs(tmp_path / "photographs" / split)
    sizes = {"side": 36, "crop": (32, 32), "eval_size": (36, 48)}
    root = {"root": str(tmp_path / "photographs")}
    path = train_config("configs/colourisation.py", tmp_path, **sizes, **root)
    images, out = tmp_path / "in", tmp_path / "out"
    colour = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], -1)
    save(images / "small.png", colour[:33, :44])  # seen as it is
    save(images / "grey.png", GREY)  # shrunk to 36 rows
    save(images / "wide.png", np.tile(colour, (1, 3, 1)))  # by tiles
    assert predict.run(path, str(images), out, **SMALL) == 0
    assert {p.name for p in out.iterdir()} == {f"{x}_image.png" for x in ("small", "grey", "wide")}
    drawn = {p.name.removesuffix("_image.png"): np.asarray(Image.open(p)) for p in out.iterdir()}
    assert drawn["small"].shape == (33, 44, 3)
    assert drawn["grey"].shape == (40, 50, 3)
    assert drawn["wide"].shape == (40, 150, 3)

    # What evaluation sees of the same photograph.
    run = runs.load(path)
    task = run.experiment.task
    example = task.preprocess({"image": colour[:33, :44]}, GENERATOR, False)
    batch = {name: x[None] for name, x in example.items()} | {"valid": np.ones(1, bool)}
    want = jax.jit(task.predict)(run.variables, batch)["image"][0, :33, :44]
    assert np.abs(drawn["small"] - 255 * np.clip(want, 0, 1)).max() < 0.51

    with pytest.raises(InputError, match=r"already holds results for 3 .*--overwrite"):
        predict.run(path, str(images), out, **SMALL)
    with pytest.raises(InputError, match=f"run in {path} has no classes, and so no --probab"):
        predict.run(path, str(images), tmp_path / "other", probabilities=True)
    assert not (tmp_path / "other").exists()


def test_a_run_that_labels_volumes(tmp_path, capsys):
    sizes = {"volume": (24, 26, 28), "crop": (8, 16, 16), "model.depth": 1, "learning_rate": 0.1}
    path = train_config("configs/unet3d.py", tmp_path, **sizes)
    experiment = runs.load(path).experiment
    images, out = tmp_path / "in", tmp_path / "out"

    def save_stack(name, pages):
        first, *others = map(Image.fromarray, pages)
        images.mkdir(exist_ok=True)
        first.save(images / f"{name}.tif", save_all=True, append_images=others)

    records = [*experiment.sources["val"]().records]
    for record in records:
        save_stack(record["name"], record["image"][..., 0])
    assert predict.run(path, str(images), out) == 0
    labels = {p.name: volume(p) for p in out.iterdir()}
    found = np.stack([labels[f"{record['name']}_label.tif"] for record in records])
    truth = np.stack([record["label"] for record in records])
    assert found.shape == truth.shape == (4, 24, 26, 28)
    assert 0.05 < found.mean() < 0.95  # not one class alone
    iou = np.sum((truth == 1) & (found == 1)) / np.sum((truth == 1) | (found == 1))
    logged = workdir.read_lines(path / "metrics.jsonl")[-1]
    assert iou == pytest.approx(logged["iou/cell"], abs=1e-6)

    with pytest.raises(InputError, match=r"already holds results for 4 .*--overwrite"):
        predict.run(path, str(images), out)
    save_stack("large", GENERATOR.integers(0, 256, (30, 40, 26), np.uint8))  # by tiles
    save_stack("single", [GREY[:20, :20]])
    save_stack("several", [GREY, GREY[:20]])
    tiles = {"tile": 16, "margin": 4, "probabilities": True, "overwrite": True}
    assert predict.run(path, str(images), out, **tiles) == 1
    assert volume(out / "large_label.tif").shape == (30, 40, 26)
    assert np.load(out / "large_prob.npy").shape == (30, 40, 26, 2)
    assert volume(out / "single_label.tif").shape == (1, 20, 20)
    said = capsys.readouterr().err
    assert f"Skipped: {images / 'several.tif'} holds pages of several sizes, which are no" in said


def test_nifti_volumes_keep_their_geometry(tmp_path, capsys):
    sizes = {"volume": (24, 26, 28), "crop": (8, 16, 16), "model.depth": 1}
    path = train_config("configs/unet3d.py", tmp_path, **sizes)
    out = tmp_path / "out"
    found = GENERATOR.integers(0, 256, (20, 22, 24), np.uint8)  # depth, height, width
    affine = np.array([[0, 0, 3.0, 5], [-1.5, 0, 0, 7], [0, 2, 0, -9], [0, 0, 0, 1]])
    (tmp_path / "in").mkdir()
    nibabel.save(nibabel.Nifti1Image(found.T, affine), tmp_path / "in" / "head.nii.gz")
    signed = found.astype(np.int16) * 8 - 1000  # as CT has them
    nibabel.save(nibabel.Nifti1Image(signed.T, affine), tmp_path / "in" / "ct.nii")
    first, *others = map(Image.fromarray, found)
    first.save(tmp_path / "in" / "same.tif", save_all=True, append_images=others)
    (tmp_path / "in" / "broken.nii.gz").write_bytes(b"no volume")
    assert predict.run(path, str(tmp_path / "in"), out, probabilities=True) == 1
    assert "broken.nii.gz is damaged or no NIfTI file" in capsys.readouterr().err
    written = nibabel.load(out / "head_label.nii.gz")
    np.testing.assert_array_equal(written.affine, affine)
    np.testing.assert_array_equal(np.asarray(written.dataobj).T, volume(out / "same_label.tif"))
    # A linear change of all intensities is what stretching takes back.
    stretched = nifti.read(tmp_path / "in" / "ct.nii", 1 << 20)["image"][..., 0]
    low, high = int(found.min()), int(found.max())
    np.testing.assert_allclose(stretched, (found - low) / (high - low) * 65535, atol=0.51)
    with pytest.raises(InputError, match="more voxels than max_pixels=100; raise that"):
        nifti.read(tmp_path / "in" / "ct.nii", 100)
    with pytest.raises(InputError, match=r"ct.nii is a volume, and the run sees images"):
        predict.read(tmp_path / "in" / "ct.nii", {"channels": 1}, 1 << 20)


def volume(path):
    """The pages of a TIFF stack."""
    with Image.open(path) as file:
        return np.stack([np.asarray(page) for page in ImageSequence.Iterator(file)])
