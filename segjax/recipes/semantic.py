"""What the configs of semantic segmentation share: any data set, loss and network together.

A config adds its network; `configs/segnet.py` shows how:

    python -m segjax.main --config=configs/segnet.py --config.manual_dir=camvid
    python -m segjax.main --config=configs/segnet.py --config.dataset=cells
    python -m segjax.main --config=configs/segnet.py --config.dataset=folder --config.root=my_data
    python -m segjax.main --config=configs/segnet.py --config.loss_options.label_smoothing=0.1
"""

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from ml_collections import ConfigDict, config_dict

from segjax import augment, visualize
from segjax.augment import Augmentation
from segjax.core import Experiment
from segjax.data import images
from segjax.data.source import Source
from segjax.errors import InputError, choose
from segjax.losses.cross_entropy import cross_entropy
from segjax.losses.jaccard import cross_entropy_log_jaccard
from segjax.recipes import training
from segjax.recipes.datasets import Dataset, dataset, opened
from segjax.tasks.fit import check_size
from segjax.tasks.semantic import labelling, semantic
from segjax.weights.input import INPUTS, Input

LOSSES: dict[str, Callable[..., Any]] = {
    "cross_entropy": cross_entropy,
    "cross_entropy_log_jaccard": cross_entropy_log_jaccard,  # TernausNet's
}
Network = Callable[[Any, int], Any]  # (config, number of classes) -> Linen module


def options_of(loss: Callable[..., Any]) -> dict[str, float]:
    """The options of a loss and their defaults."""
    found = inspect.signature(loss).parameters.items()
    return {name: x.default for name, x in found if isinstance(x.default, float)}


def get_config(dataset: str = "camvid", **model: Any) -> ConfigDict:
    """The values that all share; the arguments are the data set and the network's own."""
    config = training.get_config()
    config.dataset = dataset  # or another of recipes.datasets.DATASETS, or tfds:NAME
    config.manual_dir = config_dict.placeholder(str)  # where the files of a publisher's set are
    config.root = config_dict.placeholder(str)  # folder: where your images/ and masks/ are
    config.val_fraction = 0.2  # folder: of the images, unless there are train/ and val/ folders
    config.skip_bad = False  # folder: go on without files that cannot be used
    config.max_pixels = images.MAX_PIXELS  # folder: the most that one file may hold
    config.scale = config_dict.placeholder(float)  # of the images; the data set's
    config.input = config_dict.placeholder(str)  # of weights.input.INPUTS; the network's
    config.crop = config_dict.placeholder(tuple)  # (height, width) in training; the data set's
    config.eval_size = config_dict.placeholder(tuple)  # of the largest image, after scaling
    config.shrink = config_dict.placeholder(bool)  # larger images until they fit; the data set's
    config.loss = "cross_entropy"  # or another of LOSSES
    config.loss_options = ConfigDict()
    for name in {name for loss in LOSSES.values() for name in options_of(loss)}:
        config.loss_options[name] = config_dict.placeholder(float)
    config.model = ConfigDict(model)
    if "upsample" not in config.model:  # the paper's, or a name of nn.upsample.UPSAMPLERS
        config.model.upsample = config_dict.placeholder(str)
    return config


def build(
    config: Any,
    network: Network,
    facts: Mapping[str, Any] | None = None,
    *,
    auxiliary: Mapping[str, float] = {},
    input: str = "imagenet",
    distort: Callable[[tuple[int, ...]], Augmentation] | None = None,
    pixel_weights: Callable[[Mapping[str, Any]], np.ndarray | None] | None = None,
    dimensions: int = 2,
) -> Experiment:
    """The experiment of a config that has the values of `get_config`.

    Args:
      network: (config, number of classes) -> module.
      facts: what an earlier run has found of the data; with them no data are opened. Those that
        are missing are the defaults of the data set.
      auxiliary: weighs the losses of further outputs of the network.
      input: what of INPUTS the network takes of colours, unless the config says.
      distort: size of the crop -> augmentation, instead of the data set's.
      pixel_weights: record -> weight of each pixel in the loss, or None.
      dimensions: 3 for a network of volumes.
    """
    check_values(config, dimensions)
    data = dataset(config.dataset, dimensions)
    sources = opened(data, config)
    if facts is not None and not facts.get("class_names"):
        raise InputError("These facts are of a run that labels nothing: they have no class_names.")
    new = facts is None
    facts = facts or data.facts or facts_of(sources["train"]())
    facts = {**defaults(config, data, facts, input), **facts}
    if new and facts["shrink"]:
        facts["largest"] = largest(sources["val"]())
    names, size = facts["class_names"], tuple(facts["eval_size"])
    model = network(config, len(names))
    crop = tuple(config.crop or (round(n * facts["scale"]) for n in data.crop))
    see: dict[str, Any] = {
        "size": size,
        "input": Input(**facts["input"]),
        "colours": np.asarray(facts["palette"], np.uint8),
        "prepare": functools.partial(
            prepared,
            channels=facts["channels"],
            scale=facts["scale"],
            largest=size if facts["shrink"] else None,
        ),
    }
    metrics = data.metrics(names)
    task = semantic(
        model,
        len(names),
        metrics=metrics,
        label_size=label_size(facts),
        auxiliary=auxiliary,
        pixel_loss=loss(config),
        pixel_weights=pixel_weights,
        **see,
    )
    moved = (distort or data.distort)(tuple(model.input_size(n) for n in crop))
    task = task._replace(loss=augment.with_augment(task.loss, moved))
    shown = (config.input or input) if facts["channels"] == 3 else None
    experiment = training.experiment(config, task, model, facts, sources, metrics, input=shown)
    return experiment._replace(predictor=labelling(model, **see))


