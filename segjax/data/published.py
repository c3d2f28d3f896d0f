"""Any published tfds data set with masks, by its name, through one adapter.

The table `READINGS` says how to read the sets whose masks are not plain class ids. For every other
set the adapter looks for a single mask among the features, or is told by `image=`, `mask=`,
`values=` and `class_names=`. What was tried with which files: docs/data.md.
"""

import contextlib
import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.read_only_builder import builder_from_files

from segjax.data import source as src
from segjax.errors import InputError


class Reading(NamedTuple):
    """How to read the records of a set.

    Attributes:
      image: name of the image feature.
      mask: name of the mask feature.
      class_names: one name a class.
      values: value in the mask -> class id, all others are ignored; None: values are class ids.
      channel: which channel of the mask holds the values.
      name: name of the text feature that names the example, if there is one.
      segments: name of the feature with the segments of a COCO panoptic PNG, see `panoptic_label`.
      palette: colours, uint8 [C, 3], or None.
    """

    image: str
    mask: str
    class_names: tuple[str, ...] = ()
    values: Mapping[int, int] | None = None
    channel: int = 0
    name: str | None = None
    segments: str | None = None
    palette: np.ndarray | None = None


CITYSCAPES = {  # class: (labelId, colour), in order of trainId; cityscapesScripts, labels.py
    "road": (7, (128, 64, 128)),
    "sidewalk": (8, (244, 35, 232)),
    "building": (11, (70, 70, 70)),
    "wall": (12, (102, 102, 156)),
    "fence": (13, (190, 153, 153)),
    "pole": (17, (153, 153, 153)),
    "traffic light": (19, (250, 170, 30)),
    "traffic sign": (20, (220, 220, 0)),
    "vegetation": (21, (107, 142, 35)),
    "terrain": (22, (152, 251, 152)),
    "sky": (23, (70, 130, 180)),
    "person": (24, (220, 20, 60)),
    "rider": (25, (255, 0, 0)),
    "car": (26, (0, 0, 142)),
    "truck": (27, (0, 0, 70)),
    "bus": (28, (0, 60, 100)),
    "train": (31, (0, 80, 100)),
    "motorcycle": (32, (0, 0, 230)),
    "bicycle": (33, (119, 11, 32)),
}

_CITYSCAPES = Reading(
    "image_left",
    "segmentation_label",
    tuple(CITYSCAPES),
    {label_id: i for i, (label_id, _) in enumerate(CITYSCAPES.values())},
    name="image_id",
    palette=np.array([colour for _, colour in CITYSCAPES.values()], np.uint8),
)

READINGS = {
    "oxford_iiit_pet": Reading(  # trimap: 1 animal, 2 background, 3 unsure border
        "image",
        "segmentation_mask",
        ("animal", "background", "border"),
        {1: 0, 2: 1, 3: 2},
        name="file_name",
    ),
    "cityscapes/semantic_segmentation": _CITYSCAPES,
    "cityscapes/semantic_segmentation_extra": _CITYSCAPES,
    # tfds takes ADE20K's instance annotation: red is one of 100 object categories, 0 all else.
    "scene_parse150": Reading(
        "image",
        "annotation",
        tuple(f"category_{i}" for i in range(1, 101)),
        {i: i - 1 for i in range(1, 101)},
    ),
    "coco/2017_panoptic": Reading(
        "image", "panoptic_image", name="image/filename", segments="panoptic_objects"
    ),
}


def source(
    name: str,
    split: str,
    data_dir: str | None = None,
    *,
    image: str | None = None,
    mask: str | None = None,
    values: Mapping[int, int] | None = None,
    class_names: Sequence[str] | None = None,
    manual_dir: str | None = None,
) -> src.Source:
    """A published tfds set as a source; downloads and prepares it on first use.

    Args:
      name: the tfds name with its config, such as `oxford_iiit_pet`.
      split: a split of that set, or a slice.
      data_dir: where to keep the prepared set; default `$TFDS_DATA_DIR` or `~/tensorflow_datasets`.
      image: the image feature, where the table and the guess are not wanted.
      mask: the mask feature, likewise.
      values: mask value -> class id, values not listed are ignored; default: values are class ids.
      class_names: names of the classes.
      manual_dir: the folder with archives that the set's publisher gives to registered users only.

    Raises:
      InputError: for a name tfds does not know, features that do not tell image from mask, sets
        that need TensorFlow to be prepared, or missing manual downloads.
    """
    given = {"image": image, "mask": mask, "values": values, "class_names": class_names}
    given = {k: v for k, v in given.items() if v is not None}
    make_builder = functools.partial(_builder, name, data_dir)
    manual = Path(os.path.expanduser(manual_dir)) if manual_dir else None
    with _explained(name), src.quiet():
        features = make_builder().info.features
        reading = _complete(name, READINGS.get(name, Reading("", ""))._replace(**given), features)
    with _explained(name):
        builder = src.prepare(make_builder, manual_dir=manual, hide=False)
    if builder.info.file_format.value != "array_record":
        raise InputError(
            f"{name} in {builder.data_dir} was prepared as {builder.info.file_format.value}, which"
            " cannot be read at random; give another data_dir, or prepare it as array_record."
        )
    names = tuple(reading.class_names) or _labels(builder.info.features, reading).names
    convert = functools.partial(_convert, reading=reading)
    records = src.records(builder, split, convert, reading.image)
    return src.Source(records, tuple(names), reading.palette)


