"""Keys that numpy folds give the numbers of jax's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax.ops.host_key import folded_on_host, threefry2x32


@pytest.mark.parametrize(
    ("key", "counter", "expected"),
    [  # kat_vectors of the authors' library Random123, threefry2x32 with 20 rounds
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_of_its_authors(key, counter, expected):
    assert threefry2x32(key, counter) == expected


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["eager", "jit"])
@pytest.mark.parametrize("seed", [0, 2**31 - 1])
def test_folds_splits_and_draws_are_those_of_the_key(transform, seed):
    def draws(key):
        for i in (3, 2**32 - 1):
            key = jax.random.fold_in(key, np.uint32(i))
        first, _ = jax.random.split(key)
        return jax.random.key_data(key), jax.random.normal(first, (5,))

    key = jax.random.key(seed)
    ours = transform(lambda key: draws(folded_on_host(key)))(key)
    for a, b in zip(ours, draws(key), strict=True):
        np.testing.assert_array_equal(a, b)


def test_many_keys_are_folded_one_by_one():
    key, numbers = jax.random.key(1), jnp.arange(4)
    ours = jax.vmap(lambda i: jax.random.fold_in(folded_on_host(key), i))(numbers)
    theirs = jax.vmap(lambda i: jax.random.fold_in(key, i))(numbers)
    np.testing.assert_array_equal(jax.random.key_data(ours), jax.random.key_data(theirs))


def test_keys_of_another_kind_are_left_alone():
    key = jax.random.key(0, impl="rbg")
    assert folded_on_host(key) is key
