"""What the configs of semantic segmentation share: data, augmentation, optimiser, transfer.

A config adds its model; `configs/segnet.py` shows how. The data set is one of `DATASETS`, so that
any architecture trains on any of them:

    python -m segjax.main --config=configs/segnet.py --config.manual_dir=camvid
    python -m segjax.main --config=configs/segnet.py --config.dataset=cells
    python -m segjax.main --config=configs/segnet.py --config.dataset=folder --config.root=my_data
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import optax
from ml_collections import ConfigDict, config_dict

from segjax import optim, transfer, visualize
from segjax.core import Example, Experiment, Task
from segjax.data import augment, camvid, cells, folder, images, loader
from segjax.data.source import Source
from segjax.errors import InputError, choose
from segjax.losses.cross_entropy import cross_entropy
from segjax.losses.jaccard import cross_entropy_log_jaccard
from segjax.metrics.confusion import confusion
from segjax.nn.layers import DTYPES, BatchNorm, FrozenBatchNorm
from segjax.nn.upsample import UPSAMPLERS
from segjax.tasks.fit import check_size
from segjax.tasks.semantic import semantic


class Input(NamedTuple):
    """What a network takes: (image[..., order] - mean) / std of RGB in [0, 1]."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    order: tuple[int, int, int] = (0, 1, 2)


