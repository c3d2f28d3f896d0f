"""Metrics as map and reduce: evidence of a batch on the device, figures of a split on the host."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple


class Metric(NamedTuple):
    """One family of figures.

    `stats(preds, batch, valid)` is traced with the step and returns the evidence of one batch as
    a tree of arrays; `summarise(evidence)` takes an iterable of those trees, as numpy arrays, and
    returns figures of the whole split by their `names`. `valid`, [B, H, W] bool, says which pixels
    count.
    """

    names: tuple[str, ...]
    stats: Callable[[Any, Any, Any], Any]
    summarise: Callable[[Iterable[Any]], dict[str, float]]


def figures_of(metrics: Sequence[Metric], evidence: Iterable[Sequence[Any]]) -> dict[str, float]:
    """The figures of several metrics, from what each gave for every batch of a split."""
    figures: dict[str, float] = {}
    for metric, parts in zip(metrics, zip(*evidence, strict=True), strict=True):
        figures |= metric.summarise(parts)
    return figures
