"""The checkpoints that segjax knows the names of."""

import re
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np

from segjax.errors import InputError
from segjax.weights import authors, mmseg, smp, timm, torchvision
from segjax.weights.keymap import KeyMap, flatten, names_in, within

SEGJAX = KeyMap((), leaves={}, separator="/", layout="channels_last")
"""Our own: `segjax.export --format=safetensors`, and the checkpoints of a run."""


def _keymaps(module: ModuleType) -> dict[str, KeyMap]:
    library = module.__name__.rpartition(".")[2]
    return {
        f"{library} {name}": value
        for name, value in vars(module).items()
        if isinstance(value, KeyMap) and not name.startswith("_")
    }


FAMILIES: dict[str, KeyMap] = {"segjax": SEGJAX}
for _module in (torchvision, timm, smp, mmseg, authors):
    FAMILIES |= _keymaps(_module)


def without_collections(tensors: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """Our own arrays without the 'params/' and 'batch_stats/' before their names, as SEGJAX has it.

    Those of other libraries are left as they are.
    """
    inner = [name.partition("/") for name in tensors]
    if all(collection in ("params", "batch_stats") for collection, _, _ in inner):
        return {name: x for (_, _, name), x in zip(inner, tensors.values(), strict=True)}
    return tensors


def recognise(
    variables: Mapping[str, Any], tensors: Mapping[str, np.ndarray], under: str = ""
) -> str:
    """The family whose names the model and the checkpoint have most in common.

    That is the largest share of the names of either; of families with the same names, the one that
    knows which of its convolutions are transposed. Raises InputError if it has none under any.
    """
    paths = [path for path in flatten(variables) if within(path, under)]
    if not paths:
        parts = sorted({path.split("/")[1] for path in flatten(variables)})
        raise InputError(f"The model has no part {under!r}; its parts are {', '.join(parts)}.")

    def found(family: str) -> tuple[float, int]:
        keymap = FAMILIES[family]
        names, scope = names_in(tensors, paths, keymap, under)
        paths_found = [path for path, name in names.items() if name in tensors]
        unused = re.compile(keymap.unused or "$^")
        theirs = {name for name in tensors if name.startswith(scope) and not unused.search(name)}
        transposed = re.compile(keymap.transposed or "$^")
        share = len(paths_found) / len(theirs.union(names.values()))
        return share, sum(bool(transposed.search(path)) for path in paths_found)

    family = max(FAMILIES, key=found)
    if not any(found(family)):
        listed = ", ".join([*tensors][:3])
        raise InputError(
            f"The checkpoint's names, such as {listed}, are of no family that has weights for "
            f"{under or 'this model'}: docs/weights.md lists those that are known."
        )
    return family
