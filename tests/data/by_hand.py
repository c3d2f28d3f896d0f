"""Image files written byte by byte, since libraries write only what they also read."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def packed(ids: np.ndarray, bits: int) -> list[bytes]:
    """Each row of [H, W] as whole bytes, `bits` a pixel, the first pixel in the highest bits."""
    planes = (ids[..., None].astype(int) >> np.arange(bits)[::-1]) & 1
    return [np.packbits(row.astype(np.uint8).ravel()).tobytes() for row in planes]


def png(path: Path, ids: np.ndarray, bits: int, *, interlaced: bool = False, chunks=()) -> Path:
    """A grey PNG of `bits` a pixel; `chunks` are (type, data) that follow the pixels."""
    passes = [ids]
    if interlaced:  # Adam7: (first row, first column, row step, column step) of the seven passes
        grid = ["0088", "0488", "4084", "0244", "2042", "0122", "1021"]
        passes = [ids[int(r) :: int(dr), int(c) :: int(dc)] for r, c, dr, dc in grid]
    rows = [row for part in passes if part.size for row in packed(part, bits)]

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width = ids.shape
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, interlaced)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [(b"IHDR", header), (b"IDAT", body), *chunks, (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    return path


def tiff(path: Path, *pages: tuple[dict[int, int | tuple[int, ...]], bytes]) -> Path:
    """A little-endian TIFF of one strip a page: ({tag: number or numbers}, the strip)."""
    out = bytearray(b"II*\0\0\0\0\0")
    link = 4  # where the offset of the next directory goes
    for tags, strip in pages:
        entries: dict[int, int | tuple[int, ...]] = {
            259: 1, 262: 1, 273: len(out), 277: 1, 278: tags[257], 279: len(strip), **tags
        }  # fmt: skip
        out += strip + b"\0" * (len(strip) % 2)
        rows = []
        for tag, value in sorted(entries.items()):
            numbers = value if isinstance(value, tuple) else (value,)
            data = struct.pack(f"<{len(numbers)}I", *numbers)
            if len(data) > 4:
                data, outside = struct.pack("<I", len(out)), data
                out += outside
            rows.append(struct.pack("<HHI", tag, 4, len(numbers)) + data)
        struct.pack_into("<I", out, link, len(out))
        out += struct.pack("<H", len(rows)) + b"".join(rows)
        link = len(out)
        out += b"\0\0\0\0"
    path.write_bytes(out)
    return path


def tiff_page(array: np.ndarray, bits: int | None = None, **tags: int) -> tuple[dict, bytes]:
    """A page for `tiff`: [H, W] or [H, W, 3] of 8, 16 or `bits` bits; `t254=1` is tag 254."""
    height, width, *bands = array.shape
    depth = bits or array.dtype.itemsize * 8
    strip = array.tobytes() if bits is None else b"".join(packed(array, bits))
    extra = {int(name[1:]): value for name, value in tags.items()}
    colour = {258: (depth,) * 3, 262: 2, 277: 3} if bands else {258: depth}
    return {256: width, 257: height} | colour | extra, strip


def mask_set(root: Path, **masks: object) -> Path:
    """A folder for `folder.source`: train/masks/NAME.png of these ids, and an image for each."""
    for kind in ("images", "masks"):
        (root / "train" / kind).mkdir(parents=True, exist_ok=True)
    for i, (name, ids) in enumerate(masks.items()):
        mask = np.atleast_2d(np.asarray(ids, np.uint8))
        Image.fromarray(mask).save(root / "train" / "masks" / f"{name}.png")
        Image.fromarray(mask * 0 + i).save(root / "train" / "images" / f"{name}.png")
    return root
