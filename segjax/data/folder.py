"""Your own images: a folder of images and one of masks, of any common kind, checked file by file.

Layouts, paired by file name without its ending:

    root/images/*  root/masks/*                         split by a stable hash of the name
    root/{train,val[,test]}/images/*  .../masks/*       split as the folders say
    root/classes.txt                                    optional: one class name a line, id 0 first

Masks hold class ids, 255 = ignore. One exception: if all masks of the set hold 0 and 255 only and
there are two classes (or no classes.txt), 255 means class 1. Without classes.txt the ids say how
many classes there are, so they must have no gaps, and 255 one meaning. Nothing is written into the
folder.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import tensorflow_datasets as tfds
from rich.console import Console

from segjax.data import files, images
from segjax.data import source as src
from segjax.errors import InputError, printable

_SIDE, _AREA = 10**6, 2**30  # of an example: what libpng writes, and what OpenCV decodes again
MOST_UNNAMED = 64  # classes without a classes.txt; more are rather grey values
_CLUTTER = {"thumbs.db", "desktop.ini"}


class Pair(NamedTuple):
    """An image file and its mask file, in one split."""

    split: str
    image: Path
    mask: Path


class Bad(NamedTuple):
    """A file that cannot be used, and why."""

    path: Path
    reason: str


class Inspection(NamedTuple):
    """What reading every file of a folder brought to light."""

    pairs: list[Pair]  # those that can be used
    bad: list[Bad]
    channels: int
    dtype: str
    binary: bool  # 255 means class 1
    class_names: tuple[str, ...]
    alpha: int = 0  # number of images whose alpha channel is dropped
    turned: int = 0  # number of files with an orientation tag, which is not applied
    counted: bool = False  # the classes are those of the masks, for want of a classes.txt
    unclear: str = ""  # why they cannot be


def inspect(
    root: str | os.PathLike[str], val_fraction: float = 0.2, max_pixels: int = images.MAX_PIXELS
) -> Inspection:
    """Read every image and mask of the folder and report all that is wrong at once.

    Raises:
      InputError: if the folder is missing or empty, is laid out in another way, or has a
        classes.txt that cannot be read.
    """
    root = Path(root)
    names = _class_names(root)
    pairs, bad = _pairs(root, val_fraction)
    kinds: dict[Pair, list[tuple[int, str]]] = {}
    seen: dict[Pair, set[int]] = {}
    alpha = turned = 0
    for pair in src.progress(pairs, f"Checking {root}"):
        try:
            image = images.load_image(pair.image, max_pixels)
            mask = images.load_mask(pair.mask, max_pixels)
        except files.FileError as e:
            bad.append(Bad(Path(e.path), e.reason))
            continue
        turned += image.turned + mask.turned
        if problem := _mismatch(image.pages, mask.pages):
            bad.append(Bad(pair.mask, problem))
            continue
        seen[pair] = {int(v) for page in mask.pages for v in np.unique(page)}
        kinds[pair] = [(page.shape[-1], page.dtype.name) for page in image.pages]
        alpha += image.alpha

    depths = [depth for pages in kinds.values() for _, depth in pages]
    dtype = max(set(depths), key=depths.count, default="uint8")
    for pair in [p for p, pages in kinds.items() if any(d != dtype for _, d in pages)]:
        bad.append(Bad(pair.image, f"not {dtype} as most images of the set are"))
        del kinds[pair], seen[pair]
    most = len(names or range(255))  # ids, besides 255; a mask with others has no say
    usable = {p: found for p, found in seen.items() if all(v < most or v == 255 for v in found)}
    values = {v for found in usable.values() for v in found}
    binary = 255 in values and values <= {0, 255} and len(names or "ab") == 2
    counted, unclear = names is None, ""
    if names is None:
        unclear = "" if binary else _unclear(root, usable)
        names = _default_names(max((v for v in values if v < 255), default=1) + 1)
    for pair, found in seen.items():
        if wrong := sorted(v for v in found if v >= len(names) and v != 255):
            of = f"of {len(names)} classes (0..{len(names) - 1}, 255 = ignore)"
            bad.append(Bad(pair.mask, f"label {', '.join(map(str, wrong[:5]))} {of}"))
            del kinds[pair]
    channels = max((c for pages in kinds.values() for c, _ in pages), default=1)
    return Inspection(
        list(kinds), sorted(bad), channels, dtype, binary, names, alpha, turned, counted, unclear
    )


def source(
    split: str,
    data_dir: str | None = None,
    *,
    root: str | os.PathLike[str],
    val_fraction: float = 0.2,
    skip_bad: bool = False,
    max_pixels: int = images.MAX_PIXELS,
) -> src.Source:
    """The user's folder as a source, prepared again whenever a file in it changes.

    Grey images in a folder with colour images become RGB; an alpha channel is dropped; every page
    of a TIFF stack is an example, and all pages of a stack fall on the same side of the split.

    Args:
      split: `train`, `val` (or `test`, if there is such a folder), or a tfds slice.
      data_dir: where to keep the prepared set; default `$TFDS_DATA_DIR` or `~/tensorflow_datasets`.
      root: the folder, laid out as the top of this file says.
      val_fraction: share of the names that go to `val` when there are no split folders.
      skip_bad: go on without the files that cannot be used, and print them.
      max_pixels: of 8-bit colour, the most that a file may hold; see `images.read_image`.

    Raises:
      InputError: naming every file that cannot be used, unless `skip_bad`; for masks that do not
        say how many classes there are, and no classes.txt that does.
    """
    root = Path(os.path.realpath(os.path.expanduser(root)))
    if not 0 < val_fraction < 1:
        raise InputError(f"val_fraction must lie between 0 and 1, got {val_fraction}.")
    name = _fingerprint(root, val_fraction, skip_bad, max_pixels)

    def make_builder() -> MaskFolder:
        config = MaskFolderConfig(name=name, inspection=found, max_pixels=max_pixels)
        return MaskFolder(config=config, data_dir=src.data_folder(data_dir))

    found = None
    with src.quiet():
        prepared = make_builder().data_path.exists()
    if not prepared:
        found = inspect(root, val_fraction, max_pixels)
        _report(root, found, skip_bad)
    builder = src.prepare(make_builder)
    return src.Source(src.records(builder, split), tuple(builder.info.metadata["class_names"]))


@dataclasses.dataclass(kw_only=True)
class MaskFolderConfig(tfds.core.BuilderConfig):
    """The folder's fingerprint as name, and what its inspection found if it is to be prepared."""

    inspection: Inspection | None = None
    max_pixels: int = images.MAX_PIXELS


