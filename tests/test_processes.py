"""What only processes of their own can show: a killed run, and two processes as one."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SCRIPT = Path(__file__).parent / "run_linear.py"
PATH = os.pathsep.join([str(SCRIPT.parent), *filter(None, [os.environ.get("PYTHONPATH")])])


def start(*args) -> subprocess.Popen:
    command = [sys.executable, str(SCRIPT), *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def result(process: subprocess.Popen) -> dict:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def steps_in(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def program(name: str, *flags: str, devices: int) -> subprocess.Popen:
    env = {**os.environ, "PYTHONPATH": PATH, "JAX_PLATFORMS": "cpu", "COLUMNS": "200"}
    return subprocess.Popen(
        [sys.executable, "-m", f"segjax.{name}", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**env, "JAX_NUM_CPU_DEVICES": str(devices)},
    )


@pytest.fixture(scope="module")
def straight(tmp_path_factory) -> dict:
    return result(start(tmp_path_factory.mktemp("straight"), 20))


def test_a_killed_run_resumes_bit_for_bit(tmp_path, straight):
    process = start(tmp_path, 1000)
    deadline = time.time() + 100
    while not steps_in(tmp_path) and time.time() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert 0 < steps_in(tmp_path)[-1] < 20, "killed too late to show anything"
    assert result(start(tmp_path, 20)) == straight


def test_two_processes_train_checkpoint_once_and_restore(tmp_path, straight):
    def both(steps):
        port = free_port()
        processes = [start(tmp_path, steps, i, 2, port) for i in range(2)]
        return [result(process) for process in processes]

    first = both(10)
    assert first[0] == first[1]
    assert first[0]["step"] == 10
    assert steps_in(tmp_path) == [5, 10]
    second = both(20)
    assert second[0] == second[1]
    assert second[0]["w"] == pytest.approx(straight["w"], abs=1e-5)
    alone = result(start(tmp_path, 20))  # one process restores what two have saved
    assert alone["w"] == pytest.approx(second[0]["w"], abs=1e-6)


def test_processes_devices_and_what_resumes_where_change_nothing(tmp_path):
    data = tmp_path / "data"

    def train(name: str, steps: int, processes: int, devices: int) -> dict[int, float]:
        """The losses by step, with augmentation, of so many processes of so many devices."""
        flags = [
            "--config=tests/augmented.py",
            f"--workdir={tmp_path / name}",
            f"--config.data_dir={data}",
            f"--config.train.steps={steps}",
            "--config.log_every=1",
            "--accept_changes",
        ]
        several = [f"--coordinator=127.0.0.1:{free_port()}", f"--num_processes={processes}"]
        runs = [
            program(
                "main",
                *flags,
                *([*several, f"--process_id={i}"] if processes > 1 else []),
                devices=devices,
            )
            for i in range(processes)
        ]
        for run in runs:
            out, err = run.communicate(timeout=200)
            assert run.returncode == 0, out + err
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        entries = [json.loads(line) for line in lines]
        return {e["step"]: e["loss"] for e in entries if e["split"] == "train"}

    alone = train("alone", 4, processes=1, devices=1)
    assert sorted(alone) == [1, 2, 3, 4]
    assert train("devices", 4, processes=1, devices=8) == pytest.approx(alone, rel=1e-5)
    first = train("moved", 2, processes=2, devices=2)
    assert first == pytest.approx({step: alone[step] for step in (1, 2)}, rel=1e-5)
    moved = train("moved", 4, processes=1, devices=8)
    assert moved == pytest.approx(alone, rel=1e-5)

    picture = tmp_path / "a.png"
    Image.fromarray(np.zeros((40, 30), np.uint8)).save(picture)
    flags = [f"--workdir={tmp_path / 'devices'}", f"--images={picture}"]
    predict = program("predict", *flags, f"--output={tmp_path / 'out'}", devices=1)
    out, err = predict.communicate(timeout=200)
    assert predict.returncode == 0, out + err
    assert re.search(r"^Step [24] of ", out, re.MULTILINE)
