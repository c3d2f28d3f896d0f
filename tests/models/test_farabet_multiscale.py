"""Farabet et al.'s multiscale network: its layer table, its tables of connections, what it sees."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from models.variables import at_random

from segjax.errors import InputError
from segjax.models import farabet_multiscale
from segjax.models.farabet_multiscale import (
    FarabetMultiscale,
    SparseConv,
    colour_table,
    random_table,
)


@pytest.mark.parametrize(
    ("hidden", "classifier"), [(1024, 768 * 1024 + 1024 + 1024 * 8 + 8), (None, 768 * 8 + 8)]
)
def test_the_layer_table(hidden, classifier):
    # 7x7 kernels: 10 of Y and 6 of U and V, then 8 and 32 inputs a map.
    stages = (10 + 6 * 2) * 49 + 16 + 64 * 8 * 49 + 64 + 256 * 32 * 49 + 256
    assert stages == 427_910
    model = FarabetMultiscale(8, hidden=hidden)
    image = jax.ShapeDtypeStruct((1, 240, 320, 3), jnp.float32)
    init = functools.partial(model.init_with_output, train=False)
    out, variables = jax.eval_shape(init, jax.random.key(0), image)
    assert out["logits"].shape == (1, 240, 320, 8)
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == stages + classifier


def test_tables_of_connections():
    assert colour_table(16) == ((0,),) * 10 + ((1, 2),) * 6
    for inputs, maps, fan_in in ((16, 64, 8), (64, 256, 32), (5, 7, 2)):
        table = random_table(inputs, maps, fan_in, seed=1)
        assert len(table) == maps
        assert all(len(set(seen)) == fan_in and max(seen) < inputs for seen in table)
        assert set().union(*table) == set(range(inputs))
        assert table == random_table(inputs, maps, fan_in, seed=1)
    counts = np.bincount(np.ravel(random_table(16, 64, 8, seed=1)))
    assert (counts == 32).all()


def test_sparse_convolution():
    table = ((0,), (1, 2), (0, 3), (3,), (1,))
    generator = np.random.default_rng(0)
    x = generator.normal(size=(3, 8, 9, 4)).astype(np.float32)
    kernel = generator.normal(size=(7, 7, 7)).astype(np.float32)
    bias = generator.normal(size=5).astype(np.float32)
    y = SparseConv(table).apply({"params": {"kernel": kernel, "bias": bias}}, x)
    dense = np.zeros((7, 7, 4, 5), np.float32)
    pairs = [(0, 0), (1, 1), (2, 1), (0, 2), (3, 2), (3, 3), (1, 4)]  # input, map
    for k, (i, o) in enumerate(pairs):
        dense[:, :, i, o] = kernel[:, :, k]
    numbers = ("NHWC", "HWIO", "NHWC")
    wanted = lax.conv_general_dilated(x, dense, (1, 1), "SAME", dimension_numbers=numbers) + bias
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-4)


def test_a_feature_sees_46_pixels(monkeypatch):
    # Without the normalisation, which sees the whole image. A score between two features, 4 apart,
    # mixes both, in each direction: 50 pixels.
    plain = lambda image, size: image
    monkeypatch.setattr(farabet_multiscale.pyramid, "local_contrast_normalization", plain)
    model = FarabetMultiscale(2, maps=(4, 8, 8), hidden=None, scales=1)
    variables, image = at_random(model, 16, 64, 64, 3)

    @jax.jit
    @jax.grad
    def gradient(image):
        return model.apply(variables, image, train=False)["logits"][:, 31, 31].sum()

    rows, columns = np.nonzero(np.abs(np.asarray(gradient(image))).sum((0, 3)))
    assert rows.max() - rows.min() + 1 == 50
    assert columns.max() - columns.min() + 1 == 50


def test_light_and_contrast_change_nothing():
    model = FarabetMultiscale(3, maps=(4, 4, 4), hidden=5)
    variables, image = at_random(model, 1, 32, 48, 3)
    both = np.concatenate([image, 255 * image + 9])
    out = jax.jit(functools.partial(model.apply, train=False))(variables, both)["logits"]
    assert np.ptp(out[0]) > 0.1
    np.testing.assert_allclose(out[1], out[0], atol=1e-3)


def test_bad_input():
    model = FarabetMultiscale(2)
    assert model.input_size(1) == 16
    assert model.input_size(321) == 336
    assert model.output_size(320) == 320
    with pytest.raises(InputError, match="a side of 40 is no multiple of 16"):
        model.init(jax.random.key(0), jnp.zeros((1, 48, 40, 3)), train=False)
    with pytest.raises(InputError, match="needs RGB images, not 1 channels"):
        model.init(jax.random.key(0), jnp.zeros((1, 48, 48, 1)), train=False)
