"""configs/unet3d.py: what sparse annotation and volumes add to the contract of every config."""

import jax
import jax.numpy as jnp
import numpy as np

from segjax import cli
from segjax.recipes import datasets

FACTS = {"class_names": ["background", "cell"], "channels": 1}
CROP = (8, 12, 16)
RNG = np.random.default_rng(0)


def load(**values):
    return cli.load_config("configs/unet3d.py", values)


def batch_of(sides, count=1):
    label = RNG.integers(0, 2, (count, *sides)).astype(np.int32)
    image = RNG.random((count, *sides, 1), np.float32)
    counts = {"mask": np.ones(label.shape, bool), "valid": np.ones(count, bool)}
    return {"image": image, "label": label, **counts}


def test_voxels_that_do_not_count_leave_no_trace():
    """The gradient is that of the annotated voxels: exactly zero without any, whatever the rest."""
    module, config = load(**{"model.width": 2, "model.depth": 1, "crop": CROP, "volume": CROP})
    experiment = module.build(config, FACTS)
    problem, batch = experiment.task, batch_of(CROP)
    params = problem.init(jax.random.key(0), batch)["params"]

    @jax.jit
    def step(mask):
        key, changed = jax.random.key(1), {**batch, "mask": mask}
        (value, _), gradient = jax.value_and_grad(problem.loss, has_aux=True)(
            params, {}, changed, key
        )
        return value, gradient

    nothing = np.zeros(batch["label"].shape, bool)
    value, gradient = step(nothing)
    assert value == 0
    assert all(np.all(x == 0) for x in jax.tree.leaves(gradient))

    few = nothing.copy()
    few[:, 3] = True
    value, gradient = step(few)

    distort = datasets.DATASETS["cells3d"].distort(CROP)
    seen = distort(jax.random.split(jax.random.key(1))[0], {**batch, "mask": few})
    annotated = np.nonzero(seen["mask"])
    assert len(annotated[0]) == 12 * 16
    truth = np.eye(2)[seen["label"][annotated]]

    def by_hand(params):
        image = (seen["image"] - 0.3) / 0.2
        logits = experiment.model.apply({"params": params}, image, train=True)["logits"]
        return -jnp.mean(jnp.sum(truth * jax.nn.log_softmax(logits[annotated]), -1))

    expected, wanted = jax.jit(jax.value_and_grad(by_hand))(params)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    largest = max(jnp.max(jnp.abs(x)) for x in jax.tree.leaves(wanted))
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-4 * largest),
        gradient,
        wanted,
    )


def test_the_papers_network():
    """Its 19,074,627 parameters (3 channels, 3 classes), less 2 input channels and 1 class."""
    values = {"model.width": 32, "model.depth": 3, "model.padding": "valid"}
    sizes = {"volume": (132, 148, 148), "crop": (28, 44, 44)}
    module, config = load(**values, **sizes)
    experiment = module.build(config, FACTS)
    problem, batch = experiment.task, batch_of(config.volume)
    variables = jax.eval_shape(problem.init, jax.random.key(0), batch)
    count = sum(x.size for x in jax.tree.leaves(variables))
    assert count == 19_074_627 - 2 * 27 * 32 - (64 + 1)
    value, _ = jax.eval_shape(problem.loss, variables["params"], {}, batch, jax.random.key(0))
    assert value.shape == ()
    image = jax.ShapeDtypeStruct((1, 116, 132, 132, 1), jnp.float32)
    logits = jax.eval_shape(
        lambda v, x: experiment.model.apply(v, x, train=False)["logits"], variables, image
    )
    assert logits.shape == (1, 28, 44, 44, 2)