def split_of(
    name: str, split: str, data_dir: str | None = None, *, manual_dir: str | None = None
) -> str:
    """The set's own name of `train` or `val`, which is its validation or else its test split.

    The last tenth of `train` where it has neither.
    """
    del manual_dir  # the splits are known before the data are there
    with _explained(name), src.quiet():
        there = _builder(name, data_dir).info.splits
    other = next((s for s in ("val", "validation", "test") if s in there), None)
    if split == "train":
        return "train" if other or not there else "train[:90%]"
    return other or "train[90%:]"


def guess(name: str, features: Mapping[str, Any]) -> tuple[str, str]:
    """The names of the image and the mask feature, if there is exactly one candidate for each.

    A mask is a one-channel image feature called something with mask, label, seg or annotation.

    Raises:
      InputError: if there is none or several, with the list of features.
    """
    pictures = [k for k, f in features.items() if isinstance(f, tfds.features.Image)]
    masks = [
        k
        for k in pictures
        if features[k].shape[-1] == 1 and any(w in k for w in ("mask", "label", "seg", "annot"))
    ]
    rest = [k for k in pictures if k not in masks]
    if len(masks) != 1 or len(rest) != 1:
        raise InputError(
            f"{name}: cannot tell which feature is the image and which the mask; pass image= and"
            f" mask=. The features are {_listing(features)}."
        )
    return rest[0], masks[0]


def panoptic_label(picture: np.ndarray, ids: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Class ids uint8 [H, W] of a COCO panoptic PNG [H, W, 3]; pixels of no segment get 255.

    A segment's id is R + 256 G + 256^2 B (Kirillov et al. 2019; COCO panoptic format).
    """
    found = picture.astype(np.int64) @ np.array([1, 256, 256**2])
    label = np.full(found.shape, src.IGNORE, np.uint8)
    for segment, cls in zip(ids, classes, strict=True):
        label[found == segment] = cls
    return label


def _convert(record: dict, reading: Reading) -> dict:
    mask = record[reading.mask]
    if reading.segments:
        segments = record[reading.segments]
        label = panoptic_label(mask, segments["id"], segments["label"])
    elif reading.values is None:
        label = mask[..., reading.channel]
    else:
        table = np.full(np.iinfo(mask.dtype).max + 1, src.IGNORE, np.uint8)
        table[list(reading.values)] = list(reading.values.values())
        label = table[mask[..., reading.channel]]
    if label.max() > 255:
        raise InputError(f"{reading.mask}: value {label.max()} is no class id; pass values=.")
    out = {"image": record[reading.image], "label": label.astype(np.uint8)}
    return out | ({"name": record[reading.name].decode()} if reading.name else {})


def _builder(name: str, data_dir: str | None) -> Any:
    """The builder of what is on disk, which needs no code of the set, or else of the code."""
    try:
        return builder_from_files(name, data_dir=src.data_folder(data_dir))
    except tfds.core.DatasetNotFoundError:
        return tfds.builder(name, data_dir=src.data_folder(data_dir))


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """Say in one sentence why a published set cannot be had."""
    try:
        yield
    except tfds.core.DatasetNotFoundError as e:
        raise InputError(
            f"tfds knows no data set {name!r}; some are found only with TensorFlow installed"
            " (pip install 'segjax[prepare]')."
        ) from e
    except ImportError as e:
        if "tensorflow" not in str(e).lower():
            raise
        raise InputError(
            f"Preparing {name} needs TensorFlow (training does not): pip install 'segjax[prepare]'."
        ) from e
    except AssertionError as e:  # how tfds asks for manual downloads
        raise InputError(f"{name}: {e}") from e


def _complete(name: str, reading: Reading, features: Mapping[str, Any]) -> Reading:
    """The reading with image and mask guessed where not given, checked against the features."""
    if not reading.image or not reading.mask:
        image, mask = guess(name, features)
        reading = reading._replace(image=reading.image or image, mask=reading.mask or mask)
    for feature in (reading.image, reading.mask):
        if feature not in features:
            raise InputError(f"{name} has no feature {feature!r}; it has {_listing(features)}.")
    labels = _labels(features, reading)
    if not reading.class_names and not isinstance(
        labels, tfds.features.LabeledImage | tfds.features.ClassLabel
    ):
        raise InputError(f"{name} does not say its classes; pass class_names= (and values=).")
    n = len(reading.class_names or labels.names)
    for value, cls in (reading.values or {}).items():
        if not (0 <= cls < n or cls == src.IGNORE):
            raise InputError(f"{name}: values= maps {value} to {cls}, but classes are 0..{n - 1}.")
    return reading


def _labels(features: Mapping[str, Any], reading: Reading) -> Any:
    """The feature that knows the class names, if the set has one."""
    return features[reading.segments]["label"] if reading.segments else features[reading.mask]


def _listing(features: Mapping[str, Any]) -> str:
    return ", ".join(f"{k} ({type(f).__name__} {f.shape})" for k, f in features.items())
