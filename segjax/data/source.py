"""What every data set file returns: random access to examples that all look the same.

A record, whatever the set, is a dict with

- `image`: uint8 or uint16 [H, W, C], C is 1 (grey) or 3 (RGB, in this order),
- `label`: uint8 [H, W], class ids, 255 = ignore,
- `name`: str, unique in its split,
- `instances`: uint16 [H, W], 0 = none, only in the sets that know instances.
"""

import contextlib
import functools
import hashlib
import io
import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, SupportsIndex, TypeVar

import cv2
import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from PIL import Image
from rich.console import Console
from rich.progress import track

from segjax.errors import InputError, disk_full, printable

T = TypeVar("T")

IGNORE = 255


class Source(NamedTuple):
    """One split of a data set.

    Attributes:
      records: random access to the examples, see the top of this file; safe to pickle.
      class_names: one name for each class id.
      palette: uint8 [C, 3] RGB colours to draw the classes with, or None.
      ignore: the label value that no loss or metric may count.
    """

    records: Any
    class_names: tuple[str, ...]
    palette: np.ndarray | None = None
    ignore: int = IGNORE

    @property
    def channels(self) -> int:
        """Channels of the images."""
        told = getattr(self.records, "channels", None)
        return told or self.records[0]["image"].shape[-1]


class Records(Sequence):
    """The examples of one split of a prepared tfds directory, opened when first read.

    A record that `convert` leaves without a name gets one from the split and its index.

    Data loaders send it to their worker processes: only the path, the split and the (module-level)
    function travel, every process opens the files itself.
    """

    def __init__(
        self, directory: str, split: str, convert: Callable[[dict], dict], image: str = "image"
    ):
        self.directory, self.split, self.convert, self.image = directory, split, convert, image

    @functools.cached_property
    def _source(self):
        return self._builder.as_data_source(self.split)

    @property
    def _builder(self) -> Any:
        return tfds.builder_from_directory(self.directory)

    @functools.cached_property
    def largest(self) -> list[int]:
        """Which records have the tallest and the widest image; none is decoded to find them.

        Of volumes, which are of one shape, it is the first.
        """
        builder = self._builder
        features = builder.info.features
        pictures = [name for name, x in features.items() if isinstance(x, tfds.features.Image)]
        if self.image not in pictures:
            return [0]
        skip = dict.fromkeys(pictures, tfds.decode.SkipDecoding())
        raw = builder.as_data_source(self.split, decoders=skip)
        sizes = [size_of(raw[i][self.image]) for i in progress(range(len(raw)), "Measuring images")]
        return sorted({max(range(len(sizes)), key=lambda i: sizes[i][axis]) for axis in (0, 1)})

    def fingerprint(self) -> dict[str, Any]:
        """What differs if these are other data: the set, how many examples and bytes, the names."""
        info = self._builder.info
        split, names = info.splits[self.split], (info.metadata or {}).get("names")
        told = {"names": names.get(self.split, names)} if names else {"set": info.full_name}
        return {"examples": split.num_examples, "bytes": getattr(split, "num_bytes", None), **told}

    @property
    def channels(self) -> int:
        """Channels of the images, as the features of the set have them."""
        found = self._builder.info.features[self.image].shape[-1]
        return found if found else self[0]["image"].shape[-1]

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: SupportsIndex) -> dict:
        i, n = index.__index__(), len(self)
        if not -n <= i < n:
            raise IndexError(f"record {i} of {n}")
        return {"name": f"{self.split}_{i % n:06d}"} | self.convert(self._source[i % n])

    def __getstate__(self) -> dict:
        return {k: v for k, v in self.__dict__.items() if k not in ("_source", "largest")}

    def __repr__(self) -> str:
        return f"Records({self.directory!r}, {self.split!r})"


def plain(record: dict) -> dict:
    """The record with label and instances as [H, W] and the name as str."""
    out = {"image": record["image"], "label": record["label"][..., 0]}
    if "instances" in record:
        out["instances"] = record["instances"][..., 0]
    return out | {"name": record["name"].decode()}


def features(channels: int, dtype: Any = np.uint8, instances: bool = False):
    """The tfds features of a record as written to disk, all images as PNG or JPEG."""
    mask = {"shape": (None, None, 1), "use_colormap": True}
    entries = {
        "image": tfds.features.Image(shape=(None, None, channels), dtype=dtype),
        "label": tfds.features.Image(**mask),
        "name": tfds.features.Text(),
    }
    if instances:
        entries["instances"] = tfds.features.Image(
            shape=(None, None, 1), dtype=np.uint16, encoding_format="png"
        )
    return tfds.features.FeaturesDict(entries)


def png(array: np.ndarray) -> bytes:
    """The image as PNG bytes: tfds stores them as they are; arrays it would encode by TensorFlow.

    Args:
      array: uint8 or uint16 [H, W], [H, W, 1] or [H, W, 3] in RGB order.
    """
    if array.dtype not in (np.uint8, np.uint16):
        raise TypeError(f"PNG holds uint8 or uint16, not {array.dtype}")
    if array.ndim == 3 and array.shape[-1] == 3:
        array = array[..., ::-1]  # OpenCV writes BGR
    ok, data = cv2.imencode(".png", np.ascontiguousarray(array))
    if not ok:
        raise ValueError(f"cannot encode an array of shape {array.shape} as PNG")
    return data.tobytes()


