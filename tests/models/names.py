"""What a model's arrays are called in a family of checkpoints."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from segjax.weights.keymap import fill, flatten


def shapes(model, size=(65, 65)):
    """The variables of a model for RGB images, as shapes."""
    image = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    init = functools.partial(model.init, train=False)
    return jax.eval_shape(init, jax.random.key(0), image)


def parameters(model):
    """How many parameters a model has."""
    return sum(x.size for x in jax.tree.leaves(shapes(model)["params"]))


def fits(model, keymap, arrays):
    """Fails unless a checkpoint of these arrays, name -> shape, fills the model exactly."""
    variables = shapes(model)
    tensors = {name: np.broadcast_to(np.float32(0), shape) for name, shape in arrays.items()}
    filled, kept = fill(variables, tensors, keymap)
    assert not kept
    assert len(flatten(filled)) == len(arrays)
