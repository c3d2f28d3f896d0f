"""configs/unet3d.py: what sparse annotation and volumes add to the contract of every config."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax import cli, predict
from segjax.errors import InputError

CROP = (8, 12, 16)
RNG = np.random.default_rng(0)


def load(**values):
    return cli.load_config("configs/unet3d.py", values)


def batch_of(sides, count=1):
    label = RNG.integers(0, 2, (count, *sides)).astype(np.int32)
    image = RNG.random((count, *sides, 1), np.float32)
    return {"image": image, "label": label, "valid": np.ones(count, bool)}


def test_ignored_voxels_leave_no_trace():
    """The gradient is that of the annotated voxels: exactly zero without any, whatever the rest."""
    module, config = load(**{"model.width": 2, "model.depth": 1, "crop": CROP})
    problem = module.task(config, module.card(config))
    batch = batch_of(CROP)
    params = problem.init(jax.random.key(0), batch)["params"]

    @jax.jit
    def step(label):
        key, changed = jax.random.key(1), {**batch, "label": label}
        (value, _), gradient = jax.value_and_grad(problem.loss, has_aux=True)(
            params, {}, changed, key
        )
        return value, gradient

    nothing = np.full_like(batch["label"], 255)
    value, gradient = step(nothing)
    assert value == 0
    assert all(np.all(x == 0) for x in jax.tree.leaves(gradient))

    few = nothing.copy()
    few[:, 3] = batch["label"][:, 3]
    value, gradient = step(few)

    seen = module.flip(jax.random.split(jax.random.key(1))[0], {**batch, "label": few})
    annotated = np.nonzero(seen["label"] != 255)
    assert len(annotated[0]) == 12 * 16
    truth = np.eye(2)[seen["label"][annotated]]

    def by_hand(params):
        net = module.model(config, module.card(config))
        logits = net.apply({"params": params}, (seen["image"] - 0.3) / 0.2, train=True)["logits"]
        return -jnp.mean(jnp.sum(truth * jax.nn.log_softmax(logits[annotated]), -1))

    expected, wanted = jax.jit(jax.value_and_grad(by_hand))(params)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    largest = max(jnp.max(jnp.abs(x)) for x in jax.tree.leaves(wanted))
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-4 * largest),
        gradient,
        wanted,
    )


def test_flips_move_image_and_label_together():
    module, _ = load()
    batch = batch_of((4, 3, 5), count=64)
    batch["label"][:, 1] = 255
    batch["image"] = batch["label"][..., None] / np.float32(255)
    out = jax.jit(module.flip)(jax.random.key(0), batch)
    np.testing.assert_array_equal(out["image"][..., 0] * 255, out["label"])
    seen = set()
    for before, after in zip(batch["label"], np.asarray(out["label"]), strict=True):
        flips = [
            axes
            for axes in [(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]
            if np.array_equal(np.flip(before, axes), after)
        ]
        assert len(flips) == 1
        seen |= {*flips}
    assert len(seen) == 8


def test_the_papers_network():
    """Its 19,074,627 parameters (3 channels, 3 classes), less 2 input channels and 1 class."""
    values = {"model.width": 32, "model.depth": 3, "model.padding": "valid"}
    sizes = {"volume": (132, 148, 148), "crop": (116, 132, 132)}
    module, config = load(**values, **sizes)
    problem = module.task(config, module.card(config))
    batch = batch_of(config.crop)
    variables = jax.eval_shape(problem.init, jax.random.key(0), batch)
    count = sum(x.size for x in jax.tree.leaves(variables))
    assert count == 19_074_627 - 2 * 27 * 32 - (64 + 1)
    value, _ = jax.eval_shape(problem.loss, variables["params"], {}, batch, jax.random.key(0))
    assert value.shape == ()
    logits = jax.eval_shape(
        lambda v, x: module.model(config, module.card(config)).apply(v, x, train=False)["logits"],
        variables,
        batch["image"],
    )
    assert logits.shape == (1, 28, 44, 44, 2)


def test_predict_says_that_it_segments_images(tmp_path):
    module, config = load()
    saved = {
        "config_file": "configs/unet3d.py",
        "values": cli.plain_values(config),
        "card": module.card(config),
    }
    (tmp_path / "config.json").write_text(json.dumps(saved))
    with pytest.raises(InputError, match=r"segments images, not volumes"):
        predict.load(tmp_path)
