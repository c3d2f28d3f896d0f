"""A folder of photographs, without masks: for tasks that make their own targets.

    root/**/*                      split by a stable hash of the name
    root/{train,val[,test]}/**/*   split as the folders say

Every image file in the folder and the folders in it, linked ones too, is read once, shrunk, and
kept by tfds; nothing is written into the folder. Grey photographs become RGB.
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

from segjax.data import files, images
from segjax.data import source as src
from segjax.errors import InputError, printable

SPLITS = ("train", "val", "test")


def source(
    split: str,
    data_dir: str | None = None,
    *,
    root: str | os.PathLike[str],
    side: int,
    val_fraction: float = 0.2,
    skip_bad: bool = False,
    max_pixels: int = images.MAX_PIXELS,
) -> src.Source:
    """The user's photographs as a source without classes, prepared again when a file changes.

    Args:
      split: `train`, `val` (or `test`, if there is such a folder), or a tfds slice.
      data_dir: where to keep the prepared set; default `$TFDS_DATA_DIR` or `~/tensorflow_datasets`.
      root: the folder, laid out as the top of this file says.
      side: larger photographs are shrunk until their shorter side has so many pixels.
      val_fraction: share of the names that go to `val` when there are no split folders.
      skip_bad: go on without the files that cannot be read, and print them.
      max_pixels: of 8-bit colour, the most that a file may hold; see `images.read_image`.

    Raises:
      InputError: naming every file that cannot be read, unless `skip_bad`.
    """
    root = Path(os.path.realpath(os.path.expanduser(root)))
    if not 0 < val_fraction < 1:
        raise InputError(f"val_fraction must lie between 0 and 1, got {val_fraction}.")
    paths = find(root, val_fraction)
    listing = [
        (split, str(p.relative_to(root)), *files.stamp(p)) for split in paths for p in paths[split]
    ]
    key = json.dumps([str(root), listing, side, skip_bad, max_pixels])
    stem = "".join(c if c.isalnum() else "_" for c in root.name)
    name = f"{stem}_{hashlib.sha256(key.encode()).hexdigest()[:16]}"

    def make_builder() -> PhotographFolder:
        config = PhotographsConfig(name=name, files=paths, side=side, max_pixels=max_pixels)
        return PhotographFolder(config=config, data_dir=src.data_folder(data_dir))

    with src.quiet():
        prepared = make_builder().data_path.exists()
    if not prepared:
        paths = readable(root, paths, skip_bad, max_pixels)
    return src.Source(src.records(src.prepare(make_builder), split, plain), ())


def find(root: Path, val_fraction: float) -> dict[str, list[Path]]:
    """The image files of each split, in order of name."""
    if not root.is_dir():
        raise InputError(f"{root} is not a folder.")
    folders = {split: root / split for split in SPLITS if (root / split).is_dir()}
    folders = folders if "train" in folders else {"": root}
    found: dict[str, list[Path]] = {}
    for split, folder in folders.items():
        for path in sorted(walk(folder)):
            if path.suffix.lower() in images.SUFFIXES:
                found.setdefault(split or side_of(path.stem, val_fraction), []).append(path)
    missing = [split for split in ("train", "val") if split not in found]
    if missing:
        raise InputError(
            f"{root} has no photographs ({', '.join(images.SUFFIXES)}) for {' and '.join(missing)}:"
            " add some, or lay it out as train/ and val/."
        )
    return found


def walk(folder: Path) -> Iterator[Path]:
    """What is no folder in a folder and those in it, linked ones too, each once; nothing hidden.

    Raises:
      OSError: of a folder that cannot be read.
    """

    def fail(error: OSError) -> None:
        raise error

    been: set[str] = set()
    for at, folders, names in os.walk(folder, onerror=fail, followlinks=True):
        if os.path.realpath(at) in been:
            folders.clear()
            continue
        been.add(os.path.realpath(at))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(at, name) for name in names if not name.startswith("."))


def side_of(stem: str, val_fraction: float) -> str:
    """`val` for about that share of all names; a name never changes sides as others come and go."""
    draw = (
        int.from_bytes(hashlib.sha256(stem.encode("utf-8", "surrogatepass")).digest()[:8], "big")
        / 2**64
    )
    return "val" if draw < val_fraction else "train"


def readable(
    root: Path, paths: dict[str, list[Path]], skip_bad: bool, max_pixels: int
) -> dict[str, list[Path]]:
    """The files without those that cannot be read; raises `InputError` for these or prints them."""
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    bad: dict[Path, str] = {}
    turned = 0
    for path in src.progress([p for split in paths.values() for p in split], f"Checking {root}"):
        try:
            turned += images.load_image(path, max_pixels).turned
        except files.FileError as error:
            bad[path] = error.reason
    if turned:
        console.print(
            printable(f"{turned} files in {root} have an orientation tag, which is not applied.")
        )
    good = {split: [p for p in found if p not in bad] for split, found in paths.items()}
    if bad:
        lines = "".join(f"\n  {path.relative_to(root)}: {reason}" for path, reason in bad.items())
        n = f"{len(bad)} photograph{'s' * (len(bad) > 1)} in {root} cannot be read"
        if not skip_bad or not all(good.values()):
            raise InputError(f"{n}; mend or remove them, or set skip_bad=True:{lines}")
        console.print(printable(f"{n} and {'are' if len(bad) > 1 else 'is'} left out:{lines}"))
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
    max_pixels: int = images.MAX_PIXELS


class PhotographFolder(tfds.core.GeneratorBasedBuilder):
    """A user's photographs; made by `source`, which knows the folder."""

    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES: dict[str, str] = {  # noqa: RUF012
        "1.1.0": "Orientation tags do not count, in TIFF files either.",
        "1.0.0": "First version.",
    }

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "name": tfds.features.Text(),
        }
        config: Any = self.builder_config
        names = {
            split: src.digest(printable(path.stem) for path in found)
            for split, found in ((config and config.files) or {}).items()
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="Photographs from a folder of the user's.",
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict(names=names),
            license="The user's own data.",
            citation="",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        config: Any = self.builder_config
        return {split: self._generate_examples(split, config) for split in config.files}

    def _generate_examples(self, split: str, config: Any) -> Iterator[tuple[int, dict]]:
        for i, path in enumerate(src.progress(config.files[split], f"Preparing {split}")):
            image = images.read_image(path, config.max_pixels)[0]
            if image.dtype == np.uint16:
                image = (image >> 8).astype(np.uint8)
            # Of a grey photograph tfds repeats the channel.
            yield i, {"image": src.png(shrunk(image, config.side)), "name": printable(path.stem)}
