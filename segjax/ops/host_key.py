"""Random keys that numpy folds.

XLA:CPU compiles for 30 ms each time a key is folded, and Flax folds one for every array of weights:
9 seconds for an HRNet. A callback to numpy compiles to nothing, and the numbers are the same.
"""

from typing import Any

import jax
import numpy as np
from jax.extend import random

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def folded_on_host(key: jax.Array) -> jax.Array:
    """`key`, but `jax.random.fold_in` runs on the host; for few keys and never in a training step.

    Typed threefry2x32 keys, jax's default; one of another kind is returned as it is. All that is
    drawn from the key or its descendants stays the same.
    """
    if jax.random.key_impl(key) != "threefry2x32":
        return key
    return jax.random.wrap_key_data(jax.random.key_data(key), impl=_HOST)


def _fold_in(key: jax.Array, data: Any) -> jax.Array:
    def fold(key: jax.Array, data: jax.Array) -> np.ndarray:
        return np.array(threefry2x32(np.asarray(key).tolist(), (0, int(data))), np.uint32)

    result = jax.ShapeDtypeStruct((2,), np.uint32)
    return jax.pure_callback(fold, result, key, data, vmap_method="sequential")


def threefry2x32(key: tuple[int, int], counter: tuple[int, int]) -> tuple[int, int]:
    """The block cipher Threefry-2x32 with 20 rounds; Salmon et al. 2011, section 3.3."""
    word = 2**32
    keys = (*key, key[0] ^ key[1] ^ 0x1BD11BDA)
    a, b = (counter[0] + keys[0]) % word, (counter[1] + keys[1]) % word
    for group in range(5):
        for r in _ROTATIONS[group % 2]:
            a = (a + b) % word
            b = ((b << r) % word | b >> (32 - r)) ^ a
        a = (a + keys[(group + 1) % 3]) % word
        b = (b + keys[(group + 2) % 3] + group + 1) % word
    return a, b


_THREEFRY = random.threefry_prng_impl
_HOST = random.define_prng_impl(
    key_shape=_THREEFRY.key_shape,
    seed=_THREEFRY.seed,
    split=_THREEFRY.split,
    random_bits=_THREEFRY.random_bits,
    fold_in=_fold_in,
    name="threefry2x32_folded_on_host",
    tag="fryh",
)
