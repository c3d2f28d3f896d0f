import concurrent.futures
import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from miniature import train_once
from rich.console import Console

from segjax import report, workdir
from segjax.errors import InputError

VALUES = {"batch_size": 8, "size": [32, 32], "train": {"steps": 4}, "data_dir": None}


def started(path: Path) -> Path:
    workdir.prepare(path, VALUES, accept_changes=False)
    workdir.record(path, VALUES, "configs/unet.py", {"channels": 1}, {})
    return path


def begun(path: Path) -> Path:
    (started(path) / "metrics.jsonl").write_text("{}\n")
    return path


def test_the_same_config_may_continue(tmp_path):
    begun(tmp_path / "a" / "b")
    workdir.prepare(tmp_path / "a" / "b", {**VALUES, "size": (32, 32)}, accept_changes=False)


def test_changes_are_listed_and_refused_until_accepted(tmp_path):
    changed = {"batch_size": 16, "size": [32, 32], "train": {"steps": 4, "save_every": 2}}
    words = (
        r"batch_size: 8 -> 16; data_dir: None -> absent; train.save_every: absent -> 2\). Choose "
        "another --workdir, or continue that run with the new values by --accept_changes"
    )
    with pytest.raises(InputError, match=words):
        workdir.prepare(begun(tmp_path), changed, accept_changes=False)
    workdir.prepare(tmp_path, changed, accept_changes=True)


def test_a_start_that_led_to_nothing_binds_nobody(tmp_path):
    workdir.prepare(started(tmp_path), {**VALUES, "batch_size": 16}, accept_changes=False)
    (tmp_path / "checkpoints" / "2").mkdir(parents=True)
    with pytest.raises(InputError, match="another config"):
        workdir.prepare(tmp_path, {**VALUES, "batch_size": 16}, accept_changes=False)


@pytest.mark.parametrize("below", ["", "below", "below/deeper"])
def test_a_folder_that_cannot_be_written(tmp_path, below):
    (tmp_path / "file").touch()
    path = tmp_path / "file" / below
    with pytest.raises(InputError, match=f"{path} cannot be written .*another --output"):
        workdir.make_folder(path, "--output")


def test_processes_may_start_in_one_folder_at_once(tmp_path):
    def make_often(_):
        for _ in range(100):
            workdir.make_folder(tmp_path / "run", "--workdir")

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert [*pool.map(make_often, range(4))] == [None] * 4
    assert not [*(tmp_path / "run").iterdir()]


def test_read_config_refuses_what_is_no_run(tmp_path):
    with pytest.raises(InputError, match="not the workdir of a run"):
        workdir.read_config(tmp_path / "none")
    (tmp_path / "config.json").write_text('{"architectures": ["of another library"]}')
    with pytest.raises(InputError, match="not the workdir of a run"):
        workdir.read_config(tmp_path)
    (tmp_path / "config.json").write_text('{"values":')
    with pytest.raises(InputError, match=r"config\.json is not valid JSON"):
        workdir.read_config(tmp_path)
    assert workdir.read_config(started(tmp_path)) == {
        "config_file": "configs/unet.py",
        "values": VALUES,
        "facts": {"channels": 1},
        "data": {},
    }


def test_the_card_of_an_older_run_is_read_as_its_facts(tmp_path):
    path = started(tmp_path)
    saved = json.loads((path / "config.json").read_text())
    saved["card"] = saved.pop("facts")
    (path / "config.json").write_text(json.dumps(saved))
    assert workdir.read_config(path)["facts"] == {"channels": 1}


def test_write_json_replaces_whole(tmp_path):
    path = tmp_path / "x.json"
    workdir.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        workdir.write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}


def test_every_start_is_described(tmp_path):
    started(started(tmp_path))
    first, second = (json.loads(x) for x in (tmp_path / "runs.jsonl").read_text().splitlines())
    assert first["values"] == second["values"] == VALUES
    assert len(first["devices"]) == 8
    assert first["versions"]["jax"]
    assert first["command"]


def new_report(path: Path, **options):
    screen = io.StringIO()
    console = Console(file=screen, width=40)
    return report.Report(path, **{"steps": 5, "log_every": 2, **options}, console=console), screen


def test_report_logs_means_of_the_steps_since_the_last_log(tmp_path):
    report, screen = new_report(tmp_path)
    with report:
        for step, loss in enumerate([4.0, 2.0, 7.0, 8.0, 1.0], 1):
            report.step(step, {"loss": loss, "rate": 10 * loss}, images=3, waited=0.0)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(x["step"], x["loss"], x["rate"]) for x in lines] == [
        (2, 3.0, 30.0),
        (4, 7.5, 75.0),
        (5, 1.0, 10.0),  # the last step is always logged
    ]
    assert all(x["split"] == "train" and x["data_wait"] == 0 for x in lines)
    assert "step 4/5  loss 7.5000" in screen.getvalue()


