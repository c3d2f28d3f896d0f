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

from segjax.errors import InputError

Initializer = Callable[..., jax.Array]


def normal(std: float) -> Initializer:
    """Normal with mean 0 and standard deviation `std`, whatever the shape."""

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        return _draw(key, shape, dtype, lambda g: g.standard_normal(shape, np.float32), std)

    return init


def uniform(bound: float) -> Initializer:
    """Uniform between -bound and bound, whatever the shape."""

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        return _draw(key, shape, dtype, lambda g: 2 * g.random(shape, np.float32) - 1, bound)

    return init


def he_normal(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Normal with standard deviation sqrt(2 / fan_in), for a kernel [..., in, out].

    He et al. 2015, eq. 10; what the U-Net paper asks for.
    """
    return normal(math.sqrt(2 / _fan_in(shape)))(key, shape, dtype)


def he_normal_transposed(stride: int) -> Initializer:
    """He's initialiser for a transposed convolution, an output of which sees 1 / stride**2 taps."""
    return lambda key, shape, dtype=jnp.float32: stride * he_normal(key, shape, dtype)


def xavier_uniform(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Uniform within sqrt(6 / (fan_in + fan_out)); Glorot and Bengio 2010, eq. 16."""
    fan_in, fan_out = _fan_in(shape), math.prod(shape[:-2]) * shape[-1]
    return uniform(math.sqrt(6 / (fan_in + fan_out)))(key, shape, dtype)


def caffe2_xavier(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Uniform within sqrt(3 / fan_in), which Caffe2, and detectron2 after it, call Xavier's."""
    return uniform(math.sqrt(3 / _fan_in(shape)))(key, shape, dtype)


def torch_uniform(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Uniform within sqrt(1 / fan_in), as torch starts a convolution: a sixth of He's variance."""
    return uniform(math.sqrt(1 / _fan_in(shape)))(key, shape, dtype)


def _fan_in(shape):
    if min(shape[:-1]) < 1 or shape[-1] < 0:
        lacks = "no input channels" if shape[-1] >= 0 else f"{shape[-1]} output channels"
        raise InputError(
            f"A layer whose kernel is {' x '.join(map(str, shape))} has {lacks}: give every layer "
            "of the network a width of at least 1."
        )
    return math.prod(shape[:-1])


def _draw(key, shape, dtype, sample, scale):
    def draw(key_data: jax.Array) -> np.ndarray:
        seed = np.asarray(key_data).ravel().tolist()
        values = sample(np.random.Generator(np.random.Philox(seed)))
        values *= np.float32(scale)  # in place: a copy of the weights costs as much as drawing them
        return values

    result = jax.ShapeDtypeStruct(shape, jnp.float32)
    data = jax.random.key_data(key)
    return jax.pure_callback(draw, result, data, vmap_method="sequential").astype(dtype)
