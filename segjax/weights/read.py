"""Checkpoint files of other libraries as numpy arrays, without those libraries.

A torch file is a pickle, and a pickle is a program: `torch.load` of a file from elsewhere may run
anything. Here it is unpickled with nothing to call but what assembles tensors from bytes; a file
that asks for more is refused.
"""

import os
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes  # a part of jax: numpy's bfloat16
import numpy as np
from numpy.lib.stride_tricks import as_strided
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from segjax.errors import InputError

WRAPPERS = ("state_dict", "model_state_dict", "model", "params_ema", "params")
"""Under which of its names a training checkpoint keeps the weights, the first found."""

PREFIXES = ("module.", "model.")
"""What wrapping modules put before every name."""

LOSSES = r"^(module\.)?(loss|criterion)\."
"""What a loss that was saved with its network keeps of its own, such as the weights of classes."""

STORAGES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
    "ComplexFloatStorage": np.complex64,
    "ComplexDoubleStorage": np.complex128,
}
DTYPES = (
    *("float64", "float32", "float16", "bfloat16", "complex64", "complex128", "bool"),
    *("int64", "int32", "int16", "int8", "uint8", "double", "float", "half", "long", "int"),
)
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # torch.serialization.MAGIC_NUMBER


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
    arrays = {}

    def visit(name: str, x: Any) -> None:
        if isinstance(x, h5py.Dataset) and x.dtype.kind in "biufc":
            arrays[name] = np.asarray(x[()])

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return arrays


def read_torch(path: Path) -> Any:
    """What torch.save wrote since version 1.6: a zip of the pickle and a file for each storage."""
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise InputError(
                f"{path} is a zip file, but not one of torch.save: give the checkpoint itself."
            )
        folder = pickles[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist():
            check_byte_order(path, archive.read(f"{folder}byteorder") == b"little")
        with archive.open(pickles[0]) as file:
            tree = Unpickler(file, path).load()
        storages: dict[str, np.ndarray] = {}

        def load(storage: Storage) -> np.ndarray:
            if storage.key not in storages:
                data = archive.read(f"{folder}data/{storage.key}")
                storages[storage.key] = np.frombuffer(data, storage.dtype)
            return storages[storage.key].view(storage.dtype)

        return filled(tree, load)


def read_legacy_torch(path: Path) -> Any:
    """What torch.save wrote before version 1.6: pickles, then the storages one after another."""
    with open(path, "rb") as file:
        if Unpickler(file, path).load() != LEGACY_MAGIC:
            raise InputError(
                f"{path} is a pickle, but not one of torch.save: save its arrays as safetensors."
            )
        Unpickler(file, path).load()  # the version of the format, 1001
        check_byte_order(path, Unpickler(file, path).load()["little_endian"])
        unpickler = Unpickler(file, path)
        tree = unpickler.load()
        kinds = {storage.key: storage.dtype for storage in unpickler.storages}
        storages = {}
        for key in Unpickler(file, path).load():
            size = int.from_bytes(file.read(8), "little")
            data = file.read(size * kinds[key].itemsize)
            storages[key] = np.frombuffer(data, kinds[key])
            if len(storages[key]) != size:
                raise ValueError(f"storage {key} has {len(storages[key])} of {size} numbers")
        return filled(tree, lambda storage: storages[storage.key][storage.part])


def check_byte_order(path: Path, little: bool) -> None:
    if not little:
        raise InputError(
            f"{path} was saved on a big-endian machine: save the state dict as safetensors there."
        )


class Storage(NamedTuple):
    """A row of numbers that tensors are views of."""

    dtype: np.dtype
    key: str
    part: slice  # of the storage in the file


class Tensor(NamedTuple):
    """A tensor before its storage is read; offset and strides count numbers, not bytes."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Unpickler(pickle.Unpickler):
    """Reads a pickle in which torch saved tensors, and calls nothing that it names otherwise."""

    def __init__(self, file: BinaryIO | Any, path: Path) -> None:
        super().__init__(file, encoding="utf-8")
        self.path = path
        self.storages: list[Storage] = []

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a global: plain functions made anew, and names of types as strings."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: Tensor(
                storage, offset, tuple(shape), tuple(strides)
            )
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        if (module, name) == ("torch", "Size"):
            return lambda sizes=(): tuple(sizes)
        if module in ("torch", "torch.cuda") and name in STORAGES:
            return name
        if module == "torch" and name in DTYPES:
            return f"torch.{name}"
        raise InputError(
            f"{self.path} needs {module}.{name}, code that reading weights must not run: load it "
            "with its own library, where you trust it, and save the state dict as safetensors."
        )

    def persistent_load(self, pid: Any) -> Storage:
        """('storage', type, key, device, size) and, in old files, which part of it is meant."""
        kind, storage, key, _, size, *view = pid
        if kind != "storage":
            raise ValueError(f"unknown kind of object {kind!r}")
        part = slice(None)
        if view and view[0] is not None:
            _, offset, size = view[0]
            part = slice(offset, offset + size)
        self.storages.append(Storage(np.dtype(STORAGES[storage]), key, part))
        return self.storages[-1]


def filled(tree: Any, load: Callable[[Storage], np.ndarray]) -> Any:
    """Nested dicts with an array for every `Tensor`, and without what is neither."""
    if isinstance(tree, Tensor):
        return strided(load(tree.storage), tree)
    if not isinstance(tree, Mapping):
        return None
    return {str(name): filled(x, load) for name, x in tree.items()}


def strided(numbers: np.ndarray, tensor: Tensor) -> np.ndarray:
    """The view of its storage that a tensor is; a copy unless it is one piece."""
    shape, strides = tensor.shape, tensor.strides
    if len(shape) != len(strides) or min((tensor.offset, *shape, *strides)) < 0:
        raise ValueError(f"impossible strides {strides} of a tensor {shape}")
    if 0 in shape:
        return np.empty(shape, numbers.dtype)
    last = tensor.offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if last >= len(numbers):
        raise ValueError(f"a tensor {shape} reaches beyond its {len(numbers)} numbers")
    steps = [step * numbers.itemsize for step in strides]
    view = as_strided(numbers[tensor.offset :], shape, steps)
    return np.asarray(view, order="C")
