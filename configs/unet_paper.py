"""The U-Net paper's network and recipe on the ISBI 2012 EM challenge (Ronneberger et al. 2015).

    python -m segjax.main --config=configs/unet_paper.py --config.manual_dir=isbi_em

Unpadded convolutions, tiles of 572 -> 388 pixels with mirrored borders, one tile a batch, SGD with
momentum 0.99, elastic deformation of 10 pixels on a 3 x 3 grid, border weights w0 = 10, sigma = 5.
The paper gives no learning rate, number of steps or dropout rate; ours are marked. It is meant for
a GPU or TPU, and was not trained to its end here; on two CPU cores take configs/unet_isbi.py.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import optax
from ml_collections import ConfigDict, config_dict

from segjax import optim, transfer
from segjax.core import Experiment, Task
from segjax.data import augment, isbi_em, loader
from segjax.data.border_weights import border_weights
from segjax.data.source import Source
from segjax.errors import choose
from segjax.metrics.confusion import confusion
from segjax.metrics.em import em_scores
from segjax.models.unet import UNet
from segjax.nn.layers import DTYPES
from segjax.tasks.semantic import semantic


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 1
    config.learning_rate = 1e-3  # ours
    config.border_weight = 10.0
    config.tile = 572
    config.init_from = config_dict.placeholder(str)  # PATH[:part,part]: weights to start from
    config.best = "v_rand"
    config.log_every = 50
    config.data_dir = config_dict.placeholder(str)  # where tfds keeps data sets
    config.manual_dir = config_dict.placeholder(str)  # where the challenge's files are
    config.num_workers = 0
    config.dtype = "float32"  # of the computation, or bfloat16; parameters are float32
    config.remat = False  # recompute activations in the backward pass instead of storing them
    config.train = ConfigDict({"steps": 30_000, "eval_every": 1_000})  # ours
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
        dtype=choose(DTYPES, config.dtype, "config.dtype"),
        remat=config.remat,
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
        augment.warp(rotation=180.0, elastic_sigma=10.0, crop=(config.tile, config.tile)),
        augment.photometric(brightness=0.1, contrast=0.1),
    )
    task = task._replace(loss=augment.with_augment(task.loss, distort))
    return transfer.initialised_from(task, config.init_from, len(names))


def pixel_weights(record: Mapping[str, Any], w0: float) -> np.ndarray:
    return border_weights(record["instances"], w0=w0)


def build(config: Any) -> Experiment:
    facts = card(config)
    problem = task(config, facts)
    tx = optax.chain(optax.trace(0.99), optim.learning_rate(config.learning_rate))
    train, evals = loader.streams(
        sources(config),
        problem.preprocess,
        config.batch_size,
        seed=config.seed,
        num_workers=config.num_workers,
    )
    return Experiment(problem, tx, train, evals, facts)