def progress(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield the items while a bar on standard error shows how far it is; gone when done."""
    console = Console(stderr=True)
    return iter(
        track(
            items,
            description,
            total=total,
            transient=True,
            console=console,
            disable=not console.is_terminal,
        )
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence what tfds prints and logs while a set is prepared; errors pass."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.enable_progress_bar()
        logging.set_verbosity(verbosity)


def prepare(
    make_builder: Callable[[], Any], *, manual_dir: Path | None = None, hide: bool = True
) -> Any:
    """Write the data set as array_record files unless it is there; return a builder to read it.

    tfds writes to a temporary folder and renames it at the end, so an interrupted preparation
    leaves no data set behind and the next call starts anew. When several processes prepare the same
    set at once on one disk, the first to finish wins and the others use its files.

    Args:
      make_builder: makes the tfds builder; called again afterwards, because a builder knows the
        splits on disk only if they were there when it was made.
      manual_dir: where the user put the publisher's files, for sets without a free download.
      hide: hide the messages and bars of tfds (the builders here show one bar of their own).

    Raises:
      InputError: if the set needs `manual_dir` and there is no such folder, if the prepared set is
        of another one, or if the disk is full; nothing half-written is left then.
    """
    with quiet():
        builder = make_builder()
    origin = Path(builder.data_path) / "manual_dir.txt"
    if builder.data_path.exists():
        if manual_dir is not None and manual_dir.is_dir() and origin.exists():
            before = origin.read_text("utf-8", "surrogateescape")
            if before != str(manual_dir.resolve()):
                raise InputError(
                    f"{builder.info.full_name} in {builder.data_path} was prepared from {before}, "
                    f"not from {manual_dir}: delete it to prepare it anew, or give another "
                    "data_dir."
                )
        return builder
    if manual_dir is not None and not (manual_dir.is_dir() and any(manual_dir.iterdir())):
        raise InputError(
            f"{manual_dir} is empty or no folder. {builder.MANUAL_DOWNLOAD_INSTRUCTIONS}"
        )
    where = f"{builder.info.full_name} (once) in {builder.data_dir}"
    Console(stderr=True, soft_wrap=True, highlight=False).print(f"Preparing {where}")
    config = tfds.download.DownloadConfig(manual_dir=str(manual_dir) if manual_dir else None)
    try:
        with quiet() if hide else contextlib.nullcontext():
            builder.download_and_prepare(file_format="array_record", download_config=config)
        if manual_dir is not None:
            note_origin(origin, manual_dir)
    except Exception as error:
        # Another process was faster, if the set is there; array_record raises a bare RuntimeError.
        if not (isinstance(error, OSError) and builder.data_path.exists()):
            if reason := disk_full(error):
                why = f"is full ({reason})"
            elif isinstance(error, RuntimeError) and "Failed to finalize writing" in str(error):
                why = f"cannot be written ({error})"
            else:
                raise
            raise InputError(
                f"{builder.info.full_name} cannot be prepared in {builder.data_dir}: the disk of"
                f" that folder {why}; free some space, or name a folder on another disk by data_dir"
                " or $TFDS_DATA_DIR, and repeat the command."
            ) from error
    with quiet():
        return make_builder()


def note_origin(origin: Path, manual_dir: Path) -> None:
    """Write where a set came from beside it; a set without that note is not kept."""
    try:
        origin.write_text(str(manual_dir.resolve()), "utf-8", "surrogateescape")
    except OSError:
        shutil.rmtree(origin.parent)
        raise


def manual_folder(name: str, data_dir: str | None, manual_dir: str | None) -> Path:
    """Where the user's copy of set `name` lies: `manual_dir`, or the place tfds keeps for such."""
    if manual_dir:
        return Path(os.path.expanduser(manual_dir))
    return Path(data_folder(data_dir)) / "downloads" / "manual" / name


def data_folder(data_dir: str | None) -> str:
    """Where prepared sets are kept: `data_dir`, `$TFDS_DATA_DIR` as it is now, or tfds's place."""
    folder = os.path.expanduser(
        data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    )
    if printable(folder) != folder:
        raise InputError(
            f"The data_dir (or $TFDS_DATA_DIR) {folder} is a name that is not UTF-8, which"
            " array_record cannot open: name another folder."
        )
    return folder


def size_of(encoded: bytes) -> tuple[int, int]:
    """(height, width) of an image file, by its header."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its size
        width, height = Image.open(io.BytesIO(encoded)).size
    return height, width


def digest(names: Iterable[str]) -> str:
    """A short text that tells other names, or another order of them."""
    return hashlib.sha256("\0".join(names).encode()).hexdigest()[:16]


def records(
    builder: Any, split: str, convert: Callable[[dict], dict] = plain, image: str = "image"
) -> Records:
    """Random access to one split (or slice such as `train[:50%]`) of a prepared set."""
    try:
        size = builder.info.splits[split].num_examples
    except (KeyError, ValueError) as e:
        names = ", ".join(builder.info.splits)
        raise InputError(
            f"{builder.info.full_name}, prepared in {builder.data_dir}, has no split {split!r}: use"
            f" one of {names}, or a slice such as 'train[:50%]'."
        ) from e
    if not size:
        raise InputError(f"The split {split!r} of {builder.info.full_name} is empty.")
    return Records(str(builder.data_path), split, convert, image)
