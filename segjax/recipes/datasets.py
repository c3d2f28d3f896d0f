"""The labelled data sets that any config of semantic segmentation takes, with what suits each."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from segjax import augment
from segjax.augment import Augmentation
from segjax.data import camvid, cells, cells3d, folder, isbi_em, published
from segjax.data.source import Source
from segjax.errors import InputError, choose
from segjax.metrics import Metric
from segjax.metrics.boundary import boundary_iou
from segjax.metrics.confusion import confusion
from segjax.metrics.em import em_scores
from segjax.weights.input import Input

Names = Sequence[str]


def overlap(names: Names) -> list[Metric]:
    """IoU, Dice and accuracy."""
    return [confusion(len(names), names)]


def known(module: Any, channels: int) -> dict[str, Any]:
    """The facts of a set whose file says them."""
    names, colours = list(module.CLASS_NAMES), module.PALETTE.tolist()
    return {"class_names": names, "palette": colours, "channels": channels}


class Dataset(NamedTuple):
    """A data set, and the values that suit it where the config has none."""

    source: Callable[[Any, str], Source]  # (config, split)
    size: tuple[int, ...]  # of the largest image
    crop: tuple[int, ...]  # that training sees, of images of that size
    distort: Callable[[tuple[int, ...]], Augmentation]  # size of the crop -> augmentation
    scale: float = 1.0  # that suits two CPU cores
    metrics: Callable[[Names], list[Metric]] = overlap
    best: str = "miou"  # the figure that chooses the best checkpoint
    grey: Input = Input(0.5, 0.25)  # what a network takes of images that are not RGB
    shrink: bool = False  # larger images until they fit, where sizes differ widely
    facts: Mapping[str, Any] | None = None  # classes, colours, channels, where they are known


def _camvid(config: Any, split: str) -> Source:
    return camvid.source(split, config.data_dir, manual_dir=config.manual_dir)


def _photographs(crop: tuple[int, ...], saturation: float = 0.0) -> Augmentation:
    return augment.compose(
        augment.geometric(augment.zoom(0.75, 1.5), augment.crop(*crop), augment.flip(1)),
        augment.photometric(brightness=0.2, contrast=0.2, saturation=saturation),
    )


def _cells(config: Any, split: str) -> Source:
    return cells.source(split, config.data_dir)


def _micrographs(
    crop: tuple[int, ...], rotation: float, sigma: float, *further: Augmentation
) -> Augmentation:
    """No side is up: turned, mirrored and deformed by `sigma` pixels."""
    turns = [augment.quarter_turns()] if crop[0] == crop[1] else []
    window = [augment.zoom(0.9, 1.1), augment.crop(*crop), augment.rotate(rotation)]
    deformed = [augment.flip(0, 1), *turns, augment.elastic(sigma)]
    return augment.compose(augment.geometric(*window, *deformed), *further)


def _cell_images(crop: tuple[int, ...]) -> Augmentation:
    return _micrographs(crop, 15.0, 4.0, augment.photometric(brightness=0.2, contrast=0.2))


def _isbi(config: Any, split: str) -> Source:
    return isbi_em.source(split, config.data_dir, manual_dir=config.manual_dir)


def _sections(crop: tuple[int, ...]) -> Augmentation:
    shades = augment.photometric(brightness=0.1, contrast=0.2)
    return _micrographs(crop, 20.0, 10.0, shades, augment.gaussian_noise(0.02))


def _folder(config: Any, split: str) -> Source:
    if config.root is None:
        raise InputError("Say where your images are: --config.root=FOLDER.")
    options = {name: config[name] for name in ("root", "val_fraction", "skip_bad", "max_pixels")}
    return folder.source(split, config.data_dir, **options)


def _volumes(config: Any, split: str) -> Source:
    slices = tuple(config.annotated_slices)
    return cells3d.source(split, size=tuple(config.volume), annotated_slices=slices)


def _volume_crops(crop: tuple[int, ...]) -> Augmentation:
    return augment.geometric(augment.crop(*crop), augment.flip(0, 1, 2))


def _published(name: str) -> Callable[[Any, str], Source]:
    def source(config: Any, split: str) -> Source:
        places = {"data_dir": config.data_dir, "manual_dir": config.manual_dir}
        return published.source(name, published.split_of(name, split, **places), **places)

    return source


DATASETS: Mapping[str, Dataset] = {
    "camvid": Dataset(
        _camvid,
        (360, 480),
        (360, 480),
        functools.partial(_photographs, saturation=0.2),
        scale=0.5,
        facts=known(camvid, 3),
    ),
    "cells": Dataset(
        _cells,
        (128, 128),
        (128, 128),
        _cell_images,
        metrics=lambda names: [*overlap(names), boundary_iou(len(names)), em_scores()],
        best="v_rand",
        facts=known(cells, 1),
    ),
    "isbi_em": Dataset(
        _isbi,
        (512, 512),
        (256, 256),
        _sections,
        metrics=lambda names: [*overlap(names), em_scores()],
        best="v_rand",
        facts=known(isbi_em, 1),
        grey=Input(0.5, 0.2),
    ),
    "cells3d": Dataset(
        _volumes,
        (48, 64, 64),
        (32, 32, 32),
        _volume_crops,
        best="iou/cell",
        facts=known(cells3d, 1),
        grey=Input(0.3, 0.2),
    ),
    "folder": Dataset(_folder, (512, 512), (256, 256), _photographs),
    **{
        name: Dataset(_published(name), (512, 512), (256, 256), _photographs, shrink=True)
        for name in published.READINGS
    },
}


def dataset(name: str, dimensions: int = 2) -> Dataset:
    """One of DATASETS, or 'tfds:NAME', any other published set with masks.

    Raises `InputError` for one that is not known, or not of so many dimensions.
    """
    if name.startswith("tfds:") and dimensions == 2:
        source = _published(name.removeprefix("tfds:"))
        return Dataset(source, (512, 512), (256, 256), _photographs, shrink=True)
    fitting = {key: x for key, x in DATASETS.items() if len(x.size) == dimensions}
    return choose(fitting, name, "config.dataset")


def opened(data: Dataset, config: Any) -> dict[str, Callable[[], Source]]:
    """split -> what opens it, once."""
    return {
        split: functools.cache(functools.partial(data.source, config, split))
        for split in ("train", "val")
    }
