"""Files of torch.save as nested dicts of numpy arrays, without torch.

A torch file is a pickle, and a pickle is a program: `torch.load` of a file from elsewhere may run
anything. Here it is unpickled with nothing to call but what assembles tensors from bytes; a file
that asks for more is refused, and so is one that claims more numbers than it holds.
"""

import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import ml_dtypes  # a part of jax: numpy's bfloat16
import numpy as np

from segjax.errors import InputError

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
    "UntypedStorage": np.uint8,  # of tensors whose type is named beside it, one of NEW_DTYPES
}
FLOAT8 = ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu")
NEW_DTYPES = {f"torch.{name}": np.dtype(getattr(ml_dtypes, name)) for name in FLOAT8} | {
    f"torch.{name}": np.dtype(name) for name in ("uint16", "uint32", "uint64")
}
DTYPES = (
    *("float64", "float32", "float16", "bfloat16", "complex64", "complex128", "bool"),
    *("int64", "int32", "int16", "int8", "uint8", "double", "float", "half", "long", "int"),
    *("uint16", "uint32", "uint64", *FLOAT8),
)
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # torch.serialization.MAGIC_NUMBER
MOST = 100
"""How many times its own size a compressed file may hold: weights hardly compress."""


def read_torch(path: Path) -> Any:
    """What torch.save wrote since version 1.6: a zip of the pickle and a file for each storage."""
    with zipfile.ZipFile(path) as archive:
        check_size(path, sum(member.file_size for member in archive.infolist()))
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
            member = f"{folder}data/{storage.key}"
            if member not in storages:
                storages[member] = np.frombuffer(archive.read(member), storage.dtype)
            return storages[member].view(storage.dtype)

        return filled(tree, load, path)


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
        if unpickler.untyped:
            raise InputError(
                f"{path} has numbers of a newer type, such as float8, in torch's format of before "
                "1.6, which torch cannot load either: save it as safetensors."
            )
        kinds = {storage.key: storage.dtype for storage in unpickler.storages}
        storages = {}
        for key in Unpickler(file, path).load():
            size = int.from_bytes(file.read(8), "little")
            there = (path.stat().st_size - file.tell()) // kinds[key].itemsize
            if size > there:  # before `read` makes room for what it promises
                raise ValueError(f"storage {key} has {there} of {size} numbers")
            storages[key] = np.frombuffer(file.read(size * kinds[key].itemsize), kinds[key])
        return filled(tree, lambda storage: storages[storage.key][storage.part], path)


def check_size(path: Path, claimed: int) -> None:
    """Raises `InputError` where a file's arrays would be more than `MOST` times its size."""
    size = path.stat().st_size
    if claimed > MOST * size:
        raise InputError(
            f"{path} says that its arrays are {claimed:,} bytes, more than {MOST} times its own "
            f"{size:,}: weights do not compress so far; get the file from who made it again."
        )


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
        self.file = file
        self.storages: list[Storage] = []
        self.untyped = False

    def load(self) -> Any:
        """The next pickle, unless it asks for a memo of more entries than it can have made."""
        start = self.file.tell()
        for opcode, number, position in pickletools.genops(self.file):
            if "PUT" in opcode.name and cast(int, number) > cast(int, position):
                raise ValueError(f"{opcode.name} {number} at byte {position}")
        self.file.seek(start)
        return super().load()

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a global: plain functions made anew, and names of types as strings."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: Tensor(
                storage, offset, tuple(shape), tuple(strides)
            )
        if (module, name) == ("torch._utils", "_rebuild_tensor_v3"):
            return lambda storage, offset, shape, strides, _grad, _hooks, dtype, *_: Tensor(
                storage._replace(dtype=NEW_DTYPES[dtype]), offset, tuple(shape), tuple(strides)
            )
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        if (module, name) == ("torch", "Size"):
            return lambda sizes=(): tuple(sizes)
        if module in ("torch", "torch.cuda", "torch.storage") and name in STORAGES:
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
        self.untyped |= storage == "UntypedStorage"
        self.storages.append(Storage(np.dtype(STORAGES[storage]), key, part))
        return self.storages[-1]


def filled(tree: Any, load: Callable[[Storage], np.ndarray], path: Path) -> Any:
    """Nested dicts with an array for every `Tensor`, and without what is neither.

    A few bytes can claim a tensor of any size by strides of 0, and any number of entries by a dict
    within a dict, over and over: no tensor may be larger than its storage and than the file, nor
    dicts have more entries than that has bytes, and copies of views may be `MOST` times its size
    together.
    """
    size = path.stat().st_size
    entries = copied = 0

    def fill(x: Any, name: str) -> Any:
        nonlocal entries, copied
        entries += 1
        if entries > size:
            raise ValueError("more names than bytes")
        if isinstance(x, Mapping):
            return {str(key): fill(value, f"{name}.{key}") for key, value in x.items()}
        if not isinstance(x, Tensor):
            return None
        numbers = load(x.storage)
        view = strided(numbers, x)
        if view.nbytes > max(size, numbers.nbytes):
            raise InputError(
                f"{path}: the tensor {name[1:]} repeats a few numbers to {view.nbytes:,} bytes, "
                f"more than the file's {size:,}: save a copy of it, `.clone()`, where you trust it."
            )
        copied += 0 if view.flags.c_contiguous else view.nbytes
        if copied > MOST * size:
            raise InputError(
                f"{path}: the tensors up to {name[1:]} are {copied:,} bytes of views, more than "
                f"{MOST} times the file's {size:,}: save copies, `.clone()`, where you trust them."
            )
        return np.asarray(view, order="C")

    return fill(tree, "")


def strided(numbers: np.ndarray, tensor: Tensor) -> np.ndarray:
    """The view of its storage that a tensor is."""
    shape, strides = tensor.shape, tensor.strides
    if len(shape) != len(strides) or min((tensor.offset, *shape, *strides)) < 0:
        raise ValueError(f"impossible strides {strides} of a tensor {shape}")
    if 0 in shape:
        return np.empty(shape, numbers.dtype)
    last = tensor.offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if last >= len(numbers):
        raise ValueError(f"a tensor {shape} reaches beyond its {len(numbers)} numbers")
    steps = [step * numbers.itemsize for step in strides]
    return np.ndarray(shape, numbers.dtype, numbers, tensor.offset * numbers.itemsize, steps)
