"""U-Net that fills holes in photographs, which it sees with a mask of the holes beside.

    python -m segjax.main --config=configs/inpainting.py --config.root=photos
    python -m segjax.main --config=configs/inpainting.py --config.manual_dir=camvid

The first learns from a folder of photographs, of any size and in any folders below it; the second
from CamVid's. They are shrunk to a shorter side of `side`. Holes are boxes at random places; an
error in them costs 6 times as much as elsewhere (Liu et al. 2018, arXiv:1804.07723, equation 7).
PSNR and SSIM are of the whole picture, with the holes filled.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict, config_dict

from segjax import optim
from segjax.core import Example, Experiment, Task
from segjax.data import augment, camvid, loader, photographs
from segjax.data.source import Source
from segjax.metrics.image_quality import psnr, ssim
from segjax.models.unet import UNet
from segjax.nn.layers import BatchNorm
from segjax.tasks.image_to_image import filled, image_from_rest, image_to_image


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.root = config_dict.placeholder(str)  # a folder of photographs; else CamVid's
    config.manual_dir = config_dict.placeholder(str)  # where CamVid is
    config.data_dir = config_dict.placeholder(str)  # where tfds keeps the prepared copy
    config.side = 144  # of the photographs, the shorter one
    config.crop = (128, 128)
    config.eval_size = (144, 192)  # the middle of larger photographs
    config.seed = 0
    config.batch_size = 8
    config.learning_rate = 2e-3
    config.width = 16
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
        return photographs.source(split, config.data_dir, root=config.root, side=config.side)

    return {split: source(split) for split in ("train", "val")}


def card(config: Any) -> dict:
    """Without classes: the run draws images."""
    del config
    return {"class_names": [], "palette": [], "channels": 3}


def model(config: Any, card: dict) -> UNet:
    del card
    return UNet(3, width=config.width, padding="same", norm=BatchNorm, dropout=0.0)  # RGB


def task(config: Any, card: dict) -> Task:
    problem = image_to_image(
        model(config, card),
        pair=image_from_rest,
        show=filled,
        metrics=[psnr(), ssim()],
        size=tuple(config.crop),
        eval_size=tuple(config.eval_size),
        activation=jax.nn.sigmoid,
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
    return problem._replace(preprocess=preprocess, loss=loss)


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
