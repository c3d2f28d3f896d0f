"""M-Net against a torch transcription of the authors' code, and its layer table."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models.variables import at_random
from parity import check

from segjax.errors import InputError
from segjax.models.m_net import MNet
from segjax.weights.keymap import KeyMap

SIDES = ("side6", "side7", "side8", "side9")


def test_the_sides_equal_torch():
    keymap = KeyMap(transposed="dconv/")
    check("m_net_torch", MNet(2, width=3), keymap, {side: side for side in SIDES})


def test_the_logits_are_of_the_mean_probability():
    model = MNet(3, width=2)
    variables, image = at_random(model, 3, 16, 32, 2)
    out = jax.jit(functools.partial(model.apply, train=False))(variables, 3000 * image)
    mean = np.mean([jax.nn.sigmoid(out[side]) for side in SIDES], axis=0)
    assert mean.min() < 0.01
    np.testing.assert_allclose(jax.nn.sigmoid(out["logits"]), mean, rtol=1e-4, atol=1e-6)


def test_the_layer_table():
    threes = [
        *((3, 32), (32, 32)),
        *((3, 64), (64 + 32, 64), (64, 64)),
        *((3, 128), (128 + 64, 128), (128, 128)),
        *((3, 256), (256 + 128, 256), (256, 256)),
        *((256, 512), (512, 512)),
        *((512, 256), (256, 256), (256, 128), (128, 128)),
        *((128, 64), (64, 64), (64, 32), (32, 32)),
    ]
    ups = [(512, 256), (256, 128), (128, 64), (64, 32)]
    sides = [(256, 2), (128, 2), (64, 2), (32, 2)]
    count = sum(9 * a * b + b for a, b in threes)
    count += sum(4 * a * b + b for a, b in ups) + sum(a * b + b for a, b in sides)
    assert count == 8_547_720
    image = jax.ShapeDtypeStruct((1, 400, 400, 3), jnp.float32)
    init = functools.partial(MNet(2).init, train=False)
    variables = jax.eval_shape(init, jax.random.key(0), image)
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == count


def test_sizes():
    model = MNet(2, width=2)
    assert model.input_size(391) == model.output_size(400) == 400
    with pytest.raises(InputError, match="a side of 40 is no multiple of 16"):
        model.init(jax.random.key(0), jnp.zeros((1, 32, 40, 3)), train=False)
