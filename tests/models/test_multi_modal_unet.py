"""One encoder a modality: its layer table, and the U-Net that one modality is."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models.variables import at_random

from segjax.errors import InputError
from segjax.models.multi_modal_unet import MultiModalUNet
from segjax.models.unet import UNet


def test_the_layer_table():
    encoder = [(64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512), (512, 512)]
    threes = [
        *((3, 64), *encoder),
        *((1, 64), *encoder),
        *((512 + 512, 1024), (1024, 1024)),  # the bottom sees both
        *((512 + 512 + 512, 512), (512, 512)),  # skips of both, and from below
        *((256 + 256 + 256, 256), (256, 256)),
        *((128 + 128 + 128, 128), (128, 128)),
        *((64 + 64 + 64, 64), (64, 64)),
    ]
    ups = [(1024, 512), (512, 256), (256, 128), (128, 64)]
    count = sum(9 * a * b + b for a, b in threes) + sum(4 * a * b + b for a, b in ups) + 130
    assert count == 43_568_066
    image = jax.ShapeDtypeStruct((1, 48, 32, 4), jnp.float32)
    init = functools.partial(MultiModalUNet(2).init_with_output, train=False)
    out, variables = jax.eval_shape(init, jax.random.key(0), image)
    assert out["logits"].shape == (1, 48, 32, 2)
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == count


def test_one_modality_is_the_unet():
    unet = UNet(2, width=3, depth=1, padding="same")
    variables, image = at_random(unet, 3, 8, 12, 4)
    renamed = {
        name + "_0" if name.startswith("down") else name: x
        for name, x in variables["params"].items()
    }
    early = MultiModalUNet(2, modalities=(4,), width=3, depth=1)
    wanted = jax.jit(functools.partial(unet.apply, train=False))(variables, image)
    found = jax.jit(functools.partial(early.apply, train=False))({"params": renamed}, image)
    np.testing.assert_allclose(found["logits"], wanted["logits"], rtol=1e-5, atol=1e-5)


def test_each_encoder_sees_its_own_channels():
    model = MultiModalUNet(2, modalities=(2, 1), width=2, depth=1)
    variables, _ = at_random(model, 1, 4, 6, 3)
    kernels = [variables["params"][f"down0_{m}"]["conv1"]["kernel"].shape for m in (0, 1)]
    assert kernels == [(3, 3, 2, 2), (3, 3, 1, 2)]


def test_bad_input():
    model = MultiModalUNet(2, width=2, depth=2)
    assert model.input_size(9) == model.output_size(12) == 12
    with pytest.raises(InputError, match="has 3 channels but modalities="):
        model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), train=False)
    with pytest.raises(InputError, match="a side of 6 is no multiple of 4"):
        model.init(jax.random.key(0), jnp.zeros((1, 8, 6, 4)), train=False)
