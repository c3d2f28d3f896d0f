"""A folder of photographs, without masks: for tasks that make their own targets.

    root/**/*                      split by a stable hash of the name
    root/{train,val[,test]}/**/*   split as the folders say

Every image file in the folder and the folders in it is read once, shrunk, and kept by tfds; nothing
is written into the folder. Grey photographs become RGB.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds
from rich.console import Console

from segjax.data import images
from segjax.data import source as src
from segjax.errors import InputError

SPLITS = ("train", "val", "test")


def source(
    split: str,
    data_dir: str | None = None,
    *,
    root: str | os.PathLike[str],
    side: int,
    val_fraction: float = 0.2,
    skip_bad: bool = False,
) -> src.Source:
    """The user's photographs as a source without classes, prepared again when a file changes.

    Args:
      split: `train`, `val` (or `test`, if there is such a folder), or a tfds slice.
      data_dir: where to keep the prepared set; default `$TFDS_DATA_DIR` or `~/tensorflow_datasets`.
      root: the folder, laid out as the top of this file says.
      side: larger photographs are shrunk until their shorter side has so many pixels.
      val_fraction: share of the names that go to `val` when there are no split folders.
      skip_bad: go on without the files that cannot be read, and print them.

    Raises:
      InputError: naming every file that cannot be read, unless `skip_bad`.
    """
    root = Path(root).expanduser().resolve()
    if not 0 < val_fraction < 1:
        raise InputError(f"val_fraction must lie between 0 and 1, got {val_fraction}.")
    files = find(root, val_fraction)
    listing = [
        (split, str(p.relative_to(root)), p.stat().st_size, p.stat().st_mtime_ns)
        for split, paths in files.items()
        for p in paths
    ]
    key = hashlib.sha256(json.dumps([str(root), listing, side, skip_bad]).encode()).hexdigest()
    name = "".join(c if c.isalnum() else "_" for c in root.name) + f"_{key[:16]}"

    def make_builder() -> PhotographFolder:
        config = PhotographsConfig(name=name, files=files, side=side)
        return PhotographFolder(config=config, data_dir=src.data_folder(data_dir))

    with src.quiet():
        prepared = make_builder().data_path.exists()
    if not prepared:
        files = readable(root, files, skip_bad)
    return src.Source(src.records(src.prepare(make_builder), split, plain), ())


def find(root: Path, val_fraction: float) -> dict[str, list[Path]]:
    """The image files of each split, in order of name."""
    if not root.is_dir():
        raise InputError(f"{root} is not a folder.")
    folders = {split: root / split for split in SPLITS if (root / split).is_dir()}
    folders = folders if "train" in folders else {"": root}
    files: dict[str, list[Path]] = {}
    for split, folder in folders.items():
        for path in sorted(folder.rglob("*")):
            hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
            if path.suffix.lower() in images.SUFFIXES and path.is_file() and not hidden:
                files.setdefault(split or side_of(path.stem, val_fraction), []).append(path)
    missing = [split for split in ("train", "val") if split not in files]
    if missing:
        raise InputError(
            f"{root} has no photographs ({', '.join(images.SUFFIXES)}) for {' and '.join(missing)}:"
            " add some, or lay it out as train/ and val/."
        )
    return files


def side_of(stem: str, val_fraction: float) -> str:
    """`val` for about that share of all names; a name never changes sides as others come and go."""
    draw = int.from_bytes(hashlib.sha256(stem.encode()).digest()[:8], "big") / 2**64
    return "val" if draw < val_fraction else "train"


def readable(root: Path, files: dict[str, list[Path]], skip_bad: bool) -> dict[str, list[Path]]:
    """The files without those that cannot be read; raises `InputError` for these or prints them."""
    bad: dict[Path, str] = {}
    for path in src.progress([p for paths in files.values() for p in paths], f"Checking {root}"):
        try:
            images.read_image(path)
        except InputError as error:
            bad[path] = str(error).removeprefix(f"{path}: ").rstrip(".")
    good = {split: [p for p in paths if p not in bad] for split, paths in files.items()}
    if bad:
        lines = "".join(f"\n  {path.relative_to(root)}: {reason}" for path, reason in bad.items())
        n = f"{len(bad)} photograph{'s' * (len(bad) > 1)} in {root} cannot be read"
        if not skip_bad or not all(good.values()):
            raise InputError(f"{n}; mend or remove them, or set skip_bad=True:{lines}")
        Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(
            f"{n} and {'are' if len(bad) > 1 else 'is'} left out:{lines}"
        )
    return good


def shrunk(image: np.ndarray, side: int) -> np.ndarray:
    """The image [H, W, C] with a shorter side of at most `side` pixels."""
    height, width, channels = image.shape
    scale = side / min(height, width)
    if scale >= 1:
        return image
    size = round(width * scale), round(height * scale)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).reshape(*size[::-1], channels)


def middle(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The middle of [H, W, C] at `size` (height, width), as far as it is larger."""
    top, left = (max(n - m, 0) // 2 for n, m in zip(image.shape, size, strict=False))
    return image[top : top + size[0], left : left + size[1]]


def plain(record: dict) -> dict:
    """The record with its name as str."""
    return {"image": record["image"], "name": record["name"].decode()}


@dataclasses.dataclass(kw_only=True)
class PhotographsConfig(tfds.core.BuilderConfig):
    """The folder's fingerprint as name, and its files if it is to be prepared."""

    files: dict[str, list[Path]] | None = None
    side: int = 256


class PhotographFolder(tfds.core.GeneratorBasedBuilder):
    """A user's photographs; made by `source`, which knows the folder."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: dict[str, str] = {"1.0.0": "First version."}  # noqa: RUF012

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "name": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="Photographs from a folder of the user's.",
            features=tfds.features.FeaturesDict(features),
            license="The user's own data.",
            citation="",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        config: Any = self.builder_config
        return {split: self._generate_examples(split, config) for split in config.files}

    def _generate_examples(self, split: str, config: Any) -> Iterator[tuple[int, dict]]:
        for i, path in enumerate(src.progress(config.files[split], f"Preparing {split}")):
            image = images.read_image(path)[0]
            if image.dtype == np.uint16:
                image = (image >> 8).astype(np.uint8)
            # Of a grey photograph tfds repeats the channel.
            yield i, {"image": src.png(shrunk(image, config.side)), "name": path.stem}
