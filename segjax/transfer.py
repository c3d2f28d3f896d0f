"""Start from weights that were trained before: by segjax, or by another library.

    python -m segjax.main --config=configs/fcn_resnet.py --config.init_from=resnet50.pth:backbone
    python -m segjax.main --config=configs/fcn.py --config.model.variant=fcn16s \\
        --config.init_from=runs/fcn32s:backbone,fc6,fc7,score_fr

Before the colon is a checkpoint file or a folder of its shards, the workdir of a run, or an
https:// address with a checksum (`segjax.weights.download`); after it the parts of the model to
fill, all of it by default. The layers of a classifier for other classes start anew.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from segjax import checkpoint, workdir
from segjax.core import Task
from segjax.errors import InputError
from segjax.weights import download, read
from segjax.weights.families import FAMILIES, recognise, without_collections
from segjax.weights.input import name_of
from segjax.weights.keymap import fill, flatten


def initialised_from(
    task: Task,
    source: str | None,
    num_classes: int,
    say: Callable[[str], None] = print,
    *,
    input: str | None = None,
) -> Task:
    """The task with its initial weights from `source`, 'PATH[:part,part...]'; None: as it was.

    Reads the file when weights are made, not when a run resumes. `num_classes` tells a classifier
    for other classes, which keeps its initial weights, from a mistake; `input` is what of
    `weights.input.INPUTS` the task shows to its network. Raises InputError where the checkpoint
    cannot be read, does not fit, or has learned to see something else.
    """
    if source is None:
        return task
    path, parts = split(source)
    if not path:
        raise InputError(
            f"--config.init_from is {source!r}: give a checkpoint file, or the workdir of a run."
        )

    def init(key: jax.Array, batch: Any) -> Any:
        variables = task.init(key, batch)
        if any(isinstance(x, Tracer) for x in jax.tree.leaves(variables)):
            return variables  # only the shapes are asked for
        tensors = load(path, say)
        for part in parts:
            family = recognise(variables, tensors, part)
            keymap = FAMILIES[family]
            seen = keymap.input or input_of(path)
            if input is not None and seen not in (None, input):
                raise InputError(
                    f"{path}, read as {family}, has learned from images as --config.input={seen} "
                    f"makes them: give that instead of {input}."
                )
            try:
                variables, kept = fill(
                    variables, tensors, keymap, num_classes=num_classes, under=part
                )
            except InputError as error:
                raise InputError(f"{path}, read as {family}: {error}") from error
            if jax.process_index() == 0:
                say(f"Weights of {part or 'the model'} from {path} ({family}).")
                for each in kept:
                    say(f"  for other classes, starts anew: {each}")
        return variables

    return task._replace(init=init)


def without_gradient(task: Task, part: str) -> Task:
    """The task without the gradient of a part of its model, which then costs no time."""

    def loss(params: Any, *rest: Any) -> Any:
        if part not in params:
            raise InputError(
                f"The model has no part {part!r} to keep as it is; it has {', '.join(params)}."
            )
        return task.loss({**params, part: jax.lax.stop_gradient(params[part])}, *rest)

    return task._replace(loss=loss)


def split(source: str) -> tuple[str, list[str]]:
    """'PATH:part,part' -> (PATH, [part, part]); [''] is all of the model."""
    if "://" in source and not source.startswith("https://"):
        raise InputError(f"{source} cannot be fetched: give an https:// address, or a file.")
    # the colon of a host is its port's
    [(path, parts)] = re.findall(r"^((?:https://[^/]*)?[^:]*):?(.*)", source)
    return path, parts.split(",")


def input_of(source: str) -> str | None:
    """The config.input that a run had, or that its file or a converted one remembers, if any."""
    path = located(source)
    if not is_run(path):
        return read.metadata(path).get("input")
    saved = workdir.read_config(path)
    return saved["values"].get("input") or name_of(saved["facts"].get("input", {}))


def is_run(path: Path) -> bool:
    """Whether a folder is the workdir of a run, or else a checkpoint in several files."""
    return path.is_dir() and ((path / "checkpoints").is_dir() or read.shards(path) is None)


def located(source: str) -> Path:
    """Where the file or folder is, once it is downloaded."""
    return download.fetch(source) if source.startswith("https://") else Path(source)


def load(source: str, say: Callable[[str], None] = print) -> Mapping[str, np.ndarray]:
    """The arrays of a checkpoint file, or of the best checkpoint of a run, by name."""
    path = located(source)
    if not path.exists():
        raise InputError(f"{path} does not exist: give a checkpoint file or the workdir of a run.")
    if is_run(path):
        best = workdir.best_figure(workdir.read_config(path))
        step, variables = checkpoint.Checkpoints(path / "checkpoints", best).restore_variables()
        if jax.process_index() == 0:
            say(f"The best whole checkpoint of {path} is of step {step}.")
        tensors = flatten(variables)
    else:
        tensors = read.read(path)
    return without_collections(tensors)
