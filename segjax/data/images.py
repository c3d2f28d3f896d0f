"""Reading image and mask files of every common kind into arrays, or saying why it cannot be done.

Pillow reads them, because it refuses truncated files and keeps palettes; OpenCV steps in for
16-bit colour, which Pillow silently cuts to 8 bits. An orientation tag (EXIF or XMP) is not
applied, whatever the kind of file: masks carry none, and image and mask must stay on one grid.
"""

import contextlib
import io
import itertools
import re
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageMode

from segjax.data import files
from segjax.data.files import FileError
from segjax.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp")

MAX_PIXELS = 2**29
"""Of 8-bit colour, in all pages of a file: 1.5 GiB, three times what Pillow takes by itself.

Reading needs up to four times that; a file of a few kilobytes may claim any size.
"""

_BYTES = 3  # of a pixel of 8-bit colour, which `max_pixels` counts
_BITS_PER_SAMPLE, _PLANAR, _NEW_SUBFILE_TYPE, _SUBFILE_TYPE = 258, 284, 254, 255  # TIFF 6.0, 8
_TILE = 322, 323  # width and height of its tiles, which are decoded whole
_OVERVIEW, _TRANSPARENCY = 1, 4  # bits of the new type; of the old one, 2 is an overview
_STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda page: page[:, ::-1],
    3: lambda page: page[::-1, ::-1],
    4: lambda page: page[::-1],
    5: lambda page: page.swapaxes(0, 1),
    6: np.rot90,
    7: lambda page: page.swapaxes(0, 1)[::-1, ::-1],
    8: lambda page: np.rot90(page, -1),
}
_PILLOW_LIMIT = threading.Lock()


class File(NamedTuple):
    """What an image or mask file holds.

    Attributes:
      pages: see `read_image` and `read_mask`.
      alpha: whether it declares transparency, which `read_image` drops.
      turned: whether it carries an orientation tag that tells a viewer to turn it.
    """

    pages: list[np.ndarray]
    alpha: bool
    turned: bool


def read_image(path: files.Path, max_pixels: int = MAX_PIXELS) -> list[np.ndarray]:
    """The pages of an image file, each uint8 or uint16 [H, W, 1] (grey) or [H, W, 3] (RGB).

    A TIFF stack has as many pages as it has, without overviews and transparency masks; every other
    file has one (the first frame). An alpha channel is dropped, a palette is looked up, grey of 1,
    2 or 4 bits is stretched to 0..255.

    Args:
      max_pixels: what all pages may hold together; a pixel of 8-bit colour counts as one, one of
        8-bit grey as a third, one of 16-bit colour as two.

    Raises:
      FileError: if there is no regular file, or it is damaged, truncated, too large, or holds
        fractions or values that do not fit 16 bits.
    """
    return load_image(path, max_pixels).pages


def read_mask(path: files.Path, max_pixels: int = MAX_PIXELS) -> list[np.ndarray]:
    """The pages of a mask file, each an integer array [H, W] of the ids in the file.

    A grey file gives its numbers, a palette file its indices, whatever they look like; a
    black-and-white file gives 0 and 1; a colour file is accepted only if its channels are equal.

    Raises:
      FileError: as `read_image`, and for JPEG masks, masks painted in colours, and masks with
        transparency that varies.
    """
    return load_mask(path, max_pixels).pages


def load_image(path: files.Path, max_pixels: int = MAX_PIXELS) -> File:
    """`read_image` with what else is known of the file."""
    return _load(path, _image, max_pixels)


def load_mask(path: files.Path, max_pixels: int = MAX_PIXELS) -> File:
    """`read_mask` with what else is known of the file."""
    return _load(path, _mask, max_pixels)


def has_alpha(path: files.Path) -> bool:
    """Whether the image file declares transparency, which `read_image` drops."""
    return load_image(path).alpha


_Convert = Callable[[Image.Image, str, np.ndarray | None], np.ndarray]


