"""Trains variants of a config over seeds, and tabulates and plots what they reach.

A study calls `run` with its variants; `experiments/unet_cells.py` is one. Runs that are finished
are not repeated, so a study can be interrupted and given again.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.progress import Progress, TimeElapsedColumn

Results = dict[str, list[dict[str, float]]]


def run(
    description: str,
    variants: Mapping[str, Sequence[str]],
    figures: Sequence[str],
    output: str,
    seeds: int = 3,
) -> None:
    """The command line of a study: writes table.md and plot.png to its folder.

    Args:
      variants: name -> arguments of segjax.main, of which the first is --config=FILE.
      figures: of the validation split, in the order of the columns.
      output: the folder unless --output names another.
      seeds: how many unless --seeds says.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path(output), help=f"folder ({output})")
    parser.add_argument("--seeds", type=int, default=seeds, help=f"runs of each ({seeds})")
    parser.add_argument("--only", nargs="+", choices=variants, metavar="NAME", help="some of them")
    parser.add_argument("overrides", nargs="*", help="values for all, as --config.train.steps=100")
    options, overrides = parser.parse_known_args()
    overrides += options.overrides
    names = options.only or list(variants)
    results: Results = {name: [] for name in names}
    with Progress(*Progress.get_default_columns(), TimeElapsedColumn()) as progress:
        bar = progress.add_task("Training", total=options.seeds * len(names))
        for seed in range(options.seeds):
            for name in names:
                progress.update(bar, description=f"{name}, seed {seed}")
                workdir = options.output / f"{name.replace(' ', '_')}_{seed}"
                arguments = [*variants[name], f"--config.seed={seed}", *overrides]
                results[name].append(train(workdir, arguments))
                progress.advance(bar)
                (options.output / "table.md").write_text(markdown(results, figures))
    plot(results, figures, options.output / "plot.png")
    print(markdown(results, figures))


def train(workdir: Path, arguments: list[str]) -> dict[str, float]:
    """The last validation figures of a run, trained if it is not there yet."""
    command = [sys.executable, "-m", "segjax.main", *arguments, f"--workdir={workdir}"]
    done = workdir / "done"  # by this very command: another one has to train, or is refused
    if not (done.exists() and done.read_text() == " ".join(arguments)):
        process = subprocess.run(command, capture_output=True, text=True)
        if process.returncode:
            sys.exit(f"{' '.join(command)} failed:\n{process.stderr}")
        done.write_text(" ".join(arguments))
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").open()]
    return [line for line in lines if line["split"] == "val"][-1]


def markdown(results: Results, figures: Sequence[str]) -> str:
    """Mean and standard deviation over the seeds."""
    rows = [f"| variant | {' | '.join(figures)} |", "|---" * (len(figures) + 1) + "|"]
    for name, runs in results.items():
        cells = []
        for figure in figures:
            values = [run[figure] for run in runs]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            cells.append(f"{statistics.mean(values):.4f} ± {spread:.4f}" if values else "")
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def plot(results: Results, figures: Sequence[str], path: Path) -> None:
    """One dot a run, one panel a figure."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    many = len(results) > 6  # below one another, else beside one another
    shape = (len(figures), 1) if many else (1, len(figures))
    size = (0.25 * len(results), 2.5 * len(figures)) if many else (3 * len(figures), 3.2)
    figure, axes = pyplot.subplots(*shape, figsize=size, layout="tight", sharex=many, squeeze=False)
    for axis, name in zip(axes.flat, figures, strict=True):
        for i, runs in enumerate(results.values()):
            axis.plot([i] * len(runs), [run[name] for run in runs], "o", alpha=0.7)
        labels = [v if many else v.replace(" ", "\n", 1) for v in results]
        axis.set_xticks(range(len(results)), labels, fontsize=8, rotation=90 if many else 0)
        axis.set_title(name)
        axis.margins(x=0.02 if many else 0.3)
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
