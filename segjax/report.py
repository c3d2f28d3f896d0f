"""What a run shows on screen, and writes of its figures and pictures to the workdir."""

import math
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from segjax import visualize, workdir


class Report:
    """Progress on screen; figures to JSON lines and TensorBoard; pictures. Process 0 only.

    Every `log_every` steps the means of the scalars since the last log are written.
    """

    def __init__(
        self,
        path: Path,
        *,
        steps: int,
        log_every: int,
        console: Console,
        on_begin: Callable[[], None] = lambda: None,
    ) -> None:
        from tensorboardX import SummaryWriter  # slow to import, needed by training only

        self.path, self.steps, self.log_every, self.console = path, steps, log_every, console
        self.on_begin = on_begin
        self.active = jax.process_index() == 0
        self.figures: dict[str, dict[str, float]] = {}
        self.scalars: list[dict[str, float]] = []
        self.images, self.waited, self.since = 0, 0.0, time.perf_counter()
        if not self.active:
            return
        (path / "panels").mkdir(exist_ok=True)
        self.board = SummaryWriter(str(path / "tensorboard"))
        self.progress = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(bar_width=None),
            TextColumn("loss {task.fields[loss]}"),
            TextColumn("{task.fields[rate]} images/s"),
            TextColumn("data wait {task.fields[wait]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.bar = self.progress.add_task("train", total=steps, loss="-", rate="-", wait="-")

    def __enter__(self) -> "Report":
        if self.active:
            self.progress.start()
        return self

    def __exit__(self, *error: Any) -> None:
        if self.active:
            self.progress.stop()
            with workdir.writing(self.path / "tensorboard"):
                self.board.close()

    def begin(self) -> None:
        """The state is there, new or restored, and training begins."""
        if self.active:
            self.on_begin()

    def step(self, step: int, scalars: dict[str, float], images: int, waited: float) -> None:
        """One update: its scalars, the images of its global batch, seconds waited for them."""
        if not self.active:
            return
        self.scalars.append(scalars)
        self.images, self.waited = self.images + images, self.waited + waited
        elapsed = time.perf_counter() - self.since
        self.progress.update(
            self.bar,
            completed=step,
            loss=f"{scalars['loss']:.4f}",
            rate=f"{self.images / elapsed:.1f}",
            wait=f"{self.waited / elapsed:.0%}",
        )
        if step % self.log_every and step != self.steps:
            return
        means = {name: float(np.mean([x[name] for x in self.scalars])) for name in scalars}
        means |= {"images_per_s": self.images / elapsed, "data_wait": self.waited / elapsed}
        self.write(step, "train", means)
        if not self.console.is_terminal:
            self.say(
                f"step {step}/{self.steps}  loss {means['loss']:.4f}  "
                f"{means['images_per_s']:.1f} images/s  data wait {means['data_wait']:.0%}"
            )
        self.scalars = []
        self.restart_clock()

    def restart_clock(self) -> None:
        self.images, self.waited = 0, 0.0
        self.since = time.perf_counter()

    def evaluated(self, step: int, split: str, figures: dict[str, float]) -> None:
        """The figures of a split."""
        self.figures[split] = figures
        if self.active:
            self.write(step, split, figures)
            short = [f"{name} {x:.4f}" for name, x in figures.items() if "/" not in name]
            self.say(f"step {step}  {split}: {'  '.join(short)}")

    def panels(self, step: int, split: str, panels: dict[str, np.ndarray]) -> None:
        """The pictures of a split's first batch, as one sheet."""
        if not self.active:
            return
        sheet = visualize.sheet(panels)
        name = self.path / "panels" / f"{split}_{step:07d}.png"
        with workdir.writing(name):
            Image.fromarray(sheet).save(name)
            shutil.copyfile(name, self.path / "panel.png")
        self.board.add_image(f"{split}/panel", sheet, step, dataformats="HWC")
        self.restart_clock()  # evaluation is not training time

    def write(self, step: int, split: str, figures: Mapping[str, float]) -> None:
        values = {name: x if math.isfinite(x) else None for name, x in figures.items()}
        workdir.append_line(self.path / "metrics.jsonl", {"step": step, "split": split, **values})
        for name, x in figures.items():
            self.board.add_scalar(f"{split}/{name}", x, step)

    def say(self, sentence: str) -> None:
        """One line above the progress bar."""
        if self.active:
            self.console.print(sentence, highlight=False, markup=False, soft_wrap=True)


def table(figures: Mapping[str, Mapping[str, float]]) -> Table:
    """Figures by split, one row each."""
    out = Table()
    out.add_column("figure")
    for split in figures:
        out.add_column(split, justify="right")
    for name in dict.fromkeys(name for values in figures.values() for name in values):
        cells = [f"{values[name]:.4f}" if name in values else "" for values in figures.values()]
        out.add_row(name, *("absent" if cell == "nan" else cell for cell in cells))
    return out