def test_report_of_an_evaluation(tmp_path):
    report, screen = new_report(tmp_path)
    names = {"miou": 0.25, "absent": float("nan"), "iou/cell": 0.5, "a_name_of_some_length": 1.0}
    picture = np.zeros((2, 30, 60, 3), np.uint8)
    picture[..., 0] = 200  # red
    with report:
        report.evaluated(3, "val", names)
        report.panels(3, "val", {"image": picture})
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line) == {"step": 3, "split": "val", **names, "absent": None}
    assert screen.getvalue().startswith("step 3  val: miou 0.2500")
    assert "iou/cell" not in screen.getvalue()
    assert screen.getvalue().count("\n") == 1  # not cut at the width of the screen
    saved = cv2.imread(str(tmp_path / "panel.png"))
    assert saved is not None
    assert saved[40, 30].tolist() == [0, 0, 200]  # OpenCV reads BGR
    assert (tmp_path / "panels" / "val_0000003.png").exists()
    assert [*(tmp_path / "tensorboard").iterdir()]


def test_the_table_has_a_column_a_split_and_names_what_is_absent():
    figures = {"val": {"miou": 0.5, "iou/cell": float("nan")}, "test": {"miou": 0.25}}
    screen = io.StringIO()
    Console(file=screen, width=80).print(report.table(figures))
    text = screen.getvalue()
    assert "absent" in text
    rows = [line for line in text.splitlines() if "miou" in line]
    assert [cell in rows[0] for cell in ("0.5000", "0.2500")] == [True, True]


def test_a_finished_run_holds_its_config_and_tensorboard_files(tmp_path_factory):
    path = train_once(tmp_path_factory.getbasetemp() / "miniature")
    saved = workdir.read_config(path)
    assert saved["config_file"] == "tests/miniature.py"
    assert saved["values"]["train"] == {"steps": 4, "eval_every": 2, "nonfinite": "stop"}
    assert saved["facts"]["class_names"] == ["background", "cell"]
    assert [*(path / "tensorboard").iterdir()]


def test_one_process_at_a_time_writes_to_a_workdir(tmp_path):
    command = (
        "import pathlib, sys, time; from segjax import workdir\n"
        f"with workdir.locked(pathlib.Path({str(tmp_path)!r}), print):\n"
        "    print('locked', flush=True); time.sleep(100)"
    )
    with subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        words = rf"in use by process {other.pid} on .* since .*: wait until that ends, or choose"
        with pytest.raises(InputError, match=words), workdir.locked(tmp_path, print):
            pass
        other.kill()
    with workdir.locked(tmp_path, print):  # a dead holder holds nothing
        assert (tmp_path / ".lock").read_text().startswith(f"process {os.getpid()} on ")


def test_a_disk_without_locks_is_said(tmp_path, monkeypatch):
    def flock(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(workdir.fcntl, "flock", flock)
    said = []
    with workdir.locked(tmp_path, said.append):
        assert said == [f"{tmp_path} cannot be locked (No locks available): start no second run."]


def test_changed_data_are_said(tmp_path):
    now = {"train": {"examples": 30, "names": "b"}}
    assert workdir.changed_data(tmp_path, now) is None
    workdir.write_json(
        tmp_path / "config.json", {"config_file": "x.py", "values": {}, "facts": {"channels": 1}}
    )
    assert workdir.changed_data(tmp_path, now) is None  # a run of before they were noted
    workdir.record(tmp_path, {}, "x.py", {"channels": 1}, {"train": {"examples": 24, "names": "a"}})
    words = "train.examples: 24 -> 30; train.names: a -> b."
    assert str(workdir.changed_data(tmp_path, now)).endswith(words)
    workdir.record(tmp_path, {}, "x.py", {"channels": 1}, now)
    assert workdir.changed_data(tmp_path, now) is None


def test_a_full_disk_names_the_file(tmp_path):
    code = (
        "import pathlib, resource, signal; from segjax import workdir\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))\n"
        f"path = pathlib.Path({str(tmp_path)!r})\n"
        "for write in (lambda p: workdir.append_line(p, {'a': 30 * 'b'}),\n"
        "              lambda p: workdir.write_whole(p, bytes(30))):\n"
        "    try: write(path / 'file')\n"
        "    except workdir.InputError as error: print(error)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == 2 * f"{tmp_path}/file cannot be written: File too large.\n"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]  # what was cut off, and no .tmp
