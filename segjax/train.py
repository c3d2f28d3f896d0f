"""The only training loop: it knows steps, states and batches, and nothing of what they depict."""

import collections
import contextlib
import dataclasses
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jax.tree_util import DictKey

from segjax import parallel
from segjax.core import Batch, Experiment, Scalars, Task, TrainState, Variables
from segjax.errors import InputError

AHEAD = 2  # steps dispatched before the scalars of the oldest are awaited
MOST_SKIPPED = 20  # updates in a row, before a run that may skip them ends all the same


class NonFiniteLossError(RuntimeError):
    """The loss, its gradient or the updated weights became NaN or infinite."""


class Checkpoints(Protocol):
    """Where states are kept (`segjax.checkpoint`)."""

    def latest_step(self) -> int | None: ...
    def restore(self, like: TrainState, *, best_first: bool = False) -> TrainState: ...
    def save(self, state: TrainState) -> None: ...
    def record(self, step: int, figures: dict[str, float]) -> None: ...
    def preempted(self, step: int) -> bool: ...


class Report(Protocol):
    """Where figures and pictures go (`segjax.report`)."""

    def step(self, step: int, scalars: dict[str, float], images: int, waited: float) -> None: ...
    def evaluated(self, step: int, split: str, figures: dict[str, float]) -> None: ...
    def panels(self, step: int, split: str, panels: dict[str, np.ndarray]) -> None: ...
    def begin(self) -> None: ...
    def say(self, sentence: str) -> None: ...


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended: its state, the last figures of each split, the signal that stopped it."""

    state: TrainState
    figures: dict[str, dict[str, float]]
    signal: int | None = None


def init_state(experiment: Experiment, batch: Batch, key: jax.Array) -> TrainState:
    """The state at step 0: a pure function of the key and of the batch's shapes."""
    init_key, run_key = jax.random.split(key)
    with jax.default_device(parallel.host_device()):
        variables = experiment.task.init(init_key, batch)
    return TrainState.create(variables, experiment.tx, run_key)


def abstract_state(experiment: Experiment, batch: Batch, mesh: Mesh) -> TrainState:
    """The shapes of `init_state` on the mesh, for restoring a checkpoint into."""
    shapes = jax.eval_shape(lambda: init_state(experiment, batch, jax.random.key(0)))
    whole = parallel.replicated(mesh)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole), shapes)


def check_memory(experiment: Experiment, batch: Batch, mesh: Mesh) -> None:
    """Raise `InputError` if a device cannot hold the state of training and a gradient."""
    state = abstract_state(experiment, batch, mesh).replace(rng=())
    leaves = jax.tree.leaves((state, state.params))
    need = sum(x.size * x.dtype.itemsize for x in leaves)
    have = parallel.memory(mesh.devices.flat[0])
    if need > have:
        count = sum(x.size for x in jax.tree.leaves(state.params))
        raise InputError(
            f"The model has {count:,} parameters; with their gradient and the optimiser's state "
            f"they need {need / 2**30:,.1f} GiB on every device, and one has {have / 2**30:,.1f}: "
            "choose a smaller model."
        )


def train_step(
    experiment: Experiment, skip_nonfinite: bool, state: TrainState, batch: Batch, turn: jax.Array
) -> tuple[TrainState, Scalars]:
    """One update. It applies only in its turn and only if all that it comes from and leads to is
    finite: loss, gradient, new weights and statistics.

    A step that fails leaves the state as it was; unless it may be skipped, the counter stays too,
    so that every later step already under way finds it is not its turn and changes nothing.
    """
    key = jax.random.fold_in(state.rng, state.step)
    grad = jax.value_and_grad(experiment.task.loss, has_aux=True)
    (loss, (model_state, scalars)), grads = grad(state.params, state.model_state, batch, key)
    grad_norm = optax.tree.norm(grads)
    tx = optax.with_extra_args_support(experiment.tx)
    updates, opt_state = tx.update(grads, state.opt_state, state.params, model_state=model_state)
    params = optax.apply_updates(state.params, updates)
    weight_norm = optax.tree.norm(
        [x for x in jax.tree.leaves((params, model_state)) if jnp.issubdtype(x.dtype, jnp.inexact)]
    )
    rates = learning_rates(opt_state)  # also where the update is not applied

    finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm) & jnp.isfinite(weight_norm)
    apply = finite & (state.step == turn)
    step = state.step + (state.step == turn if skip_nonfinite else apply)
    params, model_state, opt_state = jax.tree.map(
        lambda new, old: jnp.where(apply, new, old),
        (params, model_state, opt_state),
        (state.params, state.model_state, state.opt_state),
    )
    scalars = {**scalars, "loss": loss, "grad_norm": grad_norm, "weight_norm": weight_norm, **rates}
    state = state.replace(step=step, params=params, model_state=model_state, opt_state=opt_state)
    return state, scalars


