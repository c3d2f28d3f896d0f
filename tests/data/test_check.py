import io
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from segjax import cli
from segjax.core import Experiment
from segjax.data.check import check, duplicates, main, print_report, problems
from segjax.data.source import Source
from segjax.errors import InputError


class Broken(list):
    """Records of which some raise when they are read."""

    def __getitem__(self, i):
        record = super().__getitem__(i)
        if isinstance(record, Exception):
            raise record
        return record


def record(name, label, dtype=np.uint8, channels=1, shape=None, value=0, **more):
    label = np.array(label, np.uint8)
    image = np.full((*(shape or label.shape), channels), value, dtype)
    return {"name": name, "image": image, "label": label, **more}


def make(*records, names=("sky", "road", "car")):
    return Source(Broken(records), names)


def test_counts_by_hand():
    report = check(
        make(
            record("a", [[0, 0, 1], [255, 1, 0]], value=1),
            record("b", [[0, 0], [0, 0], [255, 255], [0, 0]], value=2),
            record("c", [[1, 1, 1], [1, 1, 9]], value=3),
        )
    )
    assert report.examples == 3
    assert report.sizes == {(2, 3): 2, (4, 2): 1}
    assert report.kinds == {("uint8", 1): 3}
    assert report.pixels.tolist() == [3 + 6, 2 + 5, 0]
    assert report.images.tolist() == [2, 2, 0]
    assert (report.ignored, report.total) == (3, 20)
    assert report.outside == {9: (1, "c")}
    assert problems({"train": report}) == [
        "train/c: label 9 of 3 classes (1 pixels in the split)",
        "class 2 (car) occurs in no split",
    ]


def test_number_of_classes_of_the_model_counts():
    source = make(record("a", [[0, 1, 2]]))
    assert check(source, 2).outside == {2: (1, "a")}
    assert check(source, 4).class_names == ("sky", "road", "car", "class_3")


def test_unreadable_records_do_not_stop_the_check():
    report = check(make(record("a", [[0]]), OSError("bad block"), record("c", [[2]], value=1)))
    assert report.unreadable == [("record 1", "OSError: bad block")]
    assert report.pixels.tolist() == [1, 0, 1]
    assert "val/record 1: cannot be read (OSError: bad block)" in problems({"val": report})


def test_arrays_that_do_not_fit():
    ids = np.zeros((3, 2), np.uint16)
    report = check(
        make(record("a", [[0, 1]], shape=(2, 3)), record("b", [[0, 1, 2]], instances=ids))
    )
    assert report.misfits == [
        ("a", "label is 2x1 pixels, the image 3x2"),
        ("b", "instances is 2x3 pixels, the image 3x1"),
    ]


def test_images_of_several_kinds():
    report = check(make(record("a", [[0, 1, 2]]), record("b", [[0]], np.uint16, 3)))
    assert "train: images of several kinds (1 uint8 x 1, 1 uint16 x 3)" in problems(
        {"train": report}
    )


def test_same_image_within_and_between_splits():
    label = [[0, 1, 2]]
    train = check(make(*[record(n, label, value=v) for n, v in zip("abe", (7, 7, 8), strict=True)]))
    val = check(make(*[record(n, label, value=v) for n, v in zip("cdf", (7, 8, 9), strict=True)]))
    same = ["train/a = train/b = val/c", "train/e = val/d"]
    assert duplicates({"train": train, "val": val}) == same
    assert problems({"train": train, "val": val}) == [f"same image: {line}" for line in same]


@pytest.mark.parametrize(
    "other",
    [
        record("b", [[0], [1], [2]], value=7),  # another shape, the same bytes
        record("b", [[0, 1, 2]], np.int8, value=7),
    ],
)
def test_same_bytes_of_another_shape_or_type_are_another_image(other):
    report = check(make(record("a", [[0, 1, 2]], value=7), other))
    assert duplicates({"train": report}) == []


def test_every_problem_is_named():
    report = check(make(*[record(f"r{i}", [[0, 1, 2, 3 + i]], value=i) for i in range(25)]))
    lines = problems({"train": report})
    assert len(lines) == 25
    assert all(f"r{i}" in line for i, line in enumerate(lines))


