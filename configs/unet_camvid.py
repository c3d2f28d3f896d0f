"""U-Net on CamVid (11 classes of street scenes, the SegNet split), sized for two CPU cores.

    python -m segjax.main --config=configs/unet_camvid.py --config.manual_dir=camvid

Images are halved to 240 x 180, so that an epoch takes minutes; `--config.scale=1` is the full size.
"""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from ml_collections import ConfigDict, config_dict

from segjax import optim
from segjax.core import Example, Experiment, Task
from segjax.data import augment, camvid, loader
from segjax.data.source import Source
from segjax.metrics.confusion import confusion
from segjax.models.unet import UNet
from segjax.nn.layers import BatchNorm
from segjax.tasks.semantic import semantic


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 8
    config.learning_rate = 2e-3
    config.width = 16
    config.scale = 0.5  # of the 480 x 360 images
    config.best = "miou"
    config.log_every = 20
    config.data_dir = config_dict.placeholder(str)  # where tfds keeps data sets
    config.manual_dir = config_dict.placeholder(str)  # where the images and labels are
    config.num_workers = 0
    config.train = ConfigDict({"steps": 1_000, "eval_every": 250})
    config.train.save_every = config_dict.placeholder(int)  # checkpoints between evaluations
    config.train.nonfinite = "stop"  # what a NaN does, or 'skip' its update
    return config


def sources(config: Any) -> dict[str, Source]:
    return {
        split: camvid.source(split, config.data_dir, manual_dir=config.manual_dir)
        for split in ("train", "val")
    }


def card(config: Any) -> dict:
    return {
        "class_names": camvid.CLASS_NAMES,
        "palette": camvid.PALETTE.tolist(),
        "channels": 3,
        "scale": config.scale,  # of what the network sees
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
    size = (round(360 * config.scale), round(480 * config.scale))
    rows, columns = (-(-n // 16) * 16 for n in size)
    task = semantic(
        model(config, card),
        len(names),
        metrics=[confusion(len(names), names)],
        size=size,
        mean=(0.41, 0.43, 0.43),  # of the training images
        std=(0.30, 0.31, 0.30),
        colours=np.asarray(card["palette"], np.uint8),
    )
    distort = augment.compose(
        augment.flip(horizontal=True),
        augment.warp(scale=(0.75, 1.5), crop=(rows, columns)),
        augment.photometric(brightness=0.2, contrast=0.2, saturation=0.2),
    )

    def preprocess(
        record: Mapping[str, Any], generator: np.random.Generator, train: bool
    ) -> Example:
        small = {
            "image": cv2.resize(record["image"], size[::-1], interpolation=cv2.INTER_AREA),
            "label": cv2.resize(record["label"], size[::-1], interpolation=cv2.INTER_NEAREST_EXACT),
        }
        return task.preprocess({**record, **small}, generator, train)

    loss = augment.with_augment(task.loss, distort)
    return task._replace(preprocess=preprocess, loss=loss)


def build(config: Any) -> Experiment:
    facts = card(config)
    problem = task(config, facts)
    rate = optim.with_warmup(optim.poly(config.learning_rate, config.train.steps), 20)
    train, evals = loader.streams(
        sources(config),
        problem.preprocess,
        config.batch_size,
        seed=config.seed,
        num_workers=config.num_workers,
    )
    return Experiment(problem, optim.adamw(rate), train, evals, facts)
