"""Train or evaluate what a config describes.

    python -m segjax.main --config=configs/unet.py --workdir=runs/unet
    python -m segjax.main --config=configs/unet.py --workdir=runs/long --config.train.steps=800
    python -m segjax.main --config=configs/unet.py --workdir=runs/unet --evaluate

The same command again resumes where the run stopped. The workdir holds the config, metrics.jsonl,
TensorBoard files, panel.png and the checkpoints.
"""

import contextlib
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from rich.console import Console

from segjax import checkpoint, cli, parallel, train, workdir
from segjax.core import Batch, Experiment, Tree
from segjax.errors import InputError, choose


def define_flags() -> None:
    flags.DEFINE_string("workdir", None, "Folder of the run; by default runs/NAME of the config.")
    flags.DEFINE_bool("evaluate", False, "Evaluate the best checkpoint and stop.")
    flags.DEFINE_bool(
        "accept_changes", False, "Continue a run though values of its config have changed."
    )
    flags.DEFINE_string(
        "coordinator", None, "host:port of process 0, where no cluster is detected."
    )
    flags.DEFINE_integer("num_processes", None, "Number of processes of the run.", lower_bound=1)
    flags.DEFINE_integer("process_id", None, "Number of this process, from 0.", lower_bound=0)


def main() -> int:
    given = flags.FLAGS
    if not cli.CONFIG.value:
        raise InputError("Say what to train, such as --config=configs/unet.py; see --help.")
    parallel.initialize(given.coordinator, given.num_processes, given.process_id)
    source = cli.config_source()
    path = Path(given.workdir or Path("runs") / Path(source.partition(":")[0]).stem)
    try:
        return run(source, cli.CONFIG.value, path, given.evaluate, given.accept_changes)
    except Exception as error:
        if jax.process_count() > 1:
            parallel.end_alone(error)
        raise


def run(
    source: str,
    config: Any,
    path: Path,
    evaluate: bool = False,
    accept_changes: bool = False,
) -> int:
    """Train the config's experiment in the workdir and show its figures; the exit status."""
    console = Console()
    module, _ = cli.load_config(source)
    cli.check_values(config)
    values = cli.plain_values(config)
    if evaluate:
        workdir.read_config(path)  # or say that there is nothing to evaluate
    workdir.prepare(path, values, accept_changes)
    mesh = parallel.data_mesh()
    parallel.check_batch_size(config.batch_size, mesh)
    with contextlib.ExitStack() as stack:
        stack.enter_context(workdir.locked(path, console.print))
        experiment = cli.call(module, "build", config)
        check_best(experiment, config.best)
        settings = {"seed": config.seed, **config.train.to_dict()}
        data = fingerprints(module, config)
        report = workdir.Report(
            path,
            steps=settings["steps"],
            log_every=config.log_every,
            console=console,
            on_begin=lambda: workdir.record(path, values, source, experiment.card, data),
        )
        if changed := workdir.changed_data(path, data):
            report.say(changed)
        checkpoints = checkpoint.Checkpoints(path / "checkpoints", config.best, say=report.say)
        stack.enter_context(contextlib.closing(checkpoints))  # what is being saved gets written
        stack.enter_context(report)
        try:
            if evaluate:
                outcome = train.evaluate_best(experiment, mesh, checkpoints, report)
            else:
                outcome = train.fit(experiment, mesh, checkpoints, report, **settings)
        except train.NonFiniteLossError as error:
            print(f"segjax: {error}", file=sys.stderr)
            return 3
    if outcome.signal is not None:
        report.say(f"Stopped at step {int(outcome.state.step)}; the same command resumes.")
        return 128 + outcome.signal
    if jax.process_index() == 0:
        report.say(f"{path} at step {int(outcome.state.step)}")
        console.print(workdir.table(outcome.figures))
        console.print(f"Pictures: {path / 'panel.png'}", highlight=False)
    return 0


def fingerprints(module: Any, config: Any) -> dict[str, Any]:
    """What tells each split of the config's data from a changed one, where its records say it."""
    sources = cli.call(module, "sources", config) if hasattr(module, "sources") else {}
    return {
        split: source.records.fingerprint()
        for split, source in sources.items()
        if hasattr(source.records, "fingerprint")
    }


def check_best(experiment: Experiment, best: str) -> None:
    """Raise `InputError` now if the evaluation will not give the figure that chooses checkpoints.

    The names of the figures are those of the evidence that a batch without a valid example gives.
    """
    task, batches = experiment.task, next(iter(experiment.evals.values()), None)
    if not best or batches is None:
        return

    def stats(key: jax.Array, batch: Batch) -> Tree:
        return task.stats(task.predict(task.init(key, batch), batch), batch)

    shapes = jax.eval_shape(stats, jax.random.key(0), next(iter(batches())))
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    with np.errstate(all="ignore"):
        figures = task.summarise([zeros])
    choose(figures, best.removeprefix("-"), "config.best")


if __name__ == "__main__":
    cli.run(main, define_flags)
