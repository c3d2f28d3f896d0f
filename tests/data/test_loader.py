"""The loader: a pure function of (seed, step), complete, shared between hosts, no orphans."""

import itertools
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from unittest import mock

import jax
import numpy as np
import pytest

from segjax.data import loader
from segjax.data.source import Source
from segjax.errors import InputError


class Numbers:
    """Records that are their index; picklable."""

    def __init__(self, n: int):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        if not 0 <= index < self.n:
            raise IndexError(index)
        return index


def preprocess(record, generator, train):
    noise = generator.integers(1 << 30) if train else 0
    return {"x": np.int64(record), "noise": np.int64(noise)}


def take(n, **options):
    batches = loader.train_batches(Numbers(11), preprocess, 4, **{"seed": 5, **options})
    return list(itertools.islice(batches, n))


def equal(a, b):
    return all(np.array_equal(a[name], b[name]) for name in a) and a.keys() == b.keys()


def test_an_epoch_holds_every_record_once_and_epochs_differ():
    stream = np.concatenate([batch["x"] for batch in take(11)])
    epochs = stream.reshape(4, 11)
    assert (np.sort(epochs) == np.arange(11)).all()
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_batches_are_a_function_of_seed_and_step():
    whole = take(9)
    assert all(equal(a, b) for a, b in zip(whole[6:], take(3, start=6), strict=True))
    assert all(equal(a, b) for a, b in zip(whole, take(9), strict=True))
    assert not equal(whole[0], take(1, seed=6)[0])
    assert all(batch["valid"].all() for batch in whole)


def test_an_example_seen_again_is_drawn_anew():
    first = {}
    for batch in take(9):
        for x, noise in zip(batch["x"], batch["noise"], strict=True):
            assert noise not in first.setdefault(x, set())
            first[x].add(noise)


def test_two_hosts_share_the_batches_of_one():
    whole = take(5)
    parts = []
    for host in range(2):
        with (
            mock.patch.object(jax, "process_index", lambda host=host: host),
            mock.patch.object(jax, "process_count", lambda: 2),
        ):
            parts.append(take(5))
    for batch, a, b in zip(whole, *parts, strict=True):
        assert len(a["x"]) == 2
        both = {name: np.concatenate([a[name], b[name]]) for name in a}
        assert equal(both, batch)


def test_an_evaluation_pass_is_in_order_and_padded():
    batches = list(loader.eval_batches(Numbers(11), preprocess, 4))
    assert [batch["x"].tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 0]]
    assert np.concatenate([b["valid"] for b in batches]).tolist() == [True] * 11 + [False]


def test_hosts_get_equally_many_evaluation_batches():
    counts, seen = [], []
    for host in range(2):
        with (
            mock.patch.object(jax, "process_index", lambda host=host: host),
            mock.patch.object(jax, "process_count", lambda: 2),
        ):
            batches = list(loader.eval_batches(Numbers(5), preprocess, 4))
        counts.append(len(batches))
        seen += [x for b in batches for x in b["x"][b["valid"]]]
    assert counts == [2, 2]
    assert sorted(seen) == [0, 1, 2, 3, 4]


@pytest.fixture
def script(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        textwrap.dedent("""
        import itertools, multiprocessing, os, sys, time
        from absl import flags
        sys.path.insert(0, sys.argv[1])
        from test_loader import Numbers, preprocess
        from segjax.data import loader
        if __name__ == "__main__":
            flags.FLAGS.mark_as_parsed()
            batches = loader.train_batches(
                Numbers(11), preprocess, 4, seed=5, start=2, num_workers=2)
            print([b["x"].tolist() for b in itertools.islice(batches, 4)], flush=True)
            workers = [p.pid for p in multiprocessing.active_children()]
            print(workers, flush=True)
            if sys.argv[2:] == ["kill"]:
                os.kill(workers[0], 9)
                for _ in batches:
                    pass
            time.sleep(100)
        """)
    )
    return [sys.executable, str(script), os.path.dirname(__file__)]


def test_worker_processes_give_the_same_batches_and_die_with_their_parent(script):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(script, **pipes) as process:
        assert process.stdout is not None
        assert eval(process.stdout.readline()) == [b["x"].tolist() for b in take(4, start=2)]
        workers = eval(process.stdout.readline())
        assert len(workers) == 2
        for pid in workers:  # Ctrl-C and the end of the terminal reach the first process alone
            status = Path(f"/proc/{pid}/status").read_text()
            blocked = int(status.partition("SigBlk:")[2].split()[0], 16)
            assert all(blocked >> (n - 1) & 1 for n in (signal.SIGINT, signal.SIGHUP))
        process.send_signal(signal.SIGKILL)
    deadline = time.time() + 20
    while any(is_running(pid) for pid in workers) and time.time() < deadline:
        time.sleep(0.1)
    assert not any(is_running(pid) for pid in workers)


def test_a_killed_worker_is_said(script):
    run = subprocess.run([*script, "kill"], capture_output=True, text=True, timeout=100)
    last = run.stderr.splitlines()
    assert any("InputError: A worker process that reads data has ended" in line for line in last)


def test_more_than_the_machine_or_the_data_have_is_refused():
    with pytest.raises(InputError, match="num_workers must be from 0 .* not 100000"):
        next(loader.train_batches(Numbers(4), preprocess, 2, seed=0, num_workers=100_000))
    sources = {"train": lambda: Source(Numbers(4), ("a", "b"))}
    with pytest.raises(InputError, match="batch_size is 100000000, and there are 4 training"):
        loader.streams(sources, preprocess, 100_000_000, seed=0)[0](0)

    def huge(record, generator, train):
        return {"x": np.broadcast_to(np.zeros(()), (1 << 20, 1 << 20))}  # 8 TiB that are not there

    with pytest.raises(InputError, match=r"need 163,840 GiB of memory, and it has \d+: choose"):
        loader.streams(sources, huge, 2, seed=0)[0](0)


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")")[-1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("batch_size", [1, 3])
def test_other_batch_sizes(batch_size):
    batch = next(loader.train_batches(Numbers(2), preprocess, batch_size, seed=0))
    assert batch["x"].shape == (batch_size,)
