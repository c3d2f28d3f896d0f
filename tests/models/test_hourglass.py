"""The generic hourglass against torch, its layer table and its variants."""

import functools

import jax
import jax.numpy as jnp
import pytest
from parity import check

from segjax.errors import InputError
from segjax.models.hourglass import Hourglass, add
from segjax.models.unet import concatenate, without_skip
from segjax.nn.upsample import MaxUnpool
from segjax.weights.keymap import KeyMap


def shapes(model, height, width):
    image = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
    init = functools.partial(model.init_with_output, train=False)
    out, variables = jax.eval_shape(init, jax.random.key(0), image)
    return out["logits"].shape, sum(x.size for x in jax.tree.leaves(variables["params"]))


def test_equals_torch_with_unpooling_and_skips():
    model = Hourglass(3, width=4, depth=3, upsample=MaxUnpool, merge=concatenate)
    check("hourglass_torch", model, KeyMap(unused="num_batches_tracked"))


ENCODER = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512)]
MIRROR = [(512, 512)] * 3 + [(256, 256)] * 2 + [(128, 128)] * 2 + [(64, 64)] * 2
PROJECT = [(512, 256), (256, 128), (128, 64)]  # in front of the nearest-neighbour upsampling


def table(layers):
    """Of 3x3 convolutions without biases, each with a normalisation."""
    return sum(9 * a * b + 2 * b for a, b in layers)


@pytest.mark.parametrize(
    ("options", "extra"),
    [
        ({}, 0),
        ({"merge": add}, 0),
        # a skip widens the first convolution of each stage of the decoder
        ({"merge": concatenate}, sum(9 * w * w for w in (512, 256, 128, 64))),
        ({"down": "strided_conv"}, table([(w, w) for w in (512, 256, 128, 64)])),
    ],
)
def test_the_layer_table(options, extra):
    count = table(ENCODER + MIRROR) + sum(a * b + b for a, b in PROJECT) + 64 * 21 + 21
    assert count == 11_131_861
    assert shapes(Hourglass(21, **options), 32, 48) == ((1, 32, 48, 21), count + extra)


def test_the_default_has_no_skip():
    assert Hourglass(2).merge is without_skip


def test_sizes():
    model = Hourglass(2, width=2, depth=3)
    assert model.input_size(17) == 24
    assert model.output_size(24) == 24
    with pytest.raises(InputError, match="20 is no multiple of 8; the nearest legal side is 16 or"):
        shapes(model, 24, 20)


def test_unpooling_needs_pooling():
    with pytest.raises(InputError, match="MaxUnpool needs the switches"):
        shapes(Hourglass(2, width=2, down="strided_conv", upsample=MaxUnpool), 16, 16)


def test_another_way_down_is_refused():
    with pytest.raises(InputError, match="down is 'average'; the choices are"):
        shapes(Hourglass(2, width=2, down="average"), 16, 16)