def learning_rates(opt_state: Any) -> Scalars:
    """The rates that an optimiser keeps: 'learning_rate', or one for each of its parts."""
    found = [
        (path, rate)
        for path, rate in optax.tree.get_all_with_path(opt_state, "learning_rate")
        if isinstance(rate, jax.Array)  # not the state of a schedule of that name
    ]
    if len(found) == 1:
        return {"learning_rate": found[0][1]}

    def label(path: Any) -> str:  # such as the names of optax.partition
        keys = [str(part.key) for part in path if isinstance(part, DictKey)]
        return "/".join(key for key in keys if key != "learning_rate")

    labels = [label(path) for path, _ in found]
    if len({*labels}) < len(labels) or "" in labels:
        labels = [str(i) for i in range(len(labels))]
    return {f"learning_rate/{label}": x for label, (_, x) in zip(labels, found, strict=True)}


def jit_train_step(
    experiment: Experiment, mesh: Mesh, skip_nonfinite: bool = False, state_sharding: Any = None
) -> Callable:
    """`train_step` compiled for the mesh: (state, batch, turn) -> state, scalars.

    `state_sharding` says where the state lies: a sharding, or a tree of them; replicated if None.
    """

    def step(state: TrainState, batch: Batch, turn: jax.Array) -> tuple[TrainState, Scalars]:
        return train_step(experiment, skip_nonfinite, state, batch, turn)

    whole, split = parallel.replicated(mesh), parallel.sharded(mesh)
    there = whole if state_sharding is None else state_sharding
    return jax.jit(
        step, in_shardings=(there, split, whole), out_shardings=(there, whole), donate_argnums=0
    )


def jit_eval_step(task: Task, mesh: Mesh) -> Callable:
    """Compiled for the mesh: (variables, batch) -> predictions, split; statistics, replicated."""

    def step(variables: Variables, batch: Batch) -> tuple[Any, Any]:
        preds = task.predict(variables, batch)
        return preds, task.stats(preds, batch)

    whole, split = parallel.replicated(mesh), parallel.sharded(mesh)
    return jax.jit(step, in_shardings=(whole, split), out_shardings=(split, whole))


