"""Checkpoint files of other libraries as numpy arrays, without those libraries.

Nothing that is in a file is run, and no more memory taken than it can fill: see
`segjax.weights.torch_file` too.
"""

import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from segjax.errors import InputError
from segjax.weights.torch_file import check_size, read_legacy_torch, read_torch

WRAPPERS = ("state_dict", "model_state_dict", "model", "params_ema", "params")
"""Under which of its names a training checkpoint keeps the weights, the first found."""

PREFIXES = ("module.", "model.")
"""What wrapping modules put before every name."""

LOSSES = r"^(module\.)?(loss|criterion)\."
"""What a loss that was saved with its network keeps of its own, such as the weights of classes."""


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint by name, whatever wraps them in the file taken off.

    Reads safetensors, torch's .pt and .pth (the zip files since 1.6 and those before) and HDF5, as
    Keras writes it; the contents tell which, not the name. Of a training checkpoint the weights are
    read (`WRAPPERS`), names lose a prefix that all share (`PREFIXES`), and what is no array or
    belongs to the loss is dropped. HDF5 needs the package h5py. Arrays may be read-only. Raises
    `InputError` for files that are damaged, of another kind, or ask for code to be run.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            start = file.read(16)
    except OSError as error:
        raise InputError(f"The checkpoint {path} cannot be read: {error.strerror}.") from error
    reader = reader_of(start)
    if reader is None:
        raise InputError(
            f"{path} is not a checkpoint that can be read: give a .safetensors file, a torch .pt "
            "or .pth file or a Keras .h5 file, downloaded whole."
        )
    try:
        tree = reader(path)
    except InputError:
        raise
    except Exception as error:  # of a damaged file, pickle raises anything
        reason = f"{type(error).__name__}: {error}".split("\n")[0][:200]
        raise InputError(
            f"The checkpoint {path} is damaged or cut off ({reason}): download or save it again."
        ) from error
    arrays = unwrap(tree) if isinstance(tree, Mapping) else {}
    if not arrays:
        raise InputError(f"The checkpoint {path} holds no named arrays: save a state dict.")
    return arrays


def metadata(path: Path) -> dict[str, str]:
    """What a .safetensors file says of itself; other files say nothing."""
    with open(path, "rb") as file:
        start = file.read(16)
    if reader_of(start) is not read_safetensors:
        return {}
    with safe_open(path, "numpy") as file:
        return file.metadata() or {}


def reader_of(start: bytes) -> Callable[[Path], Any] | None:
    """What reads a file that begins with these bytes."""
    if start.startswith(b"PK"):
        return read_torch
    if start.startswith(b"\x80"):  # a pickle of protocol 2 or later
        return read_legacy_torch
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return read_hdf5
    if start[8:9] == b"{":  # after the length of its header, in JSON
        return read_safetensors
    return None


def unwrap(tree: Mapping[Any, Any]) -> dict[str, np.ndarray]:
    """The arrays in nested dicts by dotted name, out of what wraps them."""
    while inner := [name for name in WRAPPERS if isinstance(tree.get(name), Mapping)]:
        tree = tree[inner[0]]
    arrays = {name: x for name, x in named_arrays(tree) if not re.search(LOSSES, name)}
    while prefix := [p for p in PREFIXES if arrays and all(name.startswith(p) for name in arrays)]:
        arrays = {name.removeprefix(prefix[0]): x for name, x in arrays.items()}
    return arrays


def named_arrays(tree: Mapping[Any, Any], prefix: str = ""):
    for name, x in tree.items():
        if isinstance(x, Mapping):
            yield from named_arrays(x, f"{prefix}{name}.")
        elif isinstance(x, np.ndarray):
            yield f"{prefix}{name}", x


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        return load_file(path)
    except (KeyError, TypeError) as error:  # of numpy's types; float8 is not among them
        raise InputError(f"{path} has arrays of a type that numpy lacks ({error}).") from error
    except SafetensorError as error:
        raise ValueError(error) from error


def read_hdf5(path: Path) -> dict[str, np.ndarray]:
    """Every array by its path, such as 'model_weights/conv1/conv1/kernel:0'."""
    try:
        import h5py  # an extra: few need it
    except ImportError as error:
        raise InputError(f"{path} is an HDF5 file: `pip install h5py` to read it.") from error
    found = {}

    def visit(name: str, x: Any) -> None:
        if isinstance(x, h5py.Dataset) and x.dtype.kind in "biufc" and x.shape is not None:
            found[name] = x

    with h5py.File(path, "r") as file:
        file.visititems(visit)
        # What was never written costs the file nothing, and of what was, whole chunks are read.
        sizes = [max(x.size, math.prod(x.chunks or ())) * x.dtype.itemsize for x in found.values()]
        check_size(path, sum(sizes))
        return {name: np.asarray(x[()]) for name, x in found.items()}
