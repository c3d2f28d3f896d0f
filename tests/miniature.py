"""A config that trains in seconds, and the run of it that several test files look at."""

import functools
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict, config_dict

from segjax import cli, optim
from segjax.core import Experiment
from segjax.data import cells, loader
from segjax.errors import choose
from segjax.metrics.confusion import confusion
from segjax.models.unet import unet_padded
from segjax.nn.upsample import UPSAMPLERS
from segjax.tasks.semantic import labelling, semantic
from segjax.weights.input import Input

SOURCE = "tests/miniature.py"


def get_config() -> ConfigDict:
    config = ConfigDict({"seed": 0, "batch_size": 8, "best": "miou", "log_every": 2})
    config.learning_rate = 1e-2
    config.size = (32, 32)
    config.upsample = "nearest"
    config.data_dir = config_dict.placeholder(str)
    config.train = ConfigDict({"steps": 4, "eval_every": 2, "nonfinite": "stop"})
    return config


def source(config: ConfigDict, split: str) -> Any:
    return cells.source(split, config.data_dir, size=32, train=8, val=4)


def build(config: ConfigDict, facts: Any = None) -> Experiment:
    names, colours = cells.CLASS_NAMES, cells.PALETTE
    upsample = choose(UPSAMPLERS, config.upsample, "config.upsample")
    model = unet_padded(len(names), 4, depth=1, upsample=upsample)
    see = {"size": tuple(config.size), "input": Input(0.5, 1.0), "colours": colours}
    metrics = [confusion(len(names), names)]
    task = semantic(model, len(names), metrics=metrics, **see)
    sources = {split: functools.partial(source, config, split) for split in ("train", "val")}
    train, evals = loader.streams(sources, task.preprocess, config.batch_size, seed=config.seed)
    facts = {"class_names": names, "palette": colours.tolist(), "channels": 1, **(facts or {})}
    facts = {"input": see["input"]._asdict(), "best": "miou", **facts}
    tx, figures = optim.adamw(config.learning_rate), metrics[0].names
    predictor = labelling(model, **see)
    return Experiment(task, tx, train, evals, model, facts, sources, figures, predictor)


def run(path: Path, data_dir: Path, *, evaluate: bool = False, accept_changes: bool = False, **new):
    """`main.run` in the folder with the values `new`, 'train.steps' written train__steps."""
    from segjax import main  # not above: this file is a config, and configs know no program

    overrides = {name.replace("__", "."): value for name, value in new.items()}
    _, config = cli.load_config(SOURCE, {"data_dir": str(data_dir), **overrides})
    return main.run(SOURCE, config, path, evaluate, accept_changes)


@functools.cache
def train_once(folder: Path) -> Path:
    """The workdir of a finished run in the folder; look, do not touch. Its data lie in ../data."""
    assert run(folder / "run", folder / "data") == 0
    return folder / "run"
