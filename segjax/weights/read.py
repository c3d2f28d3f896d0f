"""Checkpoint files of other libraries as numpy arrays, without those libraries.

Nothing that is in a file is run, and no more memory taken than it can fill: see
`segjax.weights.torch_file` too.
"""

import json
import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes  # a part of jax: numpy's bfloat16 and float8
import numpy as np
from safetensors import SafetensorError, deserialize, safe_open
from safetensors.numpy import load_file

from segjax.errors import InputError
from segjax.weights.torch_file import FLOAT8, check_size, read_legacy_torch, read_torch

WRAPPERS = ("state_dict", "model_state_dict", "model", "params_ema", "params")
"""Under which of its names a training checkpoint keeps the weights, the first found."""

PREFIXES = ("module.", "model.", "net.")
"""What wrapping modules put before every name."""

COMPILED = "_orig_mod."
"""What torch.compile puts into names."""

LOSSES = r"^(module\.)?(loss|criterion)(_\w+)?\."
"""What a loss that was saved with its network keeps of its own, such as the weights of classes."""

BESIDE = r"^(n_averaged|((pixel|image)_)?(mean|std)|class_weights?|pos_weight)$"
"""What a wrapping module keeps of its own beside the network, such as how many it averages."""


SAFETENSORS = {
    **{f"F{bits}": np.dtype(f"float{bits}") for bits in (16, 32, 64)},
    **{f"I{bits}": np.dtype(f"int{bits}") for bits in (8, 16, 32, 64)},
    **{f"U{bits}": np.dtype(f"uint{bits}") for bits in (8, 16, 32, 64)},
    "BOOL": np.dtype("bool"),
    "C64": np.dtype("complex64"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "F8_E8M0": np.dtype(ml_dtypes.float8_e8m0fnu),
    "F8_E4M3FNUZ": np.dtype(ml_dtypes.float8_e4m3fnuz),
    "F8_E5M2FNUZ": np.dtype(ml_dtypes.float8_e5m2fnuz),
}
"""Types by their names in .safetensors files."""


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint by name, whatever wraps them in the file taken off.

    Reads safetensors, torch's .pt and .pth (the zip files since 1.6 and those before) and HDF5, as
    Keras writes it; the contents tell which, not the name. Of one in several files, as transformers
    writes them, give the folder or the .index.json. Of a training checkpoint the weights are read
    (`WRAPPERS`), names lose a prefix that all share (`PREFIXES`) but for what the wrapper keeps
    `BESIDE` the network, and what is no array or belongs to the loss is dropped. HDF5 needs the
    package h5py. Arrays may be read-only; those of float8 become float32. Raises `InputError` for
    files that are damaged, of another kind, or ask for code to be run.
    """
    path = Path(path)
    files = shards(path)
    tree = contents(path) if files is None else joined(path, files)
    arrays = unwrap(tree) if isinstance(tree, Mapping) else {}
    if not arrays:
        raise InputError(f"The checkpoint {path} holds no named arrays: save a state dict.")
    small = {name: x for name, x in arrays.items() if x.dtype.name in FLOAT8}
    return {**arrays, **{name: x.astype(np.float32) for name, x in small.items()}}


def shards(path: Path) -> list[Path] | None:
    """The files of a checkpoint in several: a folder of them, or their index. None for one file.

    Raises `InputError` where not all of them are there.
    """
    if path.name.endswith(".index.json"):
        return listed(path)
    if not path.is_dir():
        return None
    indices = sorted(path.glob("*.index.json"), key=lambda x: ".safetensors" not in x.name)
    if indices:
        return listed(indices[0])
    single = path / "model.safetensors"
    if single.is_file():
        return [single]
    numbered = [x for x in path.iterdir() if re.search(r"-\d+-of-\d+\.\w+$", x.name)]
    kinds = sorted({x.suffix for x in numbered}, key=lambda kind: kind != ".safetensors")
    files = sorted(x for x in numbered if x.suffix == kinds[0])
    wanted = {int(x.stem.rpartition("-")[2]) for x in files}
    if files and wanted != {len(files)}:
        raise InputError(
            f"{path} has {len(files)} files of {max(wanted)}: download all of one checkpoint."
        )
    return files or None


def listed(index: Path) -> list[Path]:
    """The files that a .index.json names, which lie beside it."""
    try:
        names = {str(name) for name in json.loads(index.read_text())["weight_map"].values()}
    except OSError as error:
        raise InputError(f"{index} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{index} has no weight_map of arrays and files in JSON.") from error
    for name in names:
        if Path(name).name != name or not (index.parent / name).is_file():
            raise InputError(f"{index} names {name}, which is not beside it: download all files.")
    return [index.parent / name for name in sorted(names)]


def joined(path: Path, files: list[Path]) -> dict[str, Any]:
    """The contents of several files; raises `InputError` where two hold an array of one name."""
    tree: dict[str, Any] = {}
    for file in files:
        part = contents(file)
        if not isinstance(part, Mapping) or not tree.keys().isdisjoint(part):
            raise InputError(f"{file} is no part of {path}: each holds other named arrays.")
        tree |= part
    return tree


def contents(path: Path) -> Any:
    """What one file holds, arrays in nested dicts."""
    if path.is_dir():
        raise InputError(
            f"{path} is a folder without weights that are known: give the file, or a folder with "
            "model.safetensors, or with NAME-00001-of-00002.safetensors and the rest."
        )
    if path.exists() and not path.is_file():  # reading a pipe would wait for ever
        raise InputError(f"{path} is no file: give a checkpoint file.")
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
        return reader(path)
    except InputError:
        raise
    except Exception as error:  # of a damaged file, pickle raises anything
        reason = f"{type(error).__name__}: {error}".split("\n")[0][:200]
        raise InputError(
            f"The checkpoint {path} is damaged or cut off ({reason}): download or save it again."
        ) from error


def metadata(path: Path) -> dict[str, str]:
    """What a .safetensors file says of itself; others, and folders, say nothing."""
    if path.is_dir():
        return {}
    with open(path, "rb") as file:
        start = file.read(16)
    if reader_of(start) is not read_safetensors:
        return {}
    with safe_open(path, "numpy") as file:
        return file.metadata() or {}


def reader_of(start: bytes) -> Callable[[Path], Any] | None:
    """What reads a file that begins with these bytes."""
    # First the length of a header, which may begin like any other file, and its JSON.
    if start[4:9] == b"\0\0\0\0{":
        return read_safetensors
    if start.startswith(b"PK"):
        return read_torch
    if start.startswith(b"\x80"):  # a pickle of protocol 2 or later
        return read_legacy_torch
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return read_hdf5
    return None


def unwrap(tree: Mapping[Any, Any]) -> dict[str, np.ndarray]:
    """The arrays in nested dicts by dotted name, out of what wraps them."""
    while inner := [name for name in WRAPPERS if isinstance(tree.get(name), Mapping)]:
        tree = tree[inner[0]]
    arrays = {name.replace(COMPILED, ""): x for name, x in named_arrays(tree)}
    arrays = {name: x for name, x in arrays.items() if not re.search(LOSSES, name)}
    while True:
        inner = {name: x for name, x in arrays.items() if not re.search(BESIDE, name)}
        prefix = [p for p in PREFIXES if inner and all(name.startswith(p) for name in inner)]
        if not prefix:
            return arrays
        arrays = {name.removeprefix(prefix[0]): x for name, x in inner.items()}


def named_arrays(tree: Mapping[Any, Any], prefix: str = ""):
    for name, x in tree.items():
        if isinstance(x, Mapping):
            yield from named_arrays(x, f"{prefix}{name}.")
        elif isinstance(x, np.ndarray):
            yield f"{prefix}{name}", x


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(error) from error
    except (AttributeError, KeyError, TypeError):  # for types that numpy has no name of
        found = deserialize(path.read_bytes())
    kinds = {x["dtype"] for _, x in found} - SAFETENSORS.keys()
    if kinds:
        raise InputError(
            f"{path} has arrays of the types {', '.join(sorted(kinds))}, which cannot be read: "
            "save them as float32."
        )
    return {
        name: np.frombuffer(x["data"], SAFETENSORS[x["dtype"]]).reshape(x["shape"])
        for name, x in found
    }


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