def check_values(config: Any, dimensions: int) -> None:
    """Raise `InputError` for values that no data set and network can have."""
    if config.scale is not None and not 0 < config.scale < np.inf:
        raise InputError(f"--config.scale must be above 0, not {config.scale}.")
    if dimensions == 3 and (config.scale not in (None, 1) or config.shrink):
        raise InputError("Volumes are seen as they are: leave --config.scale and shrink out.")
    for name in ("crop", "eval_size"):
        if config[name] is not None:
            check_size(f"--config.{name}", config[name], (dimensions,))


def facts_of(train: Source) -> dict[str, Any]:
    """What the task must know of the data."""
    facts: dict[str, Any] = {"class_names": list(train.class_names), "channels": train.channels}
    if train.palette is not None:
        facts["palette"] = train.palette.tolist()
    return facts


def largest(source: Source) -> tuple[int, ...]:
    """Height and width that hold every image of the source."""
    sizes = [source.records[i]["image"].shape[:-1] for i in source.records.largest]
    return tuple(map(max, zip(*sizes, strict=True)))


def defaults(config: Any, data: Dataset, facts: Mapping[str, Any], input: str) -> dict[str, Any]:
    """The facts that do not need the data to be opened."""
    scale = data.scale if config.scale is None else config.scale
    eval_size = tuple(config.eval_size or (round(n * scale) for n in data.size))
    rgb = facts["channels"] == 3
    if not rgb and config.input is not None:
        raise InputError(
            f"--config.input is {config.input!r}, and these images have {facts['channels']} "
            "channels, not red, green and blue: leave it out."
        )
    wanted = choose(INPUTS, config.input or input, "config.input") if rgb else data.grey
    return {
        "palette": visualize.palette(len(facts["class_names"])).tolist(),
        "scale": scale,  # of what the network sees
        "shrink": data.shrink if config.shrink is None else config.shrink,
        "eval_size": eval_size,  # of the largest image that it sees whole
        "input": wanted._asdict(),
        "best": data.best,
        "dimensions": len(data.size),
    }


def label_size(facts: Mapping[str, Any]) -> tuple[int, ...]:
    """The size of the largest image of an evaluation, as it is in its file."""
    if facts["shrink"]:
        return tuple(facts.get("largest", facts["eval_size"]))
    # All that rounds to eval_size or less.
    return tuple(math.floor((n + 0.5) / facts["scale"] + 1e-9) for n in facts["eval_size"])


def loss(config: Any) -> Callable[..., Any]:
    """The config's loss with its options; raises `InputError` for one that it does not have."""
    chosen = choose(LOSSES, config.loss, "config.loss")
    given = {name: x for name, x in config.loss_options.items() if x is not None}
    for name in given:
        choose(options_of(chosen), name, f"An option of --config.loss={config.loss}")
    return functools.partial(chosen, **given)


def prepared(
    record: Mapping[str, Any], channels: int, scale: float, largest: Sequence[int] | None
) -> np.ndarray:
    """A record's image as the network sees it: rescaled, of its number of channels."""
    image = record["image"]
    if largest is not None:
        scale = min(scale, *(m / n for n, m in zip(image.shape, largest, strict=False)))
    image = images.rescaled(image, scale)
    if image.shape[-1] == 3 and channels == 1:
        return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    return np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 and channels == 3 else image
