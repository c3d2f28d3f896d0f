"""How a family of checkpoints names its arrays, and the variables those arrays fill.

A `KeyMap` turns the path of one of our variables, `backbone/layer1_0/conv1/kernel`, into the name
the family gives it, `backbone.layer1.0.conv1.weight`. The layout follows from the shapes: kernels
[h, w, in, out] are (out, in, h, w) in torch, those of transposed convolutions (in, out, h, w), and
a fully connected layer (out, in * h * w) fills the convolution it is equal to, and a 1x1
convolution the fully connected layer.
"""

import difflib
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from segjax.errors import InputError

LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


class KeyMap(NamedTuple):
    """The names of one family of checkpoints.

    `renames` are (pattern, replacement) of regular expressions, applied in turn to our path without
    its last part; then '/' becomes '.', and the last part what torch calls it. `transposed` finds
    our paths whose kernels are of transposed convolutions. `unused` finds names in the checkpoint
    that no variable needs, `refused` (pattern, reason) those of layers that the networks here lack.
    `input` is what of `segjax.weights.input.INPUTS` the networks have learned to
    see, None where the family has several.
    """

    renames: Sequence[tuple[str, str]] = ()
    transposed: str | None = None
    unused: str | None = None
    refused: tuple[str, str] | None = None
    leaves: Mapping[str, str] = LEAVES
    separator: str = "."
    layout: Literal["torch", "channels_last"] = "torch"
    input: str | None = None

    def name(self, path: str) -> str:
        """What the family calls the variable at our path."""
        module, _, leaf = path.rpartition("/")
        for pattern, replacement in self.renames:
            module = re.sub(pattern, replacement, module)
        return self.separator.join([*filter(None, module.split("/")), self.leaves.get(leaf, leaf)])


def to_ours(tensor: np.ndarray, shape: Sequence[int], transposed: bool = False) -> np.ndarray:
    """A torch tensor in our layout, as far as its rank allows; the caller compares the shapes."""
    ours, theirs = len(shape), tensor.ndim
    if ours == theirs == 2:
        return tensor.T
    if ours == theirs and ours in (4, 5):
        spatial = range(2, ours)
        return tensor.transpose(*spatial, 0, 1) if transposed else tensor.transpose(*spatial, 1, 0)
    if ours == 2 and theirs == 4 and tensor.shape[2:] == (1, 1):
        return tensor[:, :, 0, 0].T
    height, width, channels, features = shape if ours == 4 else (0, 0, 0, 0)
    if theirs == 2 and tensor.shape == (features, channels * height * width):
        return tensor.reshape(features, channels, height, width).transpose(2, 3, 1, 0)
    return tensor


