"""U-Net with padded convolutions on the ISBI 2012 EM challenge, sized for two CPU cores.

    python -m segjax.main --config=configs/unet_isbi.py --config.manual_dir=isbi_em

24 sections train, the last 6 validate. `manual_dir` is the folder with the challenge's files; it is
read once. Ours: pixel error 0.0794, V_rand 0.9704, V_info 0.9780, in 17 minutes on two cores of an
AMD EPYC. The paper scores the challenge's test sections (pixel error 0.0611, Rand error 0.0382).
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from ml_collections import ConfigDict, config_dict

from segjax import optim, transfer
from segjax.core import Experiment, Task
from segjax.data import augment, isbi_em, loader
from segjax.data.border_weights import border_weights
from segjax.data.source import Source
from segjax.metrics.confusion import confusion
from segjax.metrics.em import em_scores
from segjax.models.unet import UNet
from segjax.nn.layers import BatchNorm
from segjax.tasks.semantic import semantic


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 4
    config.learning_rate = 2e-3
    config.border_weight = 2.0
    config.width = 16
    config.crop = (256, 256)
    config.init_from = config_dict.placeholder(str)  # PATH[:part,part]: weights to start from
    config.best = "v_rand"
    config.log_every = 20
    config.data_dir = config_dict.placeholder(str)  # where tfds keeps data sets
    config.manual_dir = config_dict.placeholder(str)  # where the challenge's files are
    config.num_workers = 0
    config.train = ConfigDict({"steps": 900, "eval_every": 300})
    config.train.save_every = config_dict.placeholder(int)  # checkpoints between evaluations
    config.train.nonfinite = "stop"  # what a NaN does, or 'skip' its update
    return config


def sources(config: Any) -> dict[str, Source]:
    return {
        split: isbi_em.source(split, config.data_dir, manual_dir=config.manual_dir)
        for split in ("train", "val")
    }


def card(config: Any) -> dict:
    del config
    return {"class_names": isbi_em.CLASS_NAMES, "palette": isbi_em.PALETTE.tolist(), "channels": 1}


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
        metrics=[confusion(len(names), names), em_scores()],
        size=(512, 512),
        mean=0.5,
        std=0.2,
        colours=np.asarray(card["palette"], np.uint8),
        pixel_weights=partial(pixel_weights, w0=config.border_weight),
    )
    distort = augment.compose(
        augment.flip(horizontal=True, vertical=True),
        augment.quarter_turns(),
        augment.warp(scale=(0.9, 1.1), rotation=20.0, elastic_sigma=10.0, crop=tuple(config.crop)),
        augment.photometric(brightness=0.1, contrast=0.2),
        augment.gaussian_noise(0.02),
    )
    task = task._replace(loss=augment.with_augment(task.loss, distort))
    return transfer.initialised_from(task, config.init_from, len(names))


def pixel_weights(record: Mapping[str, Any], w0: float) -> np.ndarray:
    return border_weights(record["instances"], w0=w0, class_balance=False)


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