INPUTS = {
    "imagenet": Input((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "unit": Input((0, 0, 0), (1, 1, 1)),
    "inception": Input((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "caffe": Input(  # BGR in [0, 255]
        (104.00699 / 255, 116.66877 / 255, 122.67892 / 255), (1 / 255, 1 / 255, 1 / 255), (2, 1, 0)
    ),
    "segnet": Input((0, 0, 0), (1 / 255, 1 / 255, 1 / 255), (2, 1, 0)),  # the same, uncentred
}
"""Of torchvision, timm and most; in [0, 1]; of a few of timm's; of networks from Caffe."""


LOSSES: dict[str, Callable[..., Any]] = {
    "cross_entropy": cross_entropy,
    "cross_entropy_log_jaccard": cross_entropy_log_jaccard,
}
"""The second is TernausNet's."""


class Dataset(NamedTuple):
    """A data set as the recipe needs it."""

    source: Callable[[Any, str], Source]  # (config, split)
    size: tuple[int, int]  # of its images, or a limit of it: evaluation sees them whole
    crop: tuple[int, int]  # that training sees, before scaling
    scale: float  # that suits two CPU cores
    distort: Sequence[Callable[..., Any]]  # augmentation besides scaling


def _camvid(config: Any, split: str) -> Source:
    return camvid.source(split, config.data_dir, manual_dir=config.manual_dir)


def _cells(config: Any, split: str) -> Source:
    return cells.source(split, config.data_dir)


def _folder(config: Any, split: str) -> Source:
    if config.root is None:
        raise InputError("Say where your images are: --config.root=FOLDER.")
    options = {name: config[name] for name in ("root", "val_fraction", "skip_bad", "max_pixels")}
    return folder.source(split, config.data_dir, **options)


DATASETS = {
    "camvid": Dataset(
        _camvid,
        (360, 480),
        (360, 480),
        0.5,
        (
            augment.flip(horizontal=True),
            augment.photometric(brightness=0.2, contrast=0.2, saturation=0.2),
        ),
    ),
    "cells": Dataset(
        _cells,
        (128, 128),
        (128, 128),
        1.0,
        (
            augment.flip(horizontal=True, vertical=True),
            augment.quarter_turns(),
            augment.photometric(brightness=0.2, contrast=0.2),
        ),
    ),
    "folder": Dataset(
        _folder,
        (512, 512),
        (256, 256),
        1.0,
        (augment.flip(horizontal=True), augment.photometric(brightness=0.2, contrast=0.2)),
    ),
}


def get_config(**model: Any) -> ConfigDict:
    """The values that all share; the arguments are those of the model, `config.model`."""
    config = ConfigDict()
    config.seed = 0
    config.dataset = "camvid"  # or cells, or folder
    config.manual_dir = config_dict.placeholder(str)  # camvid: where the images and labels are
    config.root = config_dict.placeholder(str)  # folder: where your images/ and masks/ are
    config.val_fraction = 0.2  # folder: of the images, unless there are train/ and val/ folders
    config.skip_bad = False  # folder: go on without files that cannot be used
    config.max_pixels = images.MAX_PIXELS  # folder: the most that one file may hold
    config.data_dir = config_dict.placeholder(str)  # where tfds keeps prepared data sets
    config.num_workers = 0  # worker processes; 0: threads
    config.scale = config_dict.placeholder(float)  # of the images; the data set's
    config.input = "imagenet"  # or another of INPUTS, for weights that have learned from that
    config.crop = config_dict.placeholder(tuple)  # (height, width) in training; the data set's
    config.eval_size = config_dict.placeholder(tuple)  # of the largest image, after scaling
    config.loss = "cross_entropy"  # or another of LOSSES
    config.batch_size = 8
    config.optimizer = "adamw"  # or sgd, with momentum 0.9
    config.learning_rate = 1e-3
    config.weight_decay = 1e-4
    config.backbone_rate = 1.0  # of a model with a backbone, times the learning rate; 0: frozen
    config.init_from = config_dict.placeholder(str)  # PATH[:part,part]: weights to start from
    config.best = "miou"  # the figure that chooses the best checkpoint
    config.log_every = 20
    config.train = ConfigDict({"steps": 1_000, "eval_every": 250})
    config.train.save_every = config_dict.placeholder(int)  # checkpoints between evaluations
    config.train.nonfinite = "stop"  # what a NaN does, or 'skip' its update
    config.dtype = "float32"  # of the computation, or bfloat16; parameters are float32
    config.model = ConfigDict(model)
    config.model.upsample = config_dict.placeholder(str)  # the paper's, or a name of UPSAMPLERS
    return config


def options(config: Any) -> dict[str, Any]:
    """What every model takes: the type it computes in and, if one is named, the upsampler.

    Raises `InputError` for these and for a config.model.dropout that is no share of the units.
    """
    dropout = config.model.get("dropout")
    if dropout is not None and not 0 <= dropout < 1:
        raise InputError(f"--config.model.dropout must be from 0 to below 1, not {dropout}.")
    found: dict[str, Any] = {"dtype": choose(DTYPES, config.dtype, "config.dtype")}
    if config.model.upsample is not None:
        found["upsample"] = choose(UPSAMPLERS, config.model.upsample, "config.model.upsample")
    return found


def convention(config: Any) -> Any:
    """config.model.convention: where bilinear interpolation sees the corners of the maps."""
    names = {name: name for name in ("half-pixel", "corner-aligned")}
    return choose(names, config.model.convention, "config.model.convention")


def output_stride(config: Any, *strides: int) -> Any:
    """config.model.output_stride, by default the first of those config.model.variant can have."""
    stride = config.model.output_stride
    what = f"config.model.output_stride of variant {config.model.variant}"
    return strides[0] if stride is None else choose({n: n for n in strides}, stride, what)


def options_without_upsampler(config: Any) -> dict[str, Any]:
    """`options` of a network at one resolution; raises `InputError` if an upsampler is named."""
    if config.model.upsample is not None:
        raise InputError(
            f"--config.model.upsample is {config.model.upsample!r}, and this network has nothing "
            "to upsample: leave it out."
        )
    return options(config)


def backbone_options(config: Any) -> dict[str, Any]:
    """What every backbone with BatchNorm takes; one that is not trained keeps its statistics."""
    norm = frozen(BatchNorm) if config.backbone_rate == 0 else BatchNorm
    return {"dtype": choose(DTYPES, config.dtype, "config.dtype"), "norm": norm}


def prepared(backbone: Any, config: Any) -> Any:
    """The same for a backbone that a preset made, whose norm may have constants of its own."""
    changes: dict[str, Any] = {"dtype": choose(DTYPES, config.dtype, "config.dtype")}
    if config.backbone_rate == 0 and getattr(backbone, "norm", None) is not None:
        changes["norm"] = frozen(backbone.norm)
    return backbone.clone(**changes)


def frozen(norm: Callable[..., Any]) -> Callable[..., Any]:
    """FrozenBatchNorm with the epsilon of a BatchNorm factory."""
    epsilon = norm(name=None).epsilon
    return functools.partial(FrozenBatchNorm, epsilon=epsilon)


def sources(config: Any) -> dict[str, Source]:
    data = choose(DATASETS, config.dataset, "config.dataset")
    return {split: data.source(config, split) for split in ("train", "val")}


def card(config: Any) -> dict:
    """What the task knows of the data; it is saved with the run, for prediction without them."""
    if config.scale is not None and not 0 < config.scale < np.inf:
        raise InputError(f"--config.scale must be above 0, not {config.scale}.")
    train = sources(config)["train"]
    names, colours = train.class_names, train.palette
    colours = visualize.palette(len(names)) if colours is None else colours
    scale = choose(DATASETS, config.dataset, "config.dataset").scale
    return {
        "scale": scale if config.scale is None else config.scale,  # of what the network sees
        "class_names": list(names),
        "palette": np.asarray(colours).tolist(),
        "channels": train.records[0]["image"].shape[-1],
    }


def task(config: Any, card: dict, model: Any, auxiliary: Mapping[str, float] | None = None) -> Task:
    """Segmentation by the model; `auxiliary` weighs the losses of its further outputs."""
    names, rgb = card["class_names"], card["channels"] == 3
    data = choose(DATASETS, config.dataset, "config.dataset")
    scale = card["scale"]
    for name in ("crop", "eval_size"):
        if config[name] is not None:
            check_size(f"--config.{name}", config[name])
    size = tuple(config.crop or (round(n * scale) for n in data.crop))
    expected = choose(INPUTS, config.input, "config.input")
    if not rgb and config.input != "imagenet":
        raise InputError(
            f"--config.input is {config.input!r}, and these images have {card['channels']} "
            "channels, not red, green and blue: leave it out."
        )
    options: dict[str, Any] = expected._asdict() if rgb else {"mean": 0.5, "std": 0.25}
    problem = semantic(
        model,
        len(names),
        metrics=[confusion(len(names), names)],
        size=size,
        eval_size=tuple(config.eval_size or (round(n * scale) for n in data.size)),
        colours=np.asarray(card["palette"], np.uint8),
        auxiliary=auxiliary or {},
        pixel_loss=choose(LOSSES, config.loss, "config.loss"),
        **options,
    )
    if config.backbone_rate == 0:
        problem = transfer.without_gradient(problem, "backbone")
    crop = tuple(model.input_size(n) for n in size)
    distort = augment.compose(augment.warp(scale=(0.75, 1.5), crop=crop), *data.distort)

    def preprocess(
        record: Mapping[str, Any], generator: np.random.Generator, train: bool
    ) -> Example:
        return problem.preprocess(resized(record, scale), generator, train)

    loss = augment.with_augment(problem.loss, distort)
    return transfer.initialised_from(
        problem._replace(preprocess=preprocess, loss=loss),
        config.init_from,
        len(names),
        input=config.input if rgb else None,
    )


def require_init_from(config: Any) -> None:
    """Raise `InputError` unless the config names weights to start from."""
    if config.init_from is None:
        raise InputError(
            "Say what to start from, such as --config.init_from=resnet34-b627a593.pth:backbone."
        )


def resized(record: Mapping[str, Any], scale: float) -> dict[str, Any]:
    """The record with its image and label at `scale` times their size."""
    image = images.rescaled(record["image"], scale)
    size = image.shape[1::-1]
    label = cv2.resize(record["label"], size, interpolation=cv2.INTER_NEAREST_EXACT)
    return {**record, "image": image, "label": label}


def optimizer(config: Any) -> optax.GradientTransformation:
    """AdamW or SGD at a polynomially falling rate; the backbone at its own share of it."""
    if not config.backbone_rate >= 0:
        raise InputError(f"--config.backbone_rate must be at least 0, not {config.backbone_rate}.")
    rate = optim.with_warmup(optim.poly(config.learning_rate, config.train.steps), 20)
    decay = optim.decay_weights(config.weight_decay)
    chains = {
        "adamw": [optax.clip_by_global_norm(1.0), optax.scale_by_adam(), decay],
        "sgd": [decay, optax.trace(0.9)],
    }
    chain = choose(chains, config.optimizer, "config.optimizer")
    if config.backbone_rate not in (0, 1):
        chain.append(optim.scale_by_path({"^backbone/": config.backbone_rate}))
    tx = optax.chain(*chain, optim.learning_rate(rate))
    if config.backbone_rate == 0:
        tx = optim.freeze(tx, ["^backbone/"])

    def init(params: Any) -> Any:
        if config.backbone_rate != 1 and "backbone" not in params:
            raise InputError(
                f"--config.backbone_rate is {config.backbone_rate} and has no backbone to act on; "
                f"the network has {', '.join(params)}: leave it at 1."
            )
        return tx.init(params)

    return tx._replace(init=init)


def build(config: Any, task: Callable[[Any, dict], Task]) -> Experiment:
    """The experiment of a config whose task is `task(config, card)`."""
    facts = card(config)
    problem = task(config, facts)
    train, evals = loader.streams(
        sources(config),
        problem.preprocess,
        config.batch_size,
        seed=config.seed,
        num_workers=config.num_workers,
    )
    return Experiment(problem, optimizer(config), train, evals, facts)
