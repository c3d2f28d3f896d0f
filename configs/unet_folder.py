"""U-Net on your own images: a folder with images/, masks/ and, if you like, classes.txt.

    python -m segjax.data.check --config=configs/unet_folder.py --config.root=my_data
    python -m segjax.main --config=configs/unet_folder.py --config.root=my_data --workdir=runs/mine

Images and masks are paired by name; a fifth of them, chosen by a hash of the name, validates,
unless there are train/ and val/ folders. Training sees random crops of `crop`, evaluation whole
images of at most `eval_size`. docs/data.md tells which files can be read.
"""

from typing import Any

import numpy as np
from ml_collections import ConfigDict, config_dict

from segjax import optim, visualize
from segjax.core import Experiment, Task
from segjax.data import augment, folder, loader
from segjax.data.source import Source
from segjax.errors import InputError
from segjax.metrics.confusion import confusion
from segjax.models.unet import UNet
from segjax.nn.layers import BatchNorm
from segjax.tasks.semantic import semantic


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.root = config_dict.placeholder(str)  # the folder with images/ and masks/
    config.val_fraction = 0.2
    config.skip_bad = False  # go on without files that cannot be used
    config.seed = 0
    config.batch_size = 4
    config.learning_rate = 2e-3
    config.width = 16
    config.crop = (256, 256)
    config.eval_size = (512, 512)
    config.best = "miou"
    config.log_every = 20
    config.data_dir = config_dict.placeholder(str)  # where tfds keeps the prepared copy
    config.num_workers = 0
    config.train = ConfigDict({"steps": 1_000, "eval_every": 250})
    config.train.save_every = config_dict.placeholder(int)  # checkpoints between evaluations
    config.train.nonfinite = "stop"  # what a NaN does, or 'skip' its update
    return config


def sources(config: Any) -> dict[str, Source]:
    if config.root is None:
        raise InputError("Say where your images are: --config.root=FOLDER.")
    options = {"val_fraction": config.val_fraction, "skip_bad": config.skip_bad}
    return {
        split: folder.source(split, config.data_dir, root=config.root, **options)
        for split in ("train", "val")
    }


def card(config: Any) -> dict:
    train = sources(config)["train"]
    return {
        "class_names": train.class_names,
        "palette": visualize.palette(len(train.class_names)).tolist(),
        "channels": train.records[0]["image"].shape[-1],
    }


def model(config: Any, card: dict) -> UNet:
    return UNet(
        num_classes=len(card["class_names"]),
        width=config.width,
        padding="same",
        norm=BatchNorm,
        dropout=0.2,
    )


def task(config: Any, card: dict) -> Task:
    names = card["class_names"]
    task = semantic(
        model(config, card),
        len(names),
        metrics=[confusion(len(names), names)],
        size=tuple(config.crop),
        eval_size=tuple(config.eval_size),
        mean=0.5,
        std=0.25,
        colours=np.asarray(card["palette"], np.uint8),
    )
    distort = augment.compose(
        augment.flip(horizontal=True),
        augment.warp(scale=(0.8, 1.25), rotation=10.0),
        augment.photometric(brightness=0.2, contrast=0.2),
    )
    return task._replace(loss=augment.with_augment(task.loss, distort))


def build(config: Any) -> Experiment:
    facts = card(config)
    problem = task(config, facts)
    rate = optim.with_warmup(optim.cosine(config.learning_rate, config.train.steps), 20)
    train, evals = loader.streams(
        sources(config),
        problem.preprocess,
        config.batch_size,
        seed=config.seed,
        num_workers=config.num_workers,
    )
    return Experiment(problem, optim.adamw(rate), train, evals, facts)
