"""What skips and border weights are worth to U-Net on touching cells.

    python experiments/unet_cells.py --output=runs/unet_cells

Trains configs/unet.py as it is, without skips and without border weights, once for each seed, and
writes table.md (mean and standard deviation over the seeds) and plot.png. Runs that are finished
are not repeated, so the command can be interrupted and given again.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from rich.progress import Progress

VARIANTS = {
    "U-Net": [],
    "without skips": ["--config.model.merge=none"],
    "without border weights": ["--config.border_weight=0"],
}
FIGURES = ("miou", "boundary_iou", "v_rand@0.5", "v_rand", "v_info")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("runs/unet_cells"), help="folder")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each variant (default 3)")
    parser.add_argument("overrides", nargs="*", help="values for all, as --config.train.steps=100")
    options, overrides = parser.parse_known_args()
    overrides += options.overrides
    results: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
    with Progress() as progress:
        bar = progress.add_task("Training", total=options.seeds * len(VARIANTS))
        for seed in range(options.seeds):
            for name, changes in VARIANTS.items():
                workdir = options.output / f"{name.replace(' ', '_')}_{seed}"
                results[name].append(
                    train(workdir, [*changes, f"--config.seed={seed}", *overrides])
                )
                progress.advance(bar)
    table = markdown(results)
    (options.output / "table.md").write_text(table)
    plot(results, options.output / "plot.png")
    print(table)


def train(workdir: Path, overrides: list[str]) -> dict[str, float]:
    """The last validation figures of a run, trained if it is not there yet."""
    command = [sys.executable, "-m", "segjax.main", "--config=configs/unet.py"]
    command += [f"--workdir={workdir}", *overrides]
    done = workdir / "done"  # by this very command: another one has to train, or is refused
    if not (done.exists() and done.read_text() == " ".join(overrides)):
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode:
            sys.exit(f"{' '.join(command)} failed:\n{run.stderr}")
        done.write_text(" ".join(overrides))
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").open()]
    return [line for line in lines if line["split"] == "val"][-1]


def markdown(results: dict[str, list[dict[str, float]]]) -> str:
    rows = [f"| variant | {' | '.join(FIGURES)} |", "|---" * (len(FIGURES) + 1) + "|"]
    for name, runs in results.items():
        cells = []
        for figure in FIGURES:
            values = [run[figure] for run in runs]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            cells.append(f"{statistics.mean(values):.4f} ± {spread:.4f}")
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def plot(results: dict[str, list[dict[str, float]]], path: Path) -> None:
    """One dot a run, one panel a figure."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(FIGURES), figsize=(3 * len(FIGURES), 3.2), layout="tight")
    for axis, name in zip(axes, FIGURES, strict=True):
        for i, runs in enumerate(results.values()):
            axis.plot([i] * len(runs), [run[name] for run in runs], "o", alpha=0.7)
        axis.set_xticks(range(len(results)), [v.replace(" ", "\n", 1) for v in results], fontsize=8)
        axis.set_title(name)
        axis.margins(x=0.3)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
