import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from miniature import SOURCE, run, train_once

from segjax import cli, main, train
from segjax.core import TrainState
from segjax.errors import InputError


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    return train_once(tmp_path_factory.getbasetemp() / "miniature")


@pytest.fixture(scope="session")
def data(trained):
    return trained.parent / "data"


def last_lines(path):
    lines = (path / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_a_run_leaves_what_it_promises(trained):
    names = {path.name for path in trained.iterdir()}
    assert names == {
        *("config.json", "runs.jsonl", "metrics.jsonl", "panel.png", ".lock"),
        *("panels", "tensorboard", "checkpoints"),
    }
    assert {path.name for path in (trained / "checkpoints").iterdir()} == {"2", "4"}
    logged = [(line["step"], line["split"]) for line in last_lines(trained)]
    assert logged == [(2, "train"), (2, "val"), (4, "train"), (4, "val")]
    assert all(0 <= line["miou"] <= 1 for line in last_lines(trained) if line["split"] == "val")


def test_evaluation_repeats_the_figures_of_the_best_step(trained, data, capsys):
    before = (trained / "config.json").read_text()
    assert run(trained, data, evaluate=True) == 0
    assert (trained / "config.json").read_text() == before
    *earlier, again = [line for line in last_lines(trained) if line["split"] == "val"]
    best = max(earlier, key=lambda line: line["miou"])
    assert again == best
    assert f"at step {best['step']}" in capsys.readouterr().out


def test_another_runs_workdir_is_refused(trained, data):
    words = r"another config \(learning_rate: 0.01 -> 0.5; train.steps: 4 -> 6\).*accept_changes"
    with pytest.raises(InputError, match=words):
        run(trained, data, learning_rate=0.5, train__steps=6)


def test_evaluation_without_a_run(tmp_path, data):
    with pytest.raises(InputError, match="not the workdir of a run"):
        run(tmp_path / "none", data, evaluate=True)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("new", "words"),
    [
        ({"batch_size": 12}, "12 examples .* 8 devices"),
        ({"batch_size": 0}, "--config.batch_size must be at least 1, not 0"),
        ({"log_every": 0}, "log_every"),
        ({"train__steps": -1}, "train.steps"),
        ({"seed": -1}, "--config.seed must be from 0 to 4294967295, not -1"),
        ({"seed": 10**20}, "--config.seed must be .* not 1000"),
        ({"learning_rate": np.inf}, "--config.learning_rate must be finite, not inf"),
        ({"learning_rate": np.nan}, "--config.learning_rate must be finite, not nan"),
        ({"learning_rate": -1.0}, "learning_rate must be at least 0 and finite, not -1.0"),
        ({"batch_size": 16}, "batch_size is 16, and there are 8 training examples"),
        ({"train__eval_every": 0}, "train.eval_every"),
        ({"upsample": "nope"}, "config.upsample is 'nope'; .*nearest.*transposed"),
        ({"best": "mioux"}, "config.best is 'mioux'; the choices are miou.*iou/cell"),
        ({"best": "-loss"}, "config.best is 'loss'"),
    ],
)
def test_bad_values_are_found_before_training_and_leave_no_run(tmp_path, data, new, words):
    with pytest.raises(InputError, match=words):
        run(tmp_path, data, **new)
    assert not (tmp_path / "config.json").exists()


def test_a_config_without_what_every_run_needs(tmp_path):
    _, config = cli.load_config(SOURCE)
    with config.unlocked():
        del config.log_every
    with pytest.raises(InputError, match="lacks the value log_every"):
        main.run(SOURCE, config, tmp_path)


def instead_of_training(monkeypatch, outcome):
    """Let `train.fit` give this outcome, or raise it; a dict for the settings that it gets."""
    settings = {}

    def fit(experiment, mesh, checkpoints, report, **given):
        settings.update(given)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(train, "fit", fit)
    return settings


def test_a_diverged_run_says_so_and_returns_3(tmp_path, data, capsys, monkeypatch):
    instead_of_training(monkeypatch, train.NonFiniteLossError("The loss is nan."))
    assert run(tmp_path, data) == 3
    assert capsys.readouterr().err == "segjax: The loss is nan.\n"


def test_a_stopped_run_returns_what_a_shell_expects(tmp_path, data, capsys, monkeypatch):
    state = TrainState(np.int32(3), {}, {}, (), jax.random.key(0))
    instead_of_training(monkeypatch, train.Outcome(state, {}, signal.SIGTERM))
    assert run(tmp_path, data) == 143
    assert "Stopped at step 3; the same command resumes." in capsys.readouterr().out


