"""What only processes of their own can show: a killed run, and two processes as one."""

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "run_linear.py"


def start(*args) -> subprocess.Popen:
    command = [sys.executable, str(SCRIPT), *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def result(process: subprocess.Popen) -> dict:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def steps_in(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


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
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
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
