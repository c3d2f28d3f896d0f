"""Records to batches, by grain: shuffled, shared between hosts, prefetched, exactly repeatable."""

import contextlib
import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from multiprocessing import resource_tracker
from typing import Any

import grain
import jax
import numpy as np

from segjax.data.source import Records, Source
from segjax.errors import InputError

BATCHES_AHEAD = 8  # read by threads while the device works

Preprocess = Callable[[Any, np.random.Generator, bool], dict[str, Any]]


def train_batches(
    records: Sequence[Any],
    preprocess: Preprocess,
    batch_size: int,
    *,
    seed: int,
    start: int = 0,
    num_workers: int = 0,
) -> Generator[dict[str, Any], None, None]:
    """This host's share of batch `start`, `start` + 1, ... without end.

    Every epoch is shuffled anew; batches cross its end, so every batch is full. The batch of a step
    is a function of (seed, step) alone, and the same examples make it up however many hosts share
    it. Without `num_workers` threads of this process read ahead; worker processes pay off when
    `preprocess` is slow in Python, and need it to be picklable.
    """
    load = _Load(preprocess, train=True)
    epochs = (1 << 62) // len(records)  # without end, yet short enough for len()
    dataset = grain.MapDataset.source(records).seed(seed).shuffle().repeat(epochs).random_map(load)
    with _interrupts_blocked():
        batches = iter(_ahead(_share(dataset, batch_size)[start:], num_workers))
        batches.get_state()  # makes the processes that the next line starts
        batches.start_prefetch()
    try:
        yield from batches
    except RuntimeError as error:
        if "terminated unexpectedly" not in str(error):
            raise
        raise InputError(
            f"A worker process that reads data has ended ({str(error).split('. ')[0]}; -9 means "
            "killed, often for lack of memory). The same command resumes; fewer num_workers need "
            "less memory."
        ) from error
    finally:
        batches.close()  # its threads or processes, and the memory they share


def eval_batches(
    records: Sequence[Any], preprocess: Preprocess, batch_size: int, *, num_workers: int = 0
) -> Iterator[dict[str, Any]]:
    """One pass in order; the last batch is filled up with examples whose `valid` is False.

    Every host gets the same number of batches.
    """
    padded = -(-len(records) // batch_size) * batch_size
    dataset = grain.MapDataset.range(padded).map(_LoadPadded(records, preprocess))
    return iter(_ahead(_share(dataset, batch_size), num_workers))


def streams(
    sources: Mapping[str, Callable[[], Source]],
    preprocess: Preprocess,
    batch_size: int,
    *,
    seed: int,
    num_workers: int = 0,
) -> tuple[Callable[[int], Generator[Any, None, None]], Mapping[str, Callable[[], Iterator[Any]]]]:
    """The `train` and `evals` of a `core.Experiment`: of 'train', and of every other split.

    Sources are opened when the first batch is asked for; what does not fit is met then.
    """

    @functools.cache
    def checked() -> Sequence[Any]:
        records = sources["train"]().records
        _check_fits(records, preprocess, batch_size)
        for split, source in sources.items():
            if isinstance(found := source().records, Records):
                for i in found.largest:  # lest one that does not fit end a run on its way
                    preprocess(found[i], np.random.default_rng(0), split == "train")
        return records

    def train(start: int) -> Generator[Any, None, None]:
        return train_batches(
            checked(), preprocess, batch_size, seed=seed, start=start, num_workers=num_workers
        )

    def evaluation(source: Callable[[], Source]) -> Iterator[Any]:
        return eval_batches(source().records, preprocess, batch_size)

    evals = {
        split: functools.partial(evaluation, source)
        for split, source in sources.items()
        if split != "train"
    }
    return train, evals


def _check_fits(records: Sequence[Any], preprocess: Preprocess, batch_size: int) -> None:
    """Raise `InputError` for batches that neither the data nor this machine's memory can fill."""
    if batch_size > len(records):
        raise InputError(
            f"batch_size is {batch_size}, and there are {len(records)} training examples: it can "
            "be as many at most."
        )
    example = preprocess(records[0], np.random.default_rng(0), True)
    share = batch_size // jax.process_count()
    need = share * sum(np.asarray(x).nbytes for x in jax.tree.leaves(example)) * (BATCHES_AHEAD + 2)
    have = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if need > have:
        raise InputError(
            f"Batches of {share} examples on this machine, {BATCHES_AHEAD} read ahead, need "
            f"{need / 2**30:,.0f} GiB of memory, and it has {have / 2**30:,.0f}: choose a smaller "
            "batch_size."
        )


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Threads and processes that start in here never see Ctrl-C, nor that the terminal is gone.

    Both are sent to all processes of a terminal, and the first one ends the others.
    """
    resource_tracker.ensure_running()  # which unblocks them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _share(dataset: grain.MapDataset, batch_size: int) -> grain.MapDataset:
    """Batches of this host's part of each global batch: rows in one piece, as the mesh has them."""
    hosts = jax.process_count()
    return dataset.batch(batch_size // hosts)[jax.process_index() :: hosts]


def _ahead(dataset: grain.MapDataset, num_workers: int) -> Any:
    most = 2 * len(os.sched_getaffinity(0))
    if not 0 <= num_workers <= most:
        raise InputError(
            f"num_workers must be from 0 (threads) to {most}, twice the processors this machine "
            f"has for it, not {num_workers}."
        )
    if num_workers == 0:
        options = grain.ReadOptions(num_threads=4, prefetch_buffer_size=BATCHES_AHEAD)
        return dataset.to_iter_dataset(options)
    options = grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=4)
    return dataset.to_iter_dataset(
        grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
    ).mp_prefetch(options, worker_init_fn=_die_with_parent)


def _die_with_parent(index: int, count: int) -> None:
    """End this worker when the training process is gone, also when that was killed."""
    del index, count
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class _Load:
    """record, generator -> example (a class because workers pickle it)."""

    def __init__(self, preprocess: Preprocess, train: bool) -> None:
        self.preprocess, self.train = preprocess, train

    def __call__(self, record: Any, generator: np.random.Generator) -> dict[str, Any]:
        return {**self.preprocess(record, generator, self.train), "valid": np.True_}


class _LoadPadded:
    """index -> evaluation example; beyond the last record, the first one, not `valid`."""

    def __init__(self, records: Sequence[Any], preprocess: Preprocess) -> None:
        self.records, self.preprocess = records, preprocess

    def __call__(self, index: int) -> dict[str, Any]:
        real = index < len(self.records)
        record = self.records[index if real else 0]
        example = self.preprocess(record, np.random.default_rng(index), False)
        return {**example, "valid": np.bool_(real)}