def evaluate(
    task: Task, eval_step: Callable, variables: Variables, batches: Iterable[Batch], mesh: Mesh
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """(figures of one pass over a split, panels of its first batch)."""
    panels: dict[str, np.ndarray] = {}

    def evidence() -> Iterator[Any]:
        for i, batch in enumerate(batches):
            preds, stats = eval_step(variables, parallel.shard_batch(batch, mesh))
            if i == 0 and jax.process_index() == 0:
                panels.update(task.visualise(parallel.local_rows(preds), batch))
            yield jax.device_get(stats)

    return task.summarise(evidence()), panels


def fit(
    experiment: Experiment,
    mesh: Mesh,
    checkpoints: Checkpoints,
    report: Report,
    *,
    steps: int,
    seed: int = 0,
    eval_every: int = 1000,
    save_every: int | None = None,
    nonfinite: Literal["stop", "skip"] = "stop",
) -> Outcome:
    """Train to `steps` updates from the newest checkpoint, or from the seed if there is none.

    Every `eval_every` steps, and at the end, the state is saved and all splits are evaluated; every
    `save_every` steps it is saved alone. SIGTERM, SIGINT and SIGHUP, and a preemption notice to any
    process, end the run after the current step with a checkpoint, and so does an error of the data.
    A loss, gradient or new weight that is NaN or infinite raises `NonFiniteLossError` with the
    state before it saved; with `nonfinite='skip'` it is reported and leaves the weights as they
    are, unless that happens `MOST_SKIPPED` times in a row.
    """
    if nonfinite not in ("stop", "skip"):
        raise InputError(f"train.nonfinite is 'stop' or 'skip', not {nonfinite!r}.")
    start = checkpoints.latest_step() or 0
    batches = experiment.train(start)
    batch = next(batches)
    if start:
        state = checkpoints.restore(abstract_state(experiment, batch, mesh))
        if int(state.step) != start:  # the newest was damaged, an older one was taken
            start = int(state.step)
            batches.close()
            batches = experiment.train(start)
            batch = next(batches)
        report.say(f"Resuming from step {start} of {steps}.")
    else:
        check_memory(experiment, batch, mesh)
        state = parallel.replicate(init_state(experiment, batch, jax.random.key(seed)), mesh)
    report.begin()

    step_fn = jit_train_step(experiment, mesh, skip_nonfinite=nonfinite == "skip")
    eval_step = jit_eval_step(experiment.task, mesh)
    figures: dict[str, dict[str, float]] = {}
    pending: collections.deque[tuple[int, Scalars, float]] = collections.deque()
    batch_size = len(jax.tree.leaves(batch)[0]) * jax.process_count()
    skipped = 0

    def settle(keep: int) -> None:
        """Await and report the scalars of all but the newest `keep` steps."""
        nonlocal skipped
        while len(pending) > keep:
            step, scalars, waited = pending.popleft()
            host = {name: float(x) for name, x in jax.device_get(scalars).items()}
            if np.isfinite([host["loss"], host["grad_norm"], host["weight_norm"]]).all():
                report.step(step, host, batch_size, waited)
                skipped = 0
                continue
            skipped += 1
            values = ", ".join(f"{name}={x:g}" for name, x in host.items())
            if nonfinite == "stop" or skipped == MOST_SKIPPED:
                checkpoints.save(state)
                way_out = ", or continue with --config.train.nonfinite=skip --accept_changes"
                raise NonFiniteLossError(
                    "The loss, its gradient or the weights it leads to are not finite at step "
                    f"{step} ({values}); the state before that step is saved. Lower the learning "
                    f"rate or clip the gradient{way_out if nonfinite == 'stop' else ''}."
                )
            report.say(f"Skipped the update of step {step}: {values}.")

    def following() -> Batch:
        try:
            return next(batches)
        except Exception:  # whatever the data raise, the steps so far are kept
            settle(keep=0)
            checkpoints.save(state)
            raise

    with catch_signals() as caught:
        for step in range(start + 1, steps + 1):
            began = time.perf_counter()
            if step > start + 1:
                batch = following()
            placed = parallel.shard_batch(batch, mesh)
            waited = time.perf_counter() - began
            state, scalars = step_fn(state, placed, np.int32(step - 1))
            pending.append((step, scalars, waited))
            settle(keep=AHEAD)
            stop = bool(caught) or checkpoints.preempted(step)
            if step % eval_every == 0 or step == steps:
                settle(keep=0)
                checkpoints.save(state)  # first, lest an error of the evaluation cost it
                figures = evaluate_all(experiment, eval_step, state, mesh, report)
                for values in [*figures.values()][:1]:
                    checkpoints.record(step, values)
            elif stop or (save_every and step % save_every == 0):
                settle(keep=0)
                checkpoints.save(state)
            if stop and step < steps:
                batches.close()
                return Outcome(state, figures, caught[0] if caught else signal.SIGTERM)
    batches.close()
    if not figures:  # the run had already reached its last step
        figures = evaluate_all(experiment, eval_step, state, mesh, report)
        for values in [*figures.values()][:1]:  # which it may not have been able to record
            checkpoints.record(int(state.step), values)
    return Outcome(state, figures)


def evaluate_best(
    experiment: Experiment, mesh: Mesh, checkpoints: Checkpoints, report: Report
) -> Outcome:
    """Evaluate the best checkpoint of a run."""
    batch = next(iter(next(iter(experiment.evals.values()))()))
    state = checkpoints.restore(abstract_state(experiment, batch, mesh), best_first=True)
    eval_step = jit_eval_step(experiment.task, mesh)
    return Outcome(state, evaluate_all(experiment, eval_step, state, mesh, report))


def evaluate_all(
    experiment: Experiment, eval_step: Callable, state: TrainState, mesh: Mesh, report: Report
) -> dict[str, dict[str, float]]:
    """Evaluate every split and report it; figures by split."""
    figures = {}
    for split, batches in experiment.evals.items():
        result = evaluate(experiment.task, eval_step, state.eval_variables, batches(), mesh)
        figures[split], panels = result
        report.evaluated(int(state.step), split, figures[split])
        report.panels(int(state.step), split, panels)
    return figures


@contextlib.contextmanager
def catch_signals() -> Iterator[list[int]]:
    """Collect SIGINT, SIGTERM and SIGHUP, and not die of them; a second SIGINT interrupts at once.

    With several processes all must stop at one step, so SIGTERM is left to JAX's preemption notice.
    """
    caught: list[int] = []

    def handler(number: int, frame: Any) -> None:
        del frame
        if caught and number == signal.SIGINT:
            raise KeyboardInterrupt
        caught.append(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if jax.process_count() == 1 else ()
    try:
        previous = {number: signal.signal(number, handler) for number in numbers}
    except ValueError:  # not the main thread, as in some notebooks: no handler can be set there
        yield caught
        return
    try:
        yield caught
    finally:
        for number, old in previous.items():
            signal.signal(number, old)
