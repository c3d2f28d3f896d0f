"""Fitting images of any size to a network: crops, mirrored borders.

Sizes are (height, width), or (depth, height, width) of volumes.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from segjax.errors import InputError
from segjax.ops.host_key import folded_on_host


class Model(Protocol):
    """Images [B, H, W, C] -> {'logits': [B, H', W', K]}, centred in the input; or volumes."""

    def init(self, rngs: Any, image: Any, *, train: bool) -> Any: ...
    def apply(self, variables: Any, image: Any, *, train: bool, **options: Any) -> Any: ...
    def input_size(self, output: int) -> int:
        """The smallest legal side of an input whose output covers `output` pixels."""
        ...

    def output_size(self, size: int) -> int:
        """The side of the output for a legal side of the input."""
        ...


def check_size(name: str, size: Sequence[int], dimensions: Sequence[int] = (2,)) -> None:
    """Raise `InputError` unless `size` has as many positive sides as is legal."""
    if len(size) not in dimensions or not all(isinstance(n, int) and n > 0 for n in size):
        kinds = {2: "(height, width)", 3: "(depth, height, width)"}
        wanted = " or ".join(kinds[n] for n in dimensions)
        raise InputError(f"{name} must be {wanted} in pixels, not {tuple(size)}.")


def centre(x: jax.Array, size: Sequence[int]) -> jax.Array:
    """The middle of [B, H, W, ...] at `size`, as far as it is larger."""
    starts = [max(n - m, 0) // 2 for n, m in zip(x.shape[1:], size, strict=False)]
    window = (slice(start, start + m) for start, m in zip(starts, size, strict=True))
    return x[(slice(None), *window)]


def input_side(model: Model, available: int, wanted: int) -> int:
    """The largest legal input side within `available` whose output covers `wanted` pixels.

    Where none does, the smallest one that does.
    """
    smallest = model.input_size(wanted)
    legal = (
        n for n in range(available, smallest, -1) if model.input_size(model.output_size(n)) == n
    )
    return next(legal, smallest)


def mirror_to(image: jax.Array, size: Sequence[int]) -> jax.Array:
    """[B, H, W, C] with mirrored borders around it up to `size`."""
    missing = [m - n for n, m in zip(image.shape[1:-1], size, strict=True)]
    pads = [(0, 0), *((n // 2, n - n // 2) for n in missing), (0, 0)]
    return jnp.pad(image, pads, mode="reflect")


def fit_to(model: Model, image: jax.Array, wanted: Sequence[int]) -> jax.Array:
    """[B, H, W, C] at a legal size whose output covers `wanted`: cropped, or mirrored borders.

    An image larger than `wanted` brings context along, and as much of it is kept as is legal.
    """
    sides = [input_side(model, *pair) for pair in zip(image.shape[1:-1], wanted, strict=True)]
    return mirror_to(centre(image, sides), sides)


def init_variables(model: Model, key: jax.Array, image: Any) -> Any:
    """The variables for a batch of images like `image`."""
    *size, channels = image.shape[1:]
    sides = [model.input_size(n) for n in size]
    zeros = jnp.zeros((1, *sides, channels), jnp.float32)
    return jax.jit(lambda key: model.init(folded_on_host(key), zeros, train=False))(key)


def coarse(x: jax.Array, size: Sequence[int]) -> jax.Array:
    """[B, H, W] at a `size` that divides it: what lies in the middle of each block."""
    steps = [n // m for n, m in zip(x.shape[1:], size, strict=True)]
    return x[(slice(None), *(slice(step // 2, None, step) for step in steps))]
