"""Volumes of NIfTI files, as scanners write them."""

from pathlib import Path
from typing import Any

import numpy as np

from segjax.errors import InputError

SUFFIXES = (".nii", ".nii.gz")


def is_nifti(path: Path) -> bool:
    """Whether the file's name is that of a NIfTI file."""
    return path.name.lower().endswith(SUFFIXES)


def read(path: Path, max_pixels: int) -> dict[str, Any]:
    """The record of a volume: 'image' uint8 or uint16 [D, H, W, 1], and the file's 'affine'.

    D, H and W are the file's third, second and first axis. uint8 and uint16 are taken as they are;
    any other type is stretched from its least to its largest value. Needs the package nibabel.
    Raises `InputError` for files that are damaged, are no single volume, or hold more voxels than
    `max_pixels`.
    """
    try:
        import nibabel  # an extra: few need it
    except ImportError as error:
        raise InputError(f"{path} is a NIfTI file: `pip install nibabel` to read it.") from error
    try:
        file: Any = nibabel.load(path)
        if len(file.shape) != 3:
            raise InputError(f"{path} holds {len(file.shape)} axes, not one volume.")
        if np.prod(file.shape) > max_pixels:
            raise InputError(f"{path} holds more voxels than max_pixels={max_pixels}; raise that.")
        found = np.asanyarray(file.dataobj).T
    except (InputError, MemoryError):
        raise
    except Exception as error:  # nibabel, zlib and gzip raise many kinds for broken files
        raise InputError(f"{path} is damaged or no NIfTI file ({error}).") from error
    if found.dtype.kind not in "biuf" or not np.isfinite(found).all():
        raise InputError(f"{path} holds values that are no intensities.")
    if found.dtype not in (np.uint8, np.uint16):
        low, high = float(found.min()), float(found.max())
        found = np.rint((found - low) * (65535 / max(high - low, 1e-12))).astype(np.uint16)
    return {"image": found[..., None], "name": str(path), "affine": file.affine}
