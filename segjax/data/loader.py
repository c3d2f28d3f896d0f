"""Records to batches, by grain: shuffled, shared between hosts, prefetched, exactly repeatable."""

import functools
import multiprocessing
import os
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any

import grain
import jax
import numpy as np

from segjax.data.source import Source
from segjax.errors import InputError

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
    batches = iter(_ahead(_share(dataset, batch_size)[start:], num_workers))
    try:
        yield from batches
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
    sources: Mapping[str, Source],
    preprocess: Preprocess,
    batch_size: int,
    *,
    seed: int,
    num_workers: int = 0,
) -> tuple[Callable[[int], Generator[Any, None, None]], Mapping[str, Callable[[], Iterator[Any]]]]:
    """The `train` and `evals` of a `core.Experiment`: of 'train', and of every other split."""

    def train(start: int) -> Generator[Any, None, None]:
        records = sources["train"].records
        return train_batches(
            records, preprocess, batch_size, seed=seed, start=start, num_workers=num_workers
        )

    evals = {
        split: functools.partial(eval_batches, source.records, preprocess, batch_size)
        for split, source in sources.items()
        if split != "train"
    }
    return train, evals


def _share(dataset: grain.MapDataset, batch_size: int) -> grain.MapDataset:
    """Batches of this host's part of each global batch: rows in one piece, as the mesh has them."""
    hosts = jax.process_count()
    return dataset.batch(batch_size // hosts)[jax.process_index() :: hosts]


def _ahead(dataset: grain.MapDataset, num_workers: int) -> Any:
    if num_workers < 0:
        raise InputError(f"num_workers must be 0 (threads) or more, not {num_workers}.")
    if num_workers == 0:
        return dataset.to_iter_dataset(grain.ReadOptions(num_threads=4, prefetch_buffer_size=8))
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