def test_printed_tables():
    out = io.StringIO()
    reports = {
        "train": check(make(record("a", [[0, 0, 1], [255, 1, 2]], value=1))),
        "val": check(make(record("[b]", [[0, 0, 0, 7]], value=2))),
    }
    print_report(reports, problems(reports), Console(file=out, width=100))
    text = out.getvalue()
    for piece in ("2x3", "1x4", "16.67%", "33.33%  100.0%", "75.00%  100.0%", "road"):
        assert piece in text
    assert "val/[b]: label 7 of 3 classes (1 pixels in the split)" in text
    good = {"train": check(make(record("a", [[0, 1, 2]])))}
    print_report(good, problems(good), Console(file=out))
    assert out.getvalue().endswith("Nothing amiss.\n")


CONFIG = """
import functools
from ml_collections import ConfigDict
from segjax import fields
from segjax.core import Experiment
from segjax.data import folder, loader

def get_config():
    return ConfigDict({"root": "", "data_dir": "", "eval_size": (4, 6)})

def build(config, facts):
    options = {"data_dir": config.data_dir, "root": config.root}
    sources = {
        split: functools.partial(folder.source, split, **options) for split in ("train", "val")
    }

    def preprocess(record, generator, train):
        return fields.padded({"image": record["image"]}, config.eval_size, record["name"])

    streams = loader.streams(sources, preprocess, 1, seed=0)
    return Experiment(None, None, *streams, sources=sources)
"""


def test_command_on_a_folder(tmp_path, monkeypatch, capsys):
    (tmp_path / "config.py").write_text(CONFIG)
    for split, value in (("train", 10), ("val", 20)):
        for kind in ("images", "masks"):
            (tmp_path / "set" / split / kind).mkdir(parents=True)
        Image.fromarray(np.full((4, 6), value, np.uint8)).save(
            tmp_path / "set" / split / "images" / "a.png"
        )
        Image.fromarray(np.eye(4, 6, dtype=np.uint8)).save(
            tmp_path / "set" / split / "masks" / "a.png"
        )
    path = str(tmp_path / "config.py")
    values = {"root": str(tmp_path / "set"), "data_dir": str(tmp_path / "tfds")}
    _, config = cli.load_config(path, values)
    monkeypatch.setattr(cli, "CONFIG", SimpleNamespace(value=config))
    monkeypatch.setattr(cli, "config_source", lambda: path)
    assert main() == 0
    out = capsys.readouterr().out
    assert "Nothing amiss." in out
    assert "83.33%" in out
    with config.unlocked():
        config.eval_size = (4, 5)
    assert main() == 1
    out = capsys.readouterr().out
    assert "would not start: The image a is 4 x 6, larger than the evaluation size of 4 x 5" in out

    (tmp_path / "set" / "val" / "masks" / "a.png").write_bytes(b"\x89PNG")
    command = [sys.executable, "-m", "segjax.data.check", f"--config={path}"]
    command += [f"--config.{k}={v}" for k, v in values.items()]
    bad = subprocess.run(command, capture_output=True, text=True, check=False)
    assert bad.returncode == 2
    assert "val/masks/a.png: empty, damaged or not an image file" in bad.stderr
    assert "Traceback" not in bad.stderr


def test_command_says_what_it_needs(monkeypatch):
    monkeypatch.setattr(cli, "CONFIG", SimpleNamespace(value=None))
    with pytest.raises(InputError, match="--config="):
        main()


def checks(monkeypatch, sources):
    """Let the command find a config of these sources."""
    experiment = Experiment(None, None, lambda start: (x for x in ()), {}, sources=sources)
    module = SimpleNamespace(__file__="any", build=lambda config, facts: experiment)
    monkeypatch.setattr(cli, "CONFIG", SimpleNamespace(value="any"))
    monkeypatch.setattr(cli, "config_source", lambda: "any")
    monkeypatch.setattr(cli, "load_config", lambda path: (module, None))


def test_something_amiss_is_exit_status_one(monkeypatch):
    source = make(record("a", [[0, 1, 7]]))
    checks(monkeypatch, {"train": lambda: source})
    assert main() == 1


def test_a_config_without_data_is_refused(monkeypatch):
    checks(monkeypatch, {})
    with pytest.raises(InputError, match="The config any has no data to check"):
        main()