def fill(
    variables: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    keymap: KeyMap,
    *,
    num_classes: int | None = None,
    under: str = "",
) -> tuple[dict[str, Any], list[str]]:
    """The variables filled from a checkpoint, and the paths that keep their values.

    Args:
      variables: {'params': tree, ...} of arrays or shapes. Those whose shape differs from the
        checkpoint's in dimensions that are `num_classes` here are a classifier for other classes:
        they are kept, and listed.
      tensors: name -> array, as `segjax.weights.read.read` returns.
      keymap: the family's.
      under: a part of the model, `backbone` or `backbone/layer1_0`: only this is filled, from names
        either of a whole model or of the part alone.

    Raises InputError that lists every missing, unexpected and misshapen array.
    """
    leaves = {path: x for path, x in flatten(variables).items() if within(path, under)}
    if not leaves:
        parts = sorted({path.split("/")[1] for path in flatten(variables)})
        raise InputError(f"The model has no part {under!r}; its parts are {', '.join(parts)}.")
    names, scope = names_in(tensors, leaves, keymap, under)
    filled, kept, problems = {}, [], []
    unclaimed = set(tensors) - set(names.values())
    for path, leaf in leaves.items():
        name, shape = names[path], tuple(leaf.shape)
        if name not in tensors:
            nearest = difflib.get_close_matches(name, unclaimed, 3, 0.8)
            hint = f"; nearest: {', '.join(nearest)}" if nearest else ""
            problems.append(f"missing {name} {shape} for {path}{hint}")
            continue
        tensor = np.asarray(tensors[name])
        if keymap.layout == "torch":
            tensor = to_ours(
                tensor, shape, bool(re.search(keymap.transposed or "$^", path.partition("/")[2]))
            )
        if tensor.shape == shape:
            filled[path] = np.asarray(tensor, leaf.dtype, order="C")
        elif is_other_classes(tensor.shape, shape, num_classes):
            kept.append(path)
        else:
            problems.append(f"shape of {name} is {tensor.shape}, that of {path} is {shape}")
    elsewhere = {keymap.name(path.partition("/")[2]) for path in flatten(variables)}
    left = [
        name
        for name in sorted(unclaimed - elsewhere)
        if name.startswith(scope) and not (keymap.unused and re.search(keymap.unused, name))
    ]
    if keymap.refused and any(re.search(keymap.refused[0], name) for name in left):
        raise InputError(keymap.refused[1])
    problems += [f"unexpected {name} {np.shape(tensors[name])}" for name in left]
    if problems:
        listed = "".join(f"\n  {each}" for each in problems)
        hint = "" if under else "\nTo fill a part of the model alone, append it, as in :backbone."
        raise InputError(
            f"The checkpoint does not fit the model in {len(problems)} places:{listed}{hint}"
        )
    return merge(variables, filled), kept


def names_in(
    tensors: Mapping[str, np.ndarray], paths: Iterable[str], keymap: KeyMap, under: str = ""
) -> tuple[dict[str, str], str]:
    """The names of our paths in a checkpoint, and how all the names begin that should be used.

    A part may be filled from a checkpoint of the part, all of which should be used, or of a whole
    model, in which the part's names begin alike.
    """
    inner = {path: path.partition("/")[2] for path in paths}
    whole = {path: keymap.name(name) for path, name in inner.items()}
    if not under:
        return whole, ""
    part = {path: keymap.name(name[len(under) + 1 :]) for path, name in inner.items()}
    found = [sum(name in tensors for name in names.values()) for names in (whole, part)]
    if found[1] > found[0] or (found[1] == found[0] and part != whole):
        return part, ""
    columns = zip(*(name.split(keymap.separator) for name in whole.values()), strict=False)
    alike = itertools.takewhile(lambda column: len({*column}) == 1, columns)
    return whole, keymap.separator.join(column[0] for column in alike)


def is_other_classes(found: Sequence[int], wanted: Sequence[int], num_classes: int | None) -> bool:
    """Whether two shapes differ in the number of classes, the last dimension, and nothing else.

    A kernel from classes to classes differs in both.
    """
    pairs = [*zip(found, wanted, strict=False)]
    different = {a for a, b in pairs if a != b}
    return (
        len(found) == len(wanted)
        and found[-1] != wanted[-1]
        and len(different) == 1
        and all(a == b or b == num_classes for a, b in pairs)
    )


def within(path: str, under: str) -> bool:
    """Whether a path lies in a part of the model; '' is all of it."""
    inner = path.partition("/")[2]
    return not under or inner == under or inner.startswith(under + "/")


def flatten(tree: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Nested dicts as one dict of 'a/b/c' paths."""
    flat: dict[str, Any] = {}
    for name, x in tree.items():
        flat |= flatten(x, f"{path}{name}/") if isinstance(x, Mapping) else {path + name: x}
    return flat


def merge(tree: Mapping[str, Any], new: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Nested dicts with the leaves that `new` has under their paths replaced."""
    return {
        name: merge(x, new, f"{path}{name}/") if isinstance(x, Mapping) else new.get(path + name, x)
        for name, x in tree.items()
    }
