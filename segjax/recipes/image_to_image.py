"""What the configs that make images of photographs share; `configs/colourisation.py` shows how.

A config adds its network and what to make.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict, config_dict

from segjax import augment
from segjax.core import Experiment
from segjax.data import camvid, images, photographs
from segjax.data.source import Source
from segjax.errors import choose
from segjax.losses.regression import l1, l2
from segjax.metrics.image_quality import psnr, ssim
from segjax.recipes import training
from segjax.tasks.image_to_image import colour_image_of, drawing, image_to_image

LOSSES = {"l1": l1, "l2": l2}


def get_config(**model: Any) -> ConfigDict:
    """The values that all share; the arguments are those of the network."""
    config = training.get_config()
    config.root = config_dict.placeholder(str)  # a folder of photographs; else CamVid's
    config.manual_dir = config_dict.placeholder(str)  # where CamVid is
    config.skip_bad = False  # root: go on without photographs that cannot be read
    config.max_pixels = images.MAX_PIXELS  # root: the most that one file may hold
    config.side = 144  # of the photographs, the shorter one
    config.crop = (128, 128)
    config.eval_size = (144, 192)  # the middle of larger photographs
    config.learning_rate = 2e-3
    config.schedule = "cosine"
    config.loss = "l1"  # or l2
    config.model = ConfigDict(model)
    return config


def source(config: Any, split: str) -> Source:
    """CamVid's photographs, or those of the folder."""
    if config.root is None:
        return camvid.source(split, config.data_dir, manual_dir=config.manual_dir)
    options = {name: config[name] for name in ("root", "side", "skip_bad", "max_pixels")}
    return photographs.source(split, config.data_dir, **options)


def build(
    config: Any,
    model: Any,
    facts: Mapping[str, Any] | None = None,
    *,
    pair: Callable[..., Any],
    show: Callable[..., Any],
    activation: Callable[..., Any],
) -> Experiment:
    """The experiment of a config that has the values of `get_config`; see `image_to_image`."""
    sources = {
        split: functools.cache(functools.partial(source, config, split))
        for split in ("train", "val")
    }
    size, metrics = tuple(config.eval_size), [psnr(), ssim()]
    see = {"pair": pair, "show": show, "activation": activation, "size": size}
    task = image_to_image(
        model,
        metrics=metrics,
        prepare=functools.partial(shrunk, side=config.side, most=size),
        pixel_loss=choose(LOSSES, config.loss, "config.loss"),
        **see,
    )
    distort = augment.geometric(
        augment.zoom(0.9, 1.25), augment.crop(*config.crop), augment.flip(1)
    )
    task = task._replace(loss=augment.with_augment(task.loss, distort))
    photograph = {"image": jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)}
    shown = jax.eval_shape(lambda batch: pair(batch, jax.random.key(0)).input, photograph)
    facts = {"channels": 3, "seen_channels": shown.shape[-1], "best": "psnr", **(facts or {})}
    experiment = training.experiment(config, task, model, facts, sources, metrics)
    whole = functools.partial(shrunk, side=config.side)
    return experiment._replace(predictor=drawing(model, prepare=whole, **see))


def shrunk(record: Mapping[str, Any], side: int, most: Any = None) -> np.ndarray:
    """The photograph at a shorter side of `side`, RGB; the middle of it where it is too large."""
    image = photographs.shrunk(colour_image_of(record), side)
    return image if most is None else photographs.middle(image, most)
