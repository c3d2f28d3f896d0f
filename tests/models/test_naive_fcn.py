"""The naive network: its layer table and what a pixel sees."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from models.variables import at_random

from segjax.models.naive_fcn import NaiveFCN


def test_the_layer_table():
    # 3 -> 64, seven times 64 -> 64, without biases; eight normalisations; 64 -> 21 with a bias.
    count = 9 * 3 * 64 + 7 * 9 * 64 * 64 + 8 * 2 * 64 + 64 * 21 + 21
    assert count == 262_165
    model = NaiveFCN(21)
    image = jax.ShapeDtypeStruct((3, 37, 50, 3), jnp.float32)
    init = functools.partial(model.init_with_output, train=False)
    out, variables = jax.eval_shape(init, jax.random.key(0), image)
    assert out["logits"].shape == (3, 37, 50, 21)  # any size
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == count
    assert model.input_size(37) == model.output_size(37) == 37


def test_a_pixel_sees_2n_plus_1():
    model = NaiveFCN(2, width=3, depth=3, norm=None)
    variables, image = at_random(model, 1, 13, 15, 1)

    @jax.jit
    @jax.grad
    def gradient(image):
        return model.apply(variables, image, train=False)["logits"][0, 6, 7].sum()

    rows, columns = np.nonzero(np.asarray(gradient(image))[0, :, :, 0])
    assert (rows.min(), rows.max()) == (3, 9)
    assert (columns.min(), columns.max()) == (4, 10)