def test_the_seed_and_the_values_of_train_reach_the_loop(tmp_path, data, monkeypatch):
    state = TrainState(np.int32(4), {}, {}, (), jax.random.key(0))
    settings = instead_of_training(monkeypatch, train.Outcome(state, {}))
    assert run(tmp_path, data, seed=7, train__eval_every=3) == 0
    assert settings == {"seed": 7, "steps": 4, "eval_every": 3, "nonfinite": "stop"}


def test_a_refused_change_of_the_model_leaves_the_run_as_it_was(trained, tmp_path, data):
    shutil.copytree(trained, tmp_path / "run")
    with pytest.raises(InputError, match="of another model"):
        run(tmp_path / "run", data, upsample="transposed", train__steps=5, accept_changes=True)
    before = (trained / "config.json").read_text()
    assert (tmp_path / "run" / "config.json").read_text() == before
    assert run(tmp_path / "run", data) == 0


def test_a_damaged_best_checkpoint_is_named_and_another_evaluated(trained, tmp_path, data, capsys):
    shutil.copytree(trained, tmp_path / "run")
    steps = sorted((tmp_path / "run" / "checkpoints").glob("[0-9]*"))
    best = max((json.loads((s / "metrics" / "metrics").read_text())["miou"], s) for s in steps)[1]
    files = [f for f in (best / "state").rglob("*") if f.is_file()]
    arrays = max(files, key=lambda f: f.stat().st_size)
    data_bytes = bytearray(arrays.read_bytes())
    for i in range(len(data_bytes) // 10, len(data_bytes), 16):  # weights and optimiser's state
        data_bytes[i] ^= 1
    arrays.write_bytes(data_bytes)
    assert run(tmp_path / "run", data, evaluate=True) == 0
    out = capsys.readouterr().out
    assert f"{best} is damaged" in out
    other = next(s for s in steps if s != best)
    assert last_lines(tmp_path / "run")[-1]["step"] == int(other.name)


def test_damaged_figures_of_a_checkpoint_stop_no_run(trained, tmp_path, data, capsys):
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "4" / "metrics" / "metrics").write_text("")
    assert run(tmp_path / "run", data) == 0
    assert "is now" in capsys.readouterr().out
    assert (tmp_path / "run" / "damaged" / "4").is_dir()
    assert last_lines(tmp_path / "run")[-1]["step"] == 4


def test_a_diverging_run_stops_with_status_three_and_may_skip(tmp_path, data, capsys):
    options = {"learning_rate": 1e30, "train__steps": 6}
    assert run(tmp_path, data, **options) == 3
    assert "--config.train.nonfinite=skip --accept_changes" in capsys.readouterr().err
    options["train__nonfinite"] = "skip"
    assert run(tmp_path, data, **options, accept_changes=True) == 0
    assert "Skipped the update of step" in capsys.readouterr().out


def test_a_workdir_on_another_machine_is_refused(data):
    with pytest.raises(InputError, match="must be a folder of this machine"):
        run(Path("gs://bucket/run"), data)


def test_a_full_disk_is_one_sentence(trained, tmp_path):
    """The real thing: files of this process may not grow beyond what a checkpoint needs."""
    script = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from segjax import cli, main\n"
        "cli.run(main.main, main.define_flags)\n"
    )
    command = [sys.executable, "-c", script, f"--config={SOURCE}", f"--workdir={tmp_path / 'run'}"]
    command += [f"--config.data_dir={trained.parent / 'data'}", "--compilation_cache="]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert "could not be written: the disk of" in result.stderr


def test_data_that_changed_are_said_when_a_run_resumes(trained, tmp_path, data, capsys):
    shutil.copytree(trained, tmp_path / "run")
    saved = json.loads((trained / "config.json").read_text())
    assert saved["data"]["train"]["examples"] == 8
    assert saved["data"]["val"]["set"] == "cells/32px_8_4_seed0/1.0.0"
    saved["data"]["train"]["examples"] = 7
    (tmp_path / "run" / "config.json").write_text(json.dumps(saved))
    assert run(tmp_path / "run", data) == 0
    assert "has seen: train.examples: 7 -> 8." in capsys.readouterr().out
    assert run(tmp_path / "run", data) == 0
    assert "has seen" not in capsys.readouterr().out


@pytest.mark.parametrize("depth", [0, -1])
def test_counts_of_the_model_are_at_least_one(tmp_path, depth):
    _, config = cli.load_config("configs/unet.py", {"model.depth": depth})
    with pytest.raises(InputError, match=f"--config.model.depth must be at least 1, not {depth}"):
        main.run("configs/unet.py", config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