class MaskFolder(tfds.core.GeneratorBasedBuilder):
    """A user's images and masks; made by `source`, which knows the folder."""

    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES: dict[str, str] = {  # noqa: RUF012
        "1.1.0": "Masks are the numbers in the file; overviews and orientation tags do not count.",
        "1.0.0": "First version.",
    }

    @property
    def _found(self) -> Inspection:
        config: Any = self.builder_config
        return (config and config.inspection) or Inspection([], [], 1, "uint8", False, ())

    def _info(self) -> tfds.core.DatasetInfo:
        found = self._found
        return tfds.core.DatasetInfo(
            builder=self,
            description="Images and masks from a folder of the user's.",
            features=src.features(found.channels, np.dtype(found.dtype)),
            metadata=tfds.core.MetadataDict(
                class_names=list(found.class_names),
                names={split: src.digest(names) for split, names in stems(found.pairs).items()},
            ),
            license="The user's own data.",
            citation="",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        splits = dict.fromkeys(pair.split for pair in self._found.pairs)
        return {split: self._generate_examples(split) for split in splits}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
        found, config, key = self._found, cast(MaskFolderConfig, self.builder_config), 0
        pairs = [pair for pair in found.pairs if pair.split == split]
        for pair in src.progress(pairs, f"Preparing {split}"):
            pictures = images.read_image(pair.image, config.max_pixels)
            masks = images.read_mask(pair.mask, config.max_pixels)
            for i, (image, mask) in enumerate(zip(pictures, masks, strict=True)):
                label = (mask == 255).astype(np.uint8) if found.binary else mask.astype(np.uint8)
                page = f"_p{i:04d}" if len(pictures) > 1 else ""
                yield (
                    key,
                    {
                        "image": src.png(image),  # grey among RGB: tfds repeats the channel
                        "label": src.png(label),
                        "name": printable(pair.image.stem + page),
                    },
                )
                key += 1


def stems(pairs: Sequence[Pair]) -> dict[str, list[str]]:
    """The names of the images in each split, in order."""
    found: dict[str, list[str]] = {}
    for pair in pairs:
        found.setdefault(pair.split, []).append(printable(pair.image.stem))
    return found


def _default_names(n: int) -> tuple[str, ...]:
    return ("background", "foreground") if n <= 2 else tuple(f"class_{i}" for i in range(n))


def _unclear(root: Path, seen: Mapping[Pair, set[int]]) -> str:
    """Why the ids in the masks do not say how many classes there are; empty if they do."""
    ids = {v for found in seen.values() for v in found if v < 255}
    if missing := [v for v in range(max(ids, default=0)) if v not in ids]:
        odd = next(pair.mask for pair, found in seen.items() if max(ids) in found)
        return (
            f"The masks in {root} hold the id {max(ids)} (see {odd.relative_to(root)}), but none"
            f" holds {', '.join(map(str, missing[:5]))}{' and so on' * (len(missing) > 5)}: if"
            f" these classes are only rare, name all {max(ids) + 1} in a classes.txt; if the id is"
            " a slip, or of a blurred edge, mend the masks."
        )
    if len(ids) > MOST_UNNAMED:
        return (
            f"The masks in {root} hold {len(ids)} different ids: if they are grey values or blurred"
            " edges, mend the masks; if there are so many classes, name them in a classes.txt."
        )
    ignoring = [pair.mask for pair, found in seen.items() if 255 in found]
    if ids == {0, 1} and ignoring and not any({1, 255} <= found for found in seen.values()):
        return (
            f"In {ignoring[0].relative_to(root)} of {root} there are 0 and 255 only, while others"
            " have 0 and 1: if 255 is class 1 there, write 1; if it is to be ignored, say so by a"
            " classes.txt that names both classes."
        )
    return ""


def _class_names(root: Path) -> tuple[str, ...] | None:
    path = root / "classes.txt"
    if not os.path.lexists(path):
        return None
    names = tuple(line.strip() for line in files.read_text(path).splitlines() if line.strip())
    if not 2 <= len(names) <= 255 or len(set(names)) < len(names):
        raise InputError(f"{path} must hold 2 to 255 different class names, one a line.")
    return names


def _pairs(root: Path, val_fraction: float) -> tuple[list[Pair], list[Bad]]:
    """Image and mask files by split, and the files that have no partner or are not images."""
    if not root.is_dir():
        raise InputError(f"{root} is not a folder.")
    splits = [s for s in ("train", "val", "test") if (root / s / "images").is_dir()]
    if bool(splits) == (root / "images").is_dir():
        raise InputError(
            f"{root} must hold either images/ and masks/, or train/images/, train/masks/,"
            f" val/images/ and val/masks/; it holds {'both' if splits else 'neither'}."
        )
    pairs, bad = [], []
    for split in splits or [""]:
        pictures, wrong = _files(root / split / "images")
        masks, wrong_masks = _files(root / split / "masks")
        bad += wrong + wrong_masks
        for stem, image in pictures.items():
            if stem in masks:
                pairs.append(Pair(split or _side(stem, val_fraction), image, masks[stem]))
            else:
                bad.append(Bad(image, f"missing mask: no {stem}.png or the like in masks/"))
        bad += [Bad(masks[stem], "a mask without an image") for stem in masks.keys() - pictures]
    if not pairs and not bad:
        raise InputError(f"{root} holds no images.")
    return pairs, bad


def _files(folder: Path) -> tuple[dict[str, Path], list[Bad]]:
    """Image files by stem, in order of name."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder.")
    files: dict[str, Path] = {}
    bad = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name.lower() in _CLUTTER:
            continue
        if path.is_dir():
            bad.append(Bad(path, "a folder; only files directly in here are read"))
        elif path.suffix.lower() not in images.SUFFIXES:
            bad.append(Bad(path, f"not one of {' '.join(images.SUFFIXES)}"))
        elif path.stem in files:
            bad.append(Bad(path, f"same name as {files[path.stem].name}"))
        else:
            files[path.stem] = path
    return files, bad


def _side(stem: str, val_fraction: float) -> str:
    """`val` for about that share of all names; a name never changes sides as others come and go."""
    draw = (
        int.from_bytes(hashlib.sha256(stem.encode("utf-8", "surrogatepass")).digest()[:8], "big")
        / 2**64
    )
    return "val" if draw < val_fraction else "train"


def _mismatch(pictures: list[np.ndarray], masks: list[np.ndarray]) -> str | None:
    if len(pictures) != len(masks):
        return f"has {len(masks)} pages, its image has {len(pictures)}"
    for i, (image, mask) in enumerate(zip(pictures, masks, strict=True)):
        if image.shape[:2] != mask.shape:
            (h, w), (mh, mw) = image.shape[:2], mask.shape
            page = f"page {i + 1} " if len(masks) > 1 else ""
            return f"{page}is {mw}x{mh} pixels, its image is {w}x{h}"
        if max(mask.shape) > _SIDE or mask.size > _AREA:
            return f"more than {_SIDE} pixels a side or {_AREA} in all; cut it and its image up"
    return None


def _fingerprint(root: Path, val_fraction: float, skip_bad: bool, max_pixels: int) -> str:
    """A name that changes with the options, the class names and every file's name, size or time."""
    names = _class_names(root)
    pairs, bad = _pairs(root, val_fraction)
    paths = [p for pair in pairs for p in pair[1:]] + [b.path for b in bad]
    listing = [(str(p.relative_to(root)), *files.stamp(p)) for p in sorted(paths)]
    key = json.dumps([str(root), listing, names, val_fraction, skip_bad, max_pixels])
    stem = "".join(c if c.isalnum() else "_" for c in root.name)
    return f"{stem}_{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def _report(root: Path, found: Inspection, skip_bad: bool) -> None:
    """Raise or print what is wrong with the files, and print what is good to know."""
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)

    def say(text: str) -> None:
        console.print(printable(text))

    if found.alpha:
        say(f"{found.alpha} images in {root} have an alpha channel, which is dropped.")
    if found.turned:
        say(
            f"{found.turned} files in {root} have an orientation tag, which is not applied: image"
            " and mask are used as the file has them."
        )
    lines = "".join(f"\n  {b.path.relative_to(root)}: {b.reason}" for b in found.bad)
    n = f"{len(found.bad)} file{'s' * (len(found.bad) > 1)} in {root} cannot be used"
    if found.unclear:
        raise InputError(found.unclear + (f" Besides, {n}:{lines}" if found.bad else ""))
    if found.bad and not (skip_bad and found.pairs):
        raise InputError(f"{n}; mend or remove them, or set skip_bad=True:{lines}")
    if found.bad:
        say(f"{n} and {'are' if len(found.bad) > 1 else 'is'} left out:{lines}")
    if found.counted:
        ids = "0 and 255" if found.binary else f"0 to {len(found.class_names) - 1}"
        say(f"{root} has no classes.txt: {len(found.class_names)} classes, {ids}.")
