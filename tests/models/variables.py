"""Variables of a model, made without its initialisers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np


def at_random(model, *shape):
    """Variables and an image, without compiling the initialisers."""
    generator = np.random.default_rng(0)
    init = functools.partial(model.init, train=False)
    image = jax.ShapeDtypeStruct(shape, jnp.float32)

    def fill(x):
        scale = 1 / np.sqrt(np.prod(x.shape[:-1])) if x.ndim > 1 else 0.1
        return (scale * generator.normal(size=x.shape)).astype(np.float32)

    variables = jax.tree.map(fill, jax.eval_shape(init, jax.random.key(0), image))
    return variables, generator.normal(size=shape).astype(np.float32)
