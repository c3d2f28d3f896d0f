"""Every architecture has its published parameter count, builds with every upsampler, and learns."""

import functools
import re
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models.tiny import TINY

from segjax.backbones.table import BACKBONES
from segjax.models.table import MODELS
from segjax.nn.upsample import UPSAMPLERS

ROOT = Path(__file__).parent.parent.parent / "segjax"


@pytest.mark.parametrize("name", [*MODELS, *BACKBONES])
def test_parameters(name):
    entry = {**MODELS, **BACKBONES}[name]
    image = jax.ShapeDtypeStruct((1, *entry.input), jnp.float32)
    init = functools.partial(entry.make().init, train=False)
    variables = jax.eval_shape(init, jax.random.key(0), image)
    paths = jax.tree_util.tree_leaves_with_path(variables["params"])
    names = [(jax.tree_util.keystr(path, simple=True, separator="/"), x) for path, x in paths]
    counted = [x.size for path, x in names if not re.search(entry.uncounted or "$^", path)]
    assert sum(counted) == entry.parameters


@pytest.mark.parametrize("room", ["models", "backbones"])
def test_no_file_is_missing(room):
    files = {path.stem for path in (ROOT / room).glob("*.py")} - {"__init__", "table"}
    made = {type(entry.make()).__module__ for entry in MODELS.values()}
    for entry in BACKBONES.values():
        network = entry.make()
        made |= {type(x).__module__ for x in (network, getattr(network, "backbone", network))}
    assert files == {name.split(".")[2] for name in made if name.startswith(f"segjax.{room}.")}


def test_every_model_has_a_tiny_one():
    assert TINY.keys() >= MODELS.keys()


CASES = [(name, upsampler) for name, tiny in TINY.items() for upsampler in tiny.upsamplers]


@pytest.mark.parametrize(("name", "upsampler"), CASES)
def test_a_gradient_step_with_every_upsampler(name, upsampler):
    # Built and differentiated as shapes; the step itself runs with the default upsampler below.
    tiny = TINY[name]
    model = tiny.make(upsample=UPSAMPLERS[upsampler])
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    image = jax.ShapeDtypeStruct((2, *tiny.input), jnp.float32)
    variables = jax.eval_shape(functools.partial(model.init, train=False), keys, image)

    def loss(params, image):
        state = {name: x for name, x in variables_.items() if name != "params"}
        out, _ = model.apply(
            {"params": params, **state},
            image,
            train=True,
            rngs={"dropout": jax.random.key(1)},
            mutable=list(state),
        )
        return sum(jnp.sum(jnp.sin(x)) for x in jax.tree.leaves(out))

    variables_ = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), variables)
    grads = jax.eval_shape(jax.grad(loss), variables["params"], image)
    chex.assert_trees_all_equal_shapes(grads, variables["params"])


@pytest.mark.parametrize("name", TINY)
def test_every_parameter_gets_a_gradient(name):
    tiny = TINY[name]
    model = tiny.make()
    generator = np.random.default_rng(0)
    image = generator.normal(size=(2, *tiny.input)).astype(np.float32)
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(2)}
    variables = jax.jit(functools.partial(model.init, train=False))(keys, image)
    state = {name: x for name, x in variables.items() if name != "params"}
    # zero-initialised layers would hide what is behind them
    moved = jax.tree.map(
        lambda x: (x + 0.02 * generator.normal(size=x.shape)).astype(np.float32),
        jax.device_get(variables["params"]),
    )

    @jax.jit
    def grads(params):
        def loss(params):
            out, _ = model.apply(
                {"params": params, **state},
                image,
                train=True,
                rngs={"dropout": jax.random.key(3)},
                mutable=list(state),
            )
            assert out["logits"].shape[-1] == 3
            assert out["logits"].dtype == jnp.float32
            return sum(jnp.sum(jnp.sin((i + 1) * x)) for i, x in enumerate(jax.tree.leaves(out)))

        return jax.grad(loss)(params)

    found = grads(moved)
    still = [
        jax.tree_util.keystr(path)
        for path, g in jax.tree_util.tree_leaves_with_path(found)
        if not np.abs(np.asarray(g)).max() > 0
    ]
    assert not still
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(found))
