"""Reading image and mask files of every common kind into arrays, or saying why it cannot be done.

Pillow reads them, because it refuses truncated files and keeps palettes; OpenCV steps in for
16-bit colour, which Pillow silently cuts to 8 bits. EXIF orientation is not applied: masks carry
none, and image and mask must stay on one grid.
"""

import contextlib
import os
import warnings
from collections.abc import Callable, Iterable, Iterator

import cv2
import numpy as np
from PIL import Image, ImageSequence

from segjax.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp")

_Path = str | os.PathLike[str]


def read_image(path: _Path) -> list[np.ndarray]:
    """The pages of an image file, each uint8 or uint16 [H, W, 1] (grey) or [H, W, 3] (RGB).

    A TIFF stack has as many pages as it has; every other file has one (the first frame). An alpha
    channel is dropped, a palette is looked up, a black-and-white file becomes 0 and 255.

    Raises:
      InputError: if the file is missing, damaged, truncated, or holds fractions or values that do
        not fit 16 bits.
    """
    return _read(path, _image)


def read_mask(path: _Path) -> list[np.ndarray]:
    """The pages of a mask file, each an integer array [H, W] of the ids in the file.

    A palette file gives its indices, not its colours; a black-and-white file gives 0 and 1; a
    colour file is accepted only if its three channels are equal.

    Raises:
      InputError: as `read_image`, and for JPEG masks and masks painted in colours.
    """
    return _read(path, _mask)


def has_alpha(path: _Path) -> bool:
    """Whether the image file declares transparency, which `read_image` drops."""
    with _open(path) as file:
        return "A" in file.getbands() or "transparency" in file.info


@contextlib.contextmanager
def _open(path: _Path) -> Iterator[Image.Image]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd metadata; damaged pixels raise
        with Image.open(path) as file:
            yield file


def _read(path: _Path, convert: Callable[[Image.Image, np.ndarray | None], np.ndarray]) -> list:
    try:
        with _open(path) as file:
            deep = None
            if _is_sixteen_bit_colour(file):
                for frame in _frames(file):
                    frame.load()  # refuses truncated files, which OpenCV may fill up
                deep = _sixteen_bit_colour(path)
            return [
                convert(frame, None if deep is None else deep[i])
                for i, frame in enumerate(_frames(file))
            ]
    except InputError as e:
        raise InputError(f"{path}: {e}") from None
    except FileNotFoundError as e:
        raise InputError(f"{path}: there is no such file.") from e
    except Image.UnidentifiedImageError as e:
        raise InputError(f"{path}: empty, damaged or not an image file.") from e
    except Exception as e:  # decoders fail in many ways on damaged files; all mean the same
        raise InputError(f"{path}: damaged or truncated ({e}).") from e


def _frames(file: Image.Image) -> Iterable[Image.Image]:
    return ImageSequence.Iterator(file) if file.format == "TIFF" else [file]


def _is_sixteen_bit_colour(file: Image.Image) -> bool:
    """Whether Pillow would cut this file to 8 bits: by the raw mode of its decoder, `RGB;16B`."""
    args = [tile[3] for tile in getattr(file, "tile", [])]
    raw = [arg if isinstance(arg, str) else str(arg[0]) for arg in args if arg]
    return not file.mode.startswith("I") and any("16" in mode for mode in raw)


def _sixteen_bit_colour(path: _Path) -> list[np.ndarray]:
    ok, pages = cv2.imreadmulti(os.fspath(path), flags=cv2.IMREAD_UNCHANGED)
    if not ok:
        raise InputError("a kind of 16-bit colour file that cannot be read; save it as PNG.")
    return [np.ascontiguousarray(p[..., 2::-1]) for p in pages]  # BGR or BGRA to RGB


def _numbers(frame: Image.Image) -> np.ndarray:
    """The values of a one-channel frame as native integers, 16 bits at most."""
    array = np.asarray(frame)
    if array.dtype.kind == "f":
        raise InputError("holds fractions; save it with 8 or 16 bits per channel.")
    if array.dtype.itemsize > 2:
        if array.min() < 0 or array.max() > 65535:
            raise InputError(f"values {array.min()}..{array.max()} do not fit 16 bits.")
        array = array.astype(np.uint16)
    return array.astype(array.dtype.newbyteorder("="))


def _image(frame: Image.Image, deep: np.ndarray | None) -> np.ndarray:
    if frame.mode in ("L", "LA"):
        grey = np.asarray(frame.getchannel(0)) if deep is None else deep[..., 0]
        return grey[..., None]
    if deep is not None:
        return deep
    if frame.mode == "1":
        return np.asarray(frame).astype(np.uint8)[..., None] * np.uint8(255)
    if frame.mode[0] in "IF":
        return _numbers(frame)[..., None]
    rgb = np.asarray(frame.convert("RGBA" if frame.mode == "P" else "RGB"))[..., :3]
    if frame.mode in ("P", "PA") and (rgb == rgb[..., :1]).all():
        rgb = rgb[..., :1]  # a grey picture with a palette
    return np.ascontiguousarray(rgb)


def _mask(frame: Image.Image, deep: np.ndarray | None) -> np.ndarray:
    frame.load()
    if frame.format in ("JPEG", "MPO"):
        raise InputError("a JPEG mask, whose ids compression has blurred; save it as PNG.")
    if frame.mode[0] in "IF":
        return _numbers(frame)
    array = np.asarray(frame).astype(np.uint8) if deep is None else deep
    if frame.mode in ("1", "L", "P"):
        return array
    if frame.mode in ("LA", "PA"):
        return array[..., 0]
    if frame.mode in ("RGB", "RGBA", "RGBX") and (array[..., :3] == array[..., :1]).all():
        return array[..., 0]
    raise InputError(
        "a mask painted in colours; save it as class ids, one grey value or palette index a class."
    )


def rescaled(image: np.ndarray, scale: float) -> np.ndarray:
    """An image [H, W, C] at `scale` times its size: averaged where it shrinks, else bilinear."""
    if scale == 1:
        return image
    height, width, channels = image.shape
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, size, interpolation=how).reshape(size[1], size[0], channels)
