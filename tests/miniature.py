"""A config that trains in seconds, and the run of it that several test files look at."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict, config_dict

from segjax import cli, optim
from segjax.core import Experiment, Task
from segjax.data import cells, loader
from segjax.errors import choose
from segjax.metrics.confusion import confusion
from segjax.models.unet import UNet
from segjax.nn.layers import BatchNorm
from segjax.nn.upsample import UPSAMPLERS
from segjax.tasks.semantic import semantic

SOURCE = "tests/miniature.py"


def get_config() -> ConfigDict:
    config = ConfigDict({"seed": 0, "batch_size": 8, "best": "miou", "log_every": 2})
    config.learning_rate = 1e-2
    config.size = (32, 32)
    config.upsample = "nearest"
    config.data_dir = config_dict.placeholder(str)
    config.train = ConfigDict({"steps": 4, "eval_every": 2, "nonfinite": "stop"})
    return config


def sources(config: ConfigDict) -> dict[str, Any]:
    sizes = {"size": 32, "train": 8, "val": 4}
    return {split: cells.source(split, config.data_dir, **sizes) for split in ("train", "val")}


def card(config: ConfigDict) -> dict:
    del config
    return {"class_names": cells.CLASS_NAMES, "palette": cells.PALETTE.tolist(), "channels": 1}


def model(config: ConfigDict, card: dict) -> UNet:
    upsample = choose(UPSAMPLERS, config.upsample, "config.upsample")
    classes = len(card["class_names"])
    return UNet(
        classes, width=4, depth=1, padding="same", norm=BatchNorm, upsample=upsample, dropout=0.0
    )


def task(config: ConfigDict, card: dict) -> Task:
    names, colours = card["class_names"], np.asarray(card["palette"], np.uint8)
    metrics = [confusion(len(names), names)]
    net = model(config, card)
    return semantic(net, len(names), metrics=metrics, size=config.size, colours=colours, mean=0.5)


def build(config: ConfigDict) -> Experiment:
    facts = card(config)
    problem = task(config, facts)
    batch, seed = config.batch_size, config.seed
    train, evals = loader.streams(sources(config), problem.preprocess, batch, seed=seed)
    return Experiment(problem, optim.adamw(config.learning_rate), train, evals, facts)


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
