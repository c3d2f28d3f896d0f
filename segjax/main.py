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
from absl import flags
from rich.console import Console

from segjax import checkpoint, cli, parallel, report, train, workdir
from segjax.core import Experiment
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
        experiment = cli.build(module, config)
        best = best_of(config, experiment)
        settings = {"seed": config.seed, **config.train.to_dict()}
        data = fingerprints(experiment)
        shown = report.Report(
            path,
            steps=settings["steps"],
            log_every=config.log_every,
            console=console,
            on_begin=lambda: workdir.record(path, values, source, experiment.facts, data),
        )
        if changed := workdir.changed_data(path, data):
            shown.say(changed)
        checkpoints = checkpoint.Checkpoints(path / "checkpoints", best, say=shown.say)
        stack.enter_context(contextlib.closing(checkpoints))  # what is being saved gets written
        stack.enter_context(shown)
        try:
            if evaluate:
                outcome = train.evaluate_best(experiment, mesh, checkpoints, shown)
            else:
                outcome = train.fit(experiment, mesh, checkpoints, shown, **settings)
        except train.NonFiniteLossError as error:
            print(f"segjax: {error}", file=sys.stderr)
            return 3
    if outcome.signal is not None:
        shown.say(f"Stopped at step {int(outcome.state.step)}; the same command resumes.")
        return 128 + outcome.signal
    if jax.process_index() == 0:
        shown.say(f"{path} at step {int(outcome.state.step)}")
        console.print(report.table(outcome.figures))
        console.print(f"Pictures: {path / 'panel.png'}", highlight=False)
    return 0


def fingerprints(experiment: Experiment) -> dict[str, Any]:
    """What tells each split of the data from a changed one, where its records say it."""
    sources = {split: source() for split, source in experiment.sources.items()}
    return {
        split: source.records.fingerprint()
        for split, source in sources.items()
        if hasattr(source.records, "fingerprint")
    }


def best_of(config: Any, experiment: Experiment) -> str:
    """The figure that chooses the best checkpoint, with '-' before it where low is good.

    Raises `InputError` now if the evaluation will not give it.
    """
    best = experiment.facts.get("best", "") if config.best is None else config.best
    if best and experiment.figures:
        choose(dict.fromkeys(experiment.figures), best.removeprefix("-"), "config.best")
    return best


if __name__ == "__main__":
    cli.run(main, define_flags)
