"""The contract: what a run carries from step to step, what a task must say, what a config builds.

Everything else in segjax meets here. The loop (`segjax.train`) knows these types and nothing of
pixels; tasks, data sets and models know nothing of the loop. Extend by wrapping a function and
replacing it, `task._replace(loss=...)`, never by subclassing.
"""

from collections.abc import Callable, Generator, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from flax import struct

from segjax.errors import InputError

Tree = Any  # a pytree of arrays
Example = dict[str, Any]  # numpy arrays of one example, static shapes
Batch = dict[str, Any]  # examples stacked on axis 0; 'valid' [B] bool marks the real ones
Preds = dict[str, jax.Array]  # what a model says of a batch, batch first
Variables = dict[str, Tree]  # {'params': ..., **model_state}, as Linen names them
Scalars = dict[str, jax.Array]
LossFn = Callable[[Tree, Tree, Batch, jax.Array], tuple[jax.Array, tuple[Tree, Scalars]]]


class TrainState(struct.PyTreeNode):
    """Everything a run needs to resume, arrays only: a checkpoint is this tree."""

    step: jax.Array  # updates so far, int32 []
    params: Tree
    model_state: Tree  # what is not trained by gradient: norm statistics
    opt_state: Tree
    rng: jax.Array  # typed key of the run; step k draws from fold_in(rng, k)

    @classmethod
    def create(cls, variables: Variables, tx: optax.GradientTransformation, rng: jax.Array):
        """The state before the first step."""
        model_state = {name: tree for name, tree in variables.items() if name != "params"}
        params = variables["params"]
        step = jax.numpy.zeros((), jax.numpy.int32)
        opt_state = tx.init(params)
        averages = optax.tree.get_all_with_path(opt_state, "averaged_params")
        if len(averages) > 1:
            raise InputError(
                f"The optimiser keeps {len(averages)} averages of the weights, and evaluation uses "
                "one: leave one optim.ema, around all of the optimiser."
            )
        if averages:  # an optimiser is told of the parameters alone
            copies = jax.tree.map(jax.numpy.array, model_state)
            opt_state = optax.tree.set(opt_state, averaged_model_state=copies)
        return cls(step, params, model_state, opt_state, rng)

    @property
    def eval_variables(self) -> Variables:
        """What evaluation uses: the averages of `optim.ema` where it keeps them."""
        params = optax.tree.get(self.opt_state, "averaged_params", self.params)
        averaged = optax.tree.get(self.opt_state, "averaged_model_state", self.model_state)
        return {"params": params, **averaged}


class Task(NamedTuple):
    """A trainable problem as seven pure functions."""

    preprocess: Callable[[Mapping[str, Any], np.random.Generator, bool], Example]
    """(record, generator, train) -> example: on the host, one example, static shapes out."""

    init: Callable[[jax.Array, Batch], Variables]
    """(key, batch) -> {'params': ..., **model_state}."""

    loss: LossFn
    """(params, model_state, batch, key) -> loss, (model_state, scalars), in training mode."""

    predict: Callable[[Variables, Batch], Preds]
    """(variables, batch) -> predictions in evaluation mode: fixed shapes, batch first."""

    stats: Callable[[Preds, Batch], Tree]
    """(predictions, batch) -> evidence of one batch, on the device: map."""

    summarise: Callable[[Iterable[Tree]], dict[str, float]]
    """(evidence of every batch) -> figures of the whole split, on the host: reduce."""

    visualise: Callable[[Preds, Batch], dict[str, np.ndarray]]
    """(predictions, batch) -> named panels, uint8 [B, H, W, 3], on the host."""


class Stream(NamedTuple):
    """A network over frames, as video and interactive sessions have them.

    A task scans `step` over the frames of an example, a program calls it as they come.
    """

    start: Callable[[Variables, Tree], Tree]
    """(variables, first frame) -> carry: what is remembered before it."""

    step: Callable[[Variables, Tree, Tree], tuple[Tree, Preds]]
    """(variables, carry, frame) -> carry, predictions; shapes that stay."""


class Predictor(NamedTuple):
    """How a trained task meets a user's file: one record at a time, as large as it is."""

    size: tuple[int, ...]
    """Sides of the images that evaluation sees whole; larger ones are taken tile by tile."""

    prepare: Callable[[Mapping[str, Any]], np.ndarray]
    """record -> the image as the network sees it, of any size: what `Task.preprocess` fills up."""

    apply: Callable[..., Preds]
    """(variables, images, margin=0) -> maps [B, H, W, ...] of what they show without the outer
    `margin` pixels, which are context: on the device, batched."""

    finish: Callable[[Mapping[str, np.ndarray], Mapping[str, Any]], dict[str, np.ndarray]]
    """(maps of one image, record) -> results in the record's own pixels, on the host."""

    write: Callable[[Mapping[str, np.ndarray], Path], None]
    """(results, path) -> files whose names begin with the path's."""


class Experiment(NamedTuple):
    """What a config's `build(config, facts)` returns: all that a program asks."""

    task: Task
    tx: optax.GradientTransformation
    train: Callable[[int], Generator[Batch, None, None]]
    """start step -> this host's share of each batch; pure in (seed, step), closed when done."""

    evals: Mapping[str, Callable[[], Iterable[Batch]]]
    """split name -> one pass over it; every batch has the same shape, padding is not `valid`."""

    model: Any = None
    """The network: `summary` describes it, `export` checks its weights."""

    facts: Mapping[str, Any] = {}
    """What the task knows of its data (classes, channels, scale): saved with the run, as JSON, so
    that a prediction needs no data."""

    sources: Mapping[str, Callable[[], Any]] = {}
    """split name -> what opens its `data.source.Source`; only who needs data does."""

    figures: tuple[str, ...] = ()
    """Names of the figures that an evaluation gives."""

    predictor: Predictor | None = None
