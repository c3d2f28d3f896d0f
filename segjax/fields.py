"""What a batch may hold: each field's shape, how it is padded, and how it moves with the image.

| field | of one example | padding | moved by a geometry |
|---|---|---|---|
| image | uint8, uint16, or float in [0, 1], [H, W, C] | mirrored | bilinear, mirrored |
| label | int [H, W], the class | 0 | nearest |
| mask | bool [H, W], which pixels count | False | nearest, False outside |
| weight | float [H, W], of the loss | 0 | bilinear, 0 outside |
| instances | int [H, W], ids | 0 | nearest, 0 outside |
| boxes | float [N, 4], x0 y0 x1 y1, edges of pixels | 0 | its corners, then clipped |
| masks | [N, M, M], in a frame of their own | 0 | stay; their frame moves |
| frames | float [N, 2, 3], (u, v, 1) in [0, 1] of such a mask -> (x, y) | 0 | moved |
| points | float [N, K, 2], x y, pixel centres at .5 | 0 | moved; pairs change sides in a mirror |
| visible | bool [N, K], which points are seen | False | False outside |
| classes, crowd | int, bool [N] | 0, False | stay |
| present | bool [N], which of the N there are | False | False for a box below one pixel |
| extent | int [2], how much of the image there is, from its first pixel on | | the new image's |
| size | int [2], height and width of the source | | stays |
| valid | bool [], whether the example counts | False | stays |

Volumes are the same with one axis more, without what belongs to boxes and points. `valid`, `mask`
and `present` are one idea: what they exclude changes nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from segjax.errors import InputError


class Grid(NamedTuple):
    """A field that lies on the pixels of the image."""

    order: str  # of its interpolation
    outside: float | str  # what stands there, and in the padding


GRIDS = {
    "image": Grid("bilinear", "mirror"),
    "label": Grid("nearest", 0),
    "mask": Grid("nearest", False),
    "weight": Grid("bilinear", 0.0),
    "instances": Grid("nearest", 0),
}
OBJECTS = (
    *("boxes", "masks", "frames", "points", "visible"),
    *("classes", "crowd", "present"),
)
"""Fields of N objects each, of which `present` tells which there are."""
WHOLES = ("extent", "size", "valid")
"""Fields of the example as a whole."""


def check(batch: Mapping[str, Any]) -> None:
    """Raise `InputError` for a field that no rule here is for."""
    unknown = [name for name in batch if name not in (*GRIDS, *OBJECTS, *WHOLES)]
    if unknown:
        raise InputError(
            f"A batch has no field {unknown[0]!r}; it may have {', '.join([*GRIDS, *OBJECTS])}: "
            "give it one of these names, or a rule in segjax.fields."
        )


def unit(image: jax.Array) -> jax.Array:
    """The image as float in [0, 1]: integers are divided by the largest of their type."""
    if jnp.issubdtype(image.dtype, jnp.integer):
        return image.astype(jnp.float32) / np.float32(jnp.iinfo(image.dtype).max)
    return image


def with_unit_image(batch: Mapping[str, Any]) -> dict[str, Any]:
    """The batch with its image as float in [0, 1]."""
    return {**batch, "image": unit(batch["image"])}


def padded(example: Mapping[str, Any], size: Sequence[int], name: str = "") -> dict[str, Any]:
    """The example (numpy, on the host) with its grids filled up to `size` below and to the right.

    Its `mask` is False there, and its `extent` says how much there was. Raises `InputError` that
    gives the image's `name` where it is larger.
    """
    check(example)
    there = next(x.shape[: len(size)] for field, x in example.items() if field in GRIDS)
    if len(there) != len(size) or any(n > m for n, m in zip(there, size, strict=True)):
        sides, most = (" x ".join(map(str, x)) for x in (there, size))
        what = "image" if "image" in example else "label of"
        raise InputError(
            f"The {what} {name} is {sides}, larger than the evaluation size of {most}: raise "
            "eval_size, or let larger images be shrunk (config.shrink)."
        )
    missing = [(0, m - n) for n, m in zip(there, size, strict=True)]
    out = {"mask": np.ones(there, bool), **example, "extent": np.array(there, np.int32)}
    for field in GRIDS.keys() & out.keys():
        x, rule = out[field], GRIDS[field]
        if x.shape[: len(there)] != there:
            raise InputError(f"The {field} of {name} is {x.shape[: len(there)]}, not {there}.")
        pads = [*missing, (0, 0)][: x.ndim]
        if not any(after for _, after in pads):
            continue
        if rule.outside == "mirror":
            out[field] = np.pad(x, pads, mode="reflect")
        else:
            out[field] = np.pad(x, pads, constant_values=rule.outside)
    return out


def padded_objects(example: Mapping[str, Any], count: int) -> dict[str, Any]:
    """The example (numpy) with room for `count` objects; raises `InputError` where it has more."""
    check(example)
    fields = [name for name in OBJECTS if name in example]
    there = len(example[fields[0]]) if fields else 0
    if there > count:
        raise InputError(f"The example has {there} objects, and there is room for {count}.")
    objects = {"present": np.ones(there, bool), **{name: example[name] for name in fields}}
    for name, x in objects.items():
        objects[name] = np.pad(x, [(0, count - there), *[(0, 0)] * (x.ndim - 1)])
    return {**example, **objects}
