"""Initial weights, drawn by numpy on the host.

`jax.random` compiles a program for every shape, 10 seconds for a U-Net; a callback to numpy
compiles to nothing. The numbers are a pure function of the key, and the same on every backend.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def he_normal(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Normal with standard deviation sqrt(2 / fan_in), for a kernel [..., in, out].

    He et al. 2015, eq. 10; what the U-Net paper asks for.
    """
    std = np.float32(math.sqrt(2 / math.prod(shape[:-1])))

    def draw(key_data: jax.Array) -> np.ndarray:
        generator = np.random.Generator(np.random.Philox(np.asarray(key_data).ravel().tolist()))
        return std * generator.standard_normal(shape, np.float32)

    result = jax.ShapeDtypeStruct(shape, jnp.float32)
    data = jax.random.key_data(key)
    return jax.pure_callback(draw, result, data, vmap_method="sequential").astype(dtype)


def he_normal_transposed(stride: int) -> Callable[..., jax.Array]:
    """He's initialiser for a transposed convolution, an output of which sees 1 / stride**2 taps."""
    return lambda key, shape, dtype=jnp.float32: stride * he_normal(key, shape, dtype)
