"""The receptive field: which rows of an image each row of a network's output depends on.

`analytic` follows the dependence through the traced function, whatever it is made of, and computes
nothing; `measured` looks where the gradient of one output row is not zero. The field of a chain of
convolutions grows by r <- r + (K - 1) D j at stride product j (Araujo et al. 2019, "Computing
receptive fields of convolutional neural networks"); other networks need more than a number: the
field of U-Net depends on the position, and that of a dilated convolution has holes.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from segjax.analysis.support import along, table
from segjax.analysis.walk import follow, trace
from segjax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Field:
    """What each row of the output sees of the image: support bool [rows of output, of image].

    A network of finite field repeats itself: output row i + p sees what row i sees, q image rows
    further on, until the ends of the image cut the fields off.
    """

    support: np.ndarray

    @property
    def low(self) -> np.ndarray:
        """The first row of the image that each output row sees."""
        return self.support.argmax(1)

    @property
    def high(self) -> np.ndarray:
        """The last row of the image that each output row sees."""
        return self.support.shape[1] - 1 - self.support[:, ::-1].argmax(1)

    @property
    def whole(self) -> bool:
        """Whether every output row sees both ends of the image."""
        return bool((self.support[:, 0] & self.support[:, -1]).all())

    @functools.cached_property
    def _repeat(self) -> tuple[int, int, int, int]:
        """(p, q, first, last): the least p for which rows first..last repeat; else all 0."""
        rows, n = self.support, len(self.support)
        centre = n // 2
        for p in range(1, n // 2 + 1):
            start = centre - p // 2
            q = int(rows[start + p].argmax() - rows[start].argmax()) if start + p < n else 0
            if q > 0 and (np.roll(rows[start], q) == rows[start + p]).all():
                breaks = np.flatnonzero((np.roll(rows[:-p], q, axis=1) != rows[p:]).any(1))
                first = max((int(i) + 1 for i in breaks if i < start), default=0)
                last = min((int(i) - 1 for i in breaks if i > start), default=n - p - 1) + p
                if last - first + 1 >= max(2 * p, n // 4):
                    return p, q, first, last
        return 0, 0, 0, 0

    @property
    def period(self) -> tuple[int, int]:
        """(p, q); q / p is the stride between output rows. (0, 0) where nothing repeats."""
        return self._repeat[:2]

    @property
    def inner(self) -> np.ndarray:
        """The output rows around the centre that repeat, so that no end cuts them: int [rows]."""
        _, q, first, last = self._repeat
        return np.arange(first, last + 1) if q else np.arange(0)

    @property
    def sizes(self) -> np.ndarray:
        """From the first to the last row seen, holes included, for each of the `inner` rows."""
        return (self.high - self.low + 1)[self.inner]

    @property
    def size(self) -> int:
        """The largest of the sizes; `InputError` where no output row keeps clear of the ends."""
        if not len(self.inner):
            raise InputError(
                f"The receptive fields reach the ends of the {self.support.shape[1]} rows of the "
                "image: take a larger image, unless the network sees all of it."
            )
        return int(self.sizes.max())


def analytic(
    function: Callable[..., Any],
    variables: Any,
    image: Any,
    axis: int = 1,
    output_axis: int | None = 1,
) -> Field:
    """The field of `function(variables, image)`, one array, found without computing it.

    `variables` and `image` are arrays or shapes; the image is batch first. Rows are counted along
    `axis` of the image and `output_axis` of the output (None: its positions together). Raises
    `InputError` for an operation through which dependence cannot be followed. The support is exact
    but for `segjax.analysis.walk.follow`'s unions, and includes what a decision depends on: where
    max-unpooling puts a value, say.
    """
    closed = trace(function, variables, image)
    free = [()] * len(jax.tree.leaves(variables))
    (parts,) = follow(closed, [*free, along(image.shape, axis)])
    (out,) = closed.out_avals
    return Field(table(parts, out.shape, output_axis, image.shape[axis]))


def measured(
    function: Callable[..., Any],
    variables: Any,
    shape: tuple[int, ...],
    rows: Sequence[int],
    draws: int = 3,
    seed: int = 0,
    axis: int = 1,
) -> np.ndarray:
    """bool [len(rows), rows of the image]: where the gradients of these output rows are not zero.

    The gradient is of a random sum over a row's values, at `draws` random images of `shape`, of
    which the union is taken: a max-pool passes on one of its inputs, and ReLU some. A decision such
    as an argmax has no gradient, so what only decides is missing, and variables that are zero hide
    what is behind them; otherwise it is `analytic(...).support[rows]`.
    """

    @jax.jit
    def reached(key: jax.Array, row: jax.Array) -> jax.Array:
        first, second = jax.random.split(key)
        image = jax.random.normal(first, shape)
        output, pullback = jax.vjp(functools.partial(function, variables), image)
        weights = jax.random.normal(second, output.shape, output.dtype)
        there = jnp.arange(output.shape[axis]) == row
        there = jnp.expand_dims(there, [d for d in range(output.ndim) if d != axis])
        (gradient,) = pullback(weights * there)
        return (gradient != 0).any([d for d in range(len(shape)) if d != axis])

    keys = jax.random.split(jax.random.key(seed), draws)
    found = [np.any([reached(key, jnp.asarray(row)) for key in keys], axis=0) for row in rows]
    return np.stack(found)
