"""What the configs that make images of photographs share: data, augmentation, optimiser.

A config adds its model and what to make; `configs/colourisation.py` shows how.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict, config_dict

from segjax import optim, transfer
from segjax.core import Example, Experiment, Task
from segjax.data import augment, camvid, images, loader, photographs
from segjax.data.source import Source
from segjax.metrics.image_quality import psnr, ssim
from segjax.tasks.image_to_image import image_to_image


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.root = config_dict.placeholder(str)  # a folder of photographs; else CamVid's
    config.manual_dir = config_dict.placeholder(str)  # where CamVid is
    config.data_dir = config_dict.placeholder(str)  # where tfds keeps the prepared copy
    config.skip_bad = False  # root: go on without photographs that cannot be read
    config.max_pixels = images.MAX_PIXELS  # root: the most that one file may hold
    config.side = 144  # of the photographs, the shorter one
    config.crop = (128, 128)
    config.eval_size = (144, 192)  # the middle of larger photographs
    config.seed = 0
    config.batch_size = 8
    config.learning_rate = 2e-3
    config.width = 16
    config.init_from = config_dict.placeholder(str)  # PATH[:part,part]: weights to start from
    config.best = "psnr"
    config.log_every = 20
    config.num_workers = 0
    config.train = ConfigDict({"steps": 1_000, "eval_every": 250})
    config.train.save_every = config_dict.placeholder(int)  # checkpoints between evaluations
    config.train.nonfinite = "stop"  # what a NaN does, or 'skip' its update
    return config


def sources(config: Any) -> dict[str, Source]:
    def source(split: str) -> Source:
        if config.root is None:
            return camvid.source(split, config.data_dir, manual_dir=config.manual_dir)
        options = {name: config[name] for name in ("root", "side", "skip_bad", "max_pixels")}
        return photographs.source(split, config.data_dir, **options)

    return {split: source(split) for split in ("train", "val")}


def card(config: Any) -> dict:
    """Without classes: the run draws images."""
    del config
    return {"class_names": [], "palette": [], "channels": 3}


def task(config: Any, model: Any, **options: Any) -> Task:
    """`image_to_image` of photographs; `options` are its pair, show and activation."""
    problem = image_to_image(
        model,
        metrics=[psnr(), ssim()],
        size=tuple(config.crop),
        eval_size=tuple(config.eval_size),
        **options,
    )
    distort = augment.compose(augment.flip(), augment.warp(scale=(0.9, 1.25)))

    def preprocess(
        record: Mapping[str, Any], generator: np.random.Generator, train: bool
    ) -> Example:
        image = photographs.shrunk(record["image"], config.side)
        if not train:
            image = photographs.middle(image, tuple(config.eval_size))
        return problem.preprocess({**record, "image": image}, generator, train)

    loss = augment.with_augment(problem.loss, distort)
    return transfer.initialised_from(
        problem._replace(preprocess=preprocess, loss=loss), config.init_from, model.num_classes
    )


def build(config: Any, task: Callable[[Any, dict], Task]) -> Experiment:
    """The experiment of a config whose task is `task(config, card)`."""
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
