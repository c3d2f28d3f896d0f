"""Initial weights: He's variance, the key alone decides, under every transformation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax.nn.initializers import (
    caffe2_xavier,
    he_normal,
    he_normal_transposed,
    normal,
    torch_uniform,
    uniform,
    xavier_uniform,
)
from segjax.ops.conv_transpose import conv_transpose

KEY = jax.random.key(3)


def test_variance_is_two_over_the_fan_in():
    kernel = np.asarray(he_normal(KEY, (3, 5, 40, 64)))
    assert kernel.dtype == np.float32
    assert kernel.std() == pytest.approx(np.sqrt(2 / (3 * 5 * 40)), rel=0.01)
    assert kernel.mean() == pytest.approx(0, abs=2e-4)


@pytest.mark.parametrize(
    ("init", "bound"),
    [
        (uniform(0.3), 0.3),
        (xavier_uniform, np.sqrt(6 / (15 * 40 + 15 * 64))),  # Glorot and Bengio 2010, eq. 16
        (caffe2_xavier, np.sqrt(3 / (15 * 40))),
        (torch_uniform, np.sqrt(1 / (15 * 40))),  # kaiming_uniform_(a=sqrt(5)), its default
    ],
)
def test_uniform_within_its_bound(init, bound):
    kernel = np.asarray(init(KEY, (3, 5, 40, 64)))
    assert np.abs(kernel).max() <= bound * (1 + 1e-6)
    assert kernel.std() == pytest.approx(bound / np.sqrt(3), rel=0.01)


def test_normal_has_its_standard_deviation():
    assert np.asarray(normal(0.01)(KEY, (3, 5, 40, 64))).std() == pytest.approx(0.01, rel=0.01)


@pytest.mark.parametrize("k", [2, 4])
def test_transposed_convolution_keeps_the_second_moment_of_rectified_inputs(k):
    # He et al. 2015, eq. 9: for x = relu(y), Var[next y] = fan_in / 2 * Var[w] * Var[y] = Var[y].
    x = jax.nn.relu(jax.random.normal(KEY, (1, 16, 16, 128)))
    kernel = he_normal_transposed(2)(jax.random.key(4), (k, k, 128, 64))
    y = np.asarray(conv_transpose(x, kernel, (2, 2)))[:, 2:-2, 2:-2]
    assert y.std() == pytest.approx(1, rel=0.05)


def test_the_key_decides():
    draw = lambda key: np.asarray(he_normal(key, (3, 3, 4, 4)))
    np.testing.assert_array_equal(draw(KEY), draw(KEY))
    assert not np.array_equal(draw(KEY), draw(jax.random.key(4)))
    np.testing.assert_array_equal(
        jax.jit(he_normal, static_argnums=1)(KEY, (3, 3, 4, 4)), draw(KEY)
    )


def test_vmap_over_keys_is_a_loop_over_keys():
    keys = jax.random.split(KEY, 3)
    together = jax.vmap(lambda key: he_normal(key, (3, 3, 2, 5)))(keys)
    np.testing.assert_array_equal(together, jnp.stack([he_normal(k, (3, 3, 2, 5)) for k in keys]))


def test_dtype_and_shapes_alone():
    assert he_normal(KEY, (1, 1, 2, 2), jnp.bfloat16).dtype == jnp.bfloat16
    assert jax.eval_shape(lambda k: he_normal(k, (3, 3, 2, 5)), KEY).shape == (3, 3, 2, 5)