def _load(path: files.Path, convert: _Convert, max_pixels: int) -> File:
    if max_pixels < 1:
        raise InputError(f"max_pixels must be at least 1, not {max_pixels}.")
    files.check(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata; damaged pixels raise
            try:
                return _decode(path, convert, max_pixels)
            except Image.DecompressionBombError:
                with _pillow_takes(max_pixels):
                    return _decode(path, convert, max_pixels)
    except Image.DecompressionBombError as e:
        raise FileError(path, _too_large("more", max_pixels)) from e
    except InputError as e:
        raise FileError(path, str(e)) from None
    except Image.UnidentifiedImageError as e:
        raise FileError(path, "empty, damaged or not an image file") from e
    except MemoryError as e:
        raise FileError(path, "too large for the free memory") from e
    except PermissionError as e:
        raise FileError(path, f"cannot be read ({e.strerror})") from e
    except Exception as e:  # decoders fail in many ways on damaged files; all mean the same
        raise FileError(path, f"damaged or truncated ({e})") from e


@contextlib.contextmanager
def _pillow_takes(max_pixels: int) -> Iterator[None]:
    """Let Pillow, whose limit is a global, read one file of so many pixels."""
    with _PILLOW_LIMIT:
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = max_pixels * _BYTES // 2  # it refuses twice that
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _decode(path: files.Path, convert: _Convert, max_pixels: int) -> File:
    file: Any
    # A stream, since of files with a name Pillow maps some, and then mixes up height and width of a
    # TIFF that lies on its side.
    with open(path, "rb") as stream, Image.open(stream) as file:
        alpha = file.has_transparency_data
        pages, turned, data = [], False, None
        for i in _page_numbers(file, max_pixels):
            file.seek(i)
            raw, deep, tiff = _raw_mode(file), _is_deep(file), file.format == "TIFF"
            tag = file.tag_v2.get(ExifTags.Base.Orientation, 1) if tiff else 1
            turn = _orientation(file)
            file.load()  # refuses truncated files, which OpenCV may fill up
            if convert is _mask and (kind := _lossy(file, stream)):
                raise InputError(f"a {kind} mask, whose ids that has blurred; save it as PNG")
            if deep and tiff and file.tag_v2.get(_PLANAR) == 2:  # OpenCV would mix up the planes
                raise InputError("16-bit colour in separate planes; save it as PNG")
            if deep:
                data = np.fromfile(path, np.uint8) if data is None else data
                page = convert(file, raw, _as_stored(_sixteen_bit_colour(data, i), tag))
            else:
                page = _as_stored(convert(file, raw, None), turn if tiff else 1)
            pages.append(page)
            turned |= turn in _STORED
    return File(pages, alpha, turned)


def _page_numbers(file: Any, max_pixels: int) -> list[int]:
    """Which frames are pages; refuses more pixels than `max_pixels` before one is decoded."""
    numbers, size = [], 0
    for i in itertools.count() if file.format == "TIFF" else [0]:
        try:
            file.seek(i)
        except EOFError:
            break
        except SyntaxError:  # a kind that Pillow does not know, as that of transparency masks
            if not _stands_beside(file):
                raise
        if _stands_beside(file):
            continue
        numbers.append(i)
        depth = 2 if _is_deep(file) else np.dtype(ImageMode.getmode(file.mode).typestr).itemsize
        bands = 3 if file.mode == "P" else len(file.getbands())
        tile = [file.tag_v2.get(tag, 0) for tag in _TILE] if file.format == "TIFF" else [0, 0]
        size += max(file.width, tile[0]) * max(file.height, tile[1]) * bands * depth
    if size > max_pixels * _BYTES:
        raise InputError(_too_large(f"{size / 2**20:,.1f} MiB, more", max_pixels))
    if not numbers:
        raise InputError("holds overviews or transparency masks alone, and no page")
    return numbers


def _too_large(size: str, max_pixels: int) -> str:
    return (
        f"unfolds to {size} than the {max_pixels * _BYTES / 2**20:,.1f} MiB of"
        f" max_pixels={max_pixels}; raise that if the memory is there"
    )


def _lossy(frame: Any, stream: BinaryIO) -> str:
    """What of a file's compression changes the numbers in it; empty if nothing does."""
    if frame.format in ("JPEG", "MPO"):
        return "JPEG"
    if frame.format == "TIFF":
        kind = str(frame.info.get("compression"))
        return "lossy TIFF" if "jpeg" in kind or kind == "webp" else ""
    if frame.format != "WEBP":
        return ""
    here = stream.tell()
    stream.seek(12)  # a chunk is its name and its length, padded to be even
    while (head := stream.read(8)) and head[:4] not in (b"VP8 ", b"VP8L"):
        length = int.from_bytes(head[4:], "little")
        stream.seek(length + length % 2, io.SEEK_CUR)
    stream.seek(here)
    return "lossy WebP" if head[:4] == b"VP8 " else ""


def _stands_beside(file: Any) -> bool:
    """Whether a frame of a TIFF is no page, but the overview or transparency mask of one."""
    if file.format != "TIFF" or not file.is_animated:
        return False
    kind = file.tag_v2.get(_NEW_SUBFILE_TYPE, 0)
    return bool(kind & (_OVERVIEW | _TRANSPARENCY)) or file.tag_v2.get(_SUBFILE_TYPE) == 2


def _orientation(frame: Any) -> int:
    """The orientation tag of a frame, 1 where there is none."""
    if frame.format != "TIFF":
        frame.load()  # a PNG may tell it after the pixels
    try:
        return frame.getexif().get(ExifTags.Base.Orientation, 1)
    except (SyntaxError, ValueError, KeyError, TypeError, struct.error):
        return 1  # EXIF that is broken says nothing; the pixels are good


def _as_stored(page: np.ndarray, orientation: int) -> np.ndarray:
    """A page as the file has it, from how Pillow and OpenCV turn it (that of a TIFF alone)."""
    return np.ascontiguousarray(_STORED.get(orientation, np.asarray)(page))


def _raw_mode(frame: Any) -> str:
    """How the decoder reads the file's bits, such as `L;2` or `RGB;16B`."""
    args = [tile[3] for tile in getattr(frame, "tile", []) if tile[3]]
    return next((arg if isinstance(arg, str) else str(arg[0]) for arg in args), "")


def _is_deep(frame: Any) -> bool:
    """Whether this is 16-bit colour, of which Pillow would leave 8 bits."""
    bits = frame.tag_v2.get(_BITS_PER_SAMPLE, (1,)) if frame.format == "TIFF" else ()
    return not frame.mode.startswith("I") and ("16" in _raw_mode(frame) or 16 in bits)


def _sixteen_bit_colour(data: np.ndarray, page: int) -> np.ndarray:
    # Not by its name: OpenCV crashes at one that is not UTF-8.
    ok, found = cv2.imdecodemulti(data, cv2.IMREAD_UNCHANGED, range=(page, page + 1))
    if not ok:
        raise InputError("a kind of 16-bit colour file that cannot be read; save it as PNG")
    return found[0][..., 2::-1]  # BGR or BGRA to RGB


def _numbers(frame: Image.Image) -> np.ndarray:
    """The values of a one-channel frame as native integers, 16 bits at most."""
    array = np.asarray(frame)
    if array.dtype.kind == "f":
        raise InputError("holds fractions; save it with 8 or 16 bits per channel")
    if array.dtype.itemsize > 2:
        if array.min() < 0 or array.max() > 65535:
            raise InputError(f"values {array.min()}..{array.max()} do not fit 16 bits")
        array = array.astype(np.uint16)
    return array.astype(array.dtype.newbyteorder("="))


def _image(frame: Image.Image, raw: str, deep: np.ndarray | None) -> np.ndarray:
    del raw  # an image is as bright as it looks
    if frame.mode == "La":
        frame = frame.convert("LA")
    if frame.mode in ("L", "LA"):
        grey = np.asarray(frame.getchannel(0)) if deep is None else deep[..., 0]
        return grey[..., None]
    if deep is not None:
        return deep
    if frame.mode == "1":
        return np.asarray(frame).astype(np.uint8)[..., None] * np.uint8(255)
    if frame.mode[0] in "IF":
        return _numbers(frame)[..., None]
    if frame.mode not in ("RGB", "RGBA"):  # converting them would only copy them
        picture = frame.convert("RGBA" if frame.mode == "P" else "RGB")
    else:
        picture = frame
    rgb = np.asarray(picture)[..., :3]
    if frame.mode in ("P", "PA") and (rgb == rgb[..., :1]).all():
        rgb = rgb[..., :1]  # a grey picture with a palette
    return rgb


def _mask(frame: Image.Image, raw: str, deep: np.ndarray | None) -> np.ndarray:
    if frame.mode == "La":
        frame = frame.convert("LA")
    if frame.mode[0] in "IF":
        return _numbers(frame)
    if frame.mode.endswith("A"):  # a transparent colour of a palette hides no index
        low, high = frame.convert("RGBA").getchannel("A").getextrema()
        if low != high:
            raise InputError(
                "a mask with transparency that varies, which may hide ids; save it without, as one"
                " grey value or palette index a class"
            )
    array = np.asarray(frame).astype(np.uint8) if deep is None else deep
    if frame.mode in ("1", "P"):
        return array
    if frame.mode == "L":
        return _ids(array, raw)
    if frame.mode in ("LA", "PA"):
        return array[..., 0]
    if frame.mode in ("RGB", "RGBA", "RGBX") and (array[..., :3] == array[..., :1]).all():
        return array[..., 0]
    raise InputError(
        "a mask painted in colours; save it as class ids, one grey value or palette index a class"
    )


def _ids(grey: np.ndarray, raw: str) -> np.ndarray:
    """The file's numbers, of which Pillow makes shades: 2 and 4 bits stretched, 0 = white inverted.

    Args:
      grey: uint8 [H, W].
      raw: the decoder's mode, such as `L;2`, `L;4I` or `L;I`.
    """
    if not (kind := re.fullmatch(r"L;([24]?)(I?)R?", raw)):
        return grey
    bits, inverted = kind.groups()
    return (~grey if inverted else grey) // np.uint8({"": 1, "2": 85, "4": 17}[bits])


def rescaled(image: np.ndarray, scale: float) -> np.ndarray:
    """An image [H, W, C] at `scale` times its size: averaged where it shrinks, else bilinear."""
    if scale == 1:
        return image
    height, width, channels = image.shape
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    if size[0] * size[1] > MAX_PIXELS:
        raise InputError(
            f"A scale of {scale:g} makes {size[0]} x {size[1]} pixels of an image of {width} x "
            f"{height}: choose a smaller one."
        )
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, size, interpolation=how).reshape(size[1], size[0], channels)
