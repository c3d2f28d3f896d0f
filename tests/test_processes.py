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

from segjax import peers

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


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_closed_output_ends_no_run(tmp_path, interrupted):
    flags = ["--config=tests/miniature.py", f"--workdir={tmp_path / 'run'}", "--config.log_every=1"]
    flags += [f"--config.data_dir={tmp_path / 'data'}", "--config.train.eval_every=100000"]
    steps = 100_000 if interrupted else 30
    run = program("main", *flags, f"--config.train.steps={steps}", devices=1)
    assert run.stdout is not None
    assert run.stderr is not None
    while not run.stdout.readline().startswith("step 2/"):
        assert run.poll() is None, run.stderr.read()
    run.stdout.close()  # as `| head` does, and `| tee` at Ctrl-C
    if interrupted:
        time.sleep(0.2)
        run.send_signal(signal.SIGINT)
    assert run.wait(timeout=100) == (130 if interrupted else 0)
    assert "Traceback" not in run.stderr.read()
    run.stderr.close()
    [last] = steps_in(tmp_path / "run" / "checkpoints")
    assert (last > 2) if interrupted else (last == steps)


def test_what_only_prints_ends_with_its_reader():
    run = program("summary", "--config=configs/unet.py", devices=1)
    assert run.stdout is not None
    run.stdout.close()
    assert run.wait(timeout=100) == 1
    assert run.stderr is not None
    assert run.stderr.read() == ""
    run.stderr.close()


def two_programs(*flags: str) -> list[subprocess.Popen]:
    several = [f"--coordinator=127.0.0.1:{free_port()}", "--num_processes=2"]
    return [program("main", *flags, *several, f"--process_id={i}", devices=1) for i in range(2)]


def test_the_loss_of_a_process_is_one_sentence_in_the_other(tmp_path):
    flags = ["--config=tests/miniature.py", f"--workdir={tmp_path / 'run'}"]
    flags += [f"--config.data_dir={tmp_path / 'data'}", "--config.train.steps=1000000"]
    zero, one = two_programs(*flags, "--config.train.eval_every=1000000")
    log, deadline = tmp_path / "run" / "metrics.jsonl", time.time() + 100
    while not (log.exists() and "loss" in log.read_text()) and time.time() < deadline:
        time.sleep(0.1)
    zero.send_signal(signal.SIGKILL)
    _, err = one.communicate(timeout=100)
    zero.communicate()
    assert one.returncode != 0
    said = [line for line in err.splitlines() if not line.startswith("Preparing cells")]
    assert len(said) == 1, err
    assert said[0].startswith("segjax: process 1 of 2 ends because process 0 no longer answers: ")


def test_what_the_service_logs_is_held_back_only_where_it_ends_the_run():
    # as jaxlib 0.10.2 printed it when process 1 of 3 was killed
    log = """\
E1130 21:39:53.206603   26223 coordination_service.cc:1549] [5649750482175603573] Use error polling
The following tasks are unhealthy (stopped sending heartbeats):
1
2
The tasks have crashed.
"""
    fatal = "F1130 21:35:02.509033   22674 client.h:80] Terminating process because the JAX"
    fatal += " distributed service detected fatal errors.\n*** Check failure stack trace: ***\n"
    assert peers.said_instead(log, 0, 3) == log
    said = peers.said_instead(log + fatal, 0, 3)
    assert said.startswith("segjax: process 0 of 3 ends because process 1 and 2 no longer answers")
    assert said.count("\n") == 1


def test_a_mistake_ends_one_of_several_processes_at_once(tmp_path):
    flags = ["--config=tests/miniature.py", f"--workdir={tmp_path}", "--config.batch_size=3"]
    began = time.time()
    runs = two_programs(*flags, f"--config.data_dir={tmp_path / 'data'}")
    for i, run in enumerate(runs):
        _, err = run.communicate(timeout=100)
        assert run.returncode == 2
        said = [line for line in err.splitlines() if line.startswith("segjax: ")]
        assert len(said) == 1, err
        assert said[0].startswith(f"segjax: process {i}: A batch of 3 examples does not divide")
        assert "Traceback" not in err
    assert time.time() - began < 60  # not as long as processes wait for each other


def test_processes_devices_and_what_resumes_where_change_nothing(tmp_path):
    data = tmp_path / "data"

    def train(name: str, steps: int, devices: int, processes: int = 1) -> dict[int, float]:
        """The losses by step, with augmentation, of one process of so many devices, or of two."""
        flags = [
            "--config=tests/augmented.py",
            f"--workdir={tmp_path / name}",
            f"--config.data_dir={data}",
            f"--config.train.steps={steps}",
            "--config.log_every=1",
            "--accept_changes",
        ]
        both = processes == 2
        runs = two_programs(*flags) if both else [program("main", *flags, devices=devices)]
        for run in runs:
            out, err = run.communicate(timeout=200)
            assert run.returncode == 0, out + err
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        entries = [json.loads(line) for line in lines]
        return {e["step"]: e["loss"] for e in entries if e["split"] == "train"}

    alone = train("alone", 4, devices=1)
    assert sorted(alone) == [1, 2, 3, 4]
    assert train("devices", 4, devices=8) == pytest.approx(alone, rel=1e-5)
    first = train("moved", 2, devices=1, processes=2)
    assert first == pytest.approx({step: alone[step] for step in (1, 2)}, rel=1e-5)
    moved = train("moved", 4, devices=8)
    assert moved == pytest.approx(alone, rel=1e-5)

    picture = tmp_path / "a.png"
    Image.fromarray(np.zeros((40, 30), np.uint8)).save(picture)
    flags = [f"--workdir={tmp_path / 'devices'}", f"--images={picture}"]
    predict = program("predict", *flags, f"--output={tmp_path / 'out'}", devices=1)
    out, err = predict.communicate(timeout=200)
    assert predict.returncode == 0, out + err
    assert re.search(r"^Step [24] of ", out, re.MULTILINE)
