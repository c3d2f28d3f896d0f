import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from segjax import optim
from segjax.core import TrainState
from segjax.errors import InputError

PARAMS = {
    "backbone": {"conv": {"kernel": jnp.array([1.0, -2.0]), "bias": jnp.array([0.5])}},
    "head": {"kernel": jnp.array([[3.0], [4.0]]), "norm": {"scale": jnp.array([2.0])}},
}
ONES = jax.tree.map(jnp.ones_like, PARAMS)


def leaves(tree):
    flat = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(p, simple=True, separator="/"): np.asarray(x) for p, x in flat}


def one_update(tx, grads=ONES, params=PARAMS):
    return leaves(tx.update(grads, tx.init(params), params)[0])


def test_schedules_by_hand():
    poly = optim.poly(0.01, steps=100)
    # DeepLab: 0.01 (1 - 25/100)^0.9 = 0.0077190, half way 0.0053589
    assert poly(0) == pytest.approx(0.01)
    assert poly(25) == pytest.approx(0.0077190, rel=1e-4)
    assert poly(50) == pytest.approx(0.0053589, rel=1e-4)
    assert poly(100) == 0
    assert poly(150) == 0
    assert optim.poly(2.0, steps=8, power=2.0)(2) == pytest.approx(2.0 * 0.75**2)

    cosine = optim.cosine(0.4, steps=60, final=0.1)
    # 0.1 + 0.15 (1 + cos(pi t / 60)): cos(60 deg) = 1/2 at 20, cos(120 deg) = -1/2 at 40
    for step, value in {0: 0.4, 20: 0.325, 30: 0.25, 40: 0.175, 60: 0.1, 99: 0.1}.items():
        assert cosine(step) == pytest.approx(value, rel=1e-5)

    drops = optim.step(0.1, [10, 15])
    for step, value in {0: 0.1, 9: 0.1, 10: 0.01, 14: 0.01, 15: 0.001, 99: 0.001}.items():
        assert drops(step) == pytest.approx(value, rel=1e-5)
    assert optim.step(8.0, [3], factor=0.25)(3) == pytest.approx(2.0)

    warm = optim.with_warmup(drops, 4)
    for step, value in {0: 0.025, 1: 0.05, 3: 0.1, 4: 0.1, 10: 0.01}.items():
        assert warm(step) == pytest.approx(value, rel=1e-5)
    assert optim.with_warmup(drops, 0)(0) == pytest.approx(0.1)


@pytest.mark.parametrize("rate", [0.25, optim.cosine(0.5, 4)])
def test_learning_rate_multiplies_and_reports_the_rate_of_that_update(rate):
    tx = optim.learning_rate(rate)
    state = tx.init(PARAMS)
    for step in range(3):
        updates, state = jax.jit(tx.update)(ONES, state)
        expected = rate if isinstance(rate, float) else rate(step)
        assert optax.tree.get(state, "learning_rate") == pytest.approx(expected)
        np.testing.assert_allclose(updates["head"]["kernel"], -expected * np.ones((2, 1)), 1e-6)


@pytest.mark.parametrize("rate", [-1.0, float("nan"), float("inf")])
def test_a_negative_rate_is_refused(rate):
    schedules = (
        *(lambda: optim.poly(rate, 9), lambda: optim.cosine(rate, 9)),
        *(lambda: optim.step(rate, [9]), lambda: optim.learning_rate(rate)),
    )
    for make in schedules:
        with pytest.raises(InputError, match=f"The learning_rate must be .* finite, not {rate}"):
            make()


def test_learning_rate_keeps_half_precision():
    grads = {"kernel": jnp.ones(2, jnp.bfloat16)}
    tx = optim.learning_rate(optim.poly(0.5, 10))
    assert tx.update(grads, tx.init(grads))[0]["kernel"].dtype == jnp.bfloat16


def test_matches_is_a_search_in_the_path():
    mask = leaves(optim.matches(["backbone/", "scale$"])(PARAMS))
    hit = {name for name, x in mask.items() if x}
    assert hit == {"backbone/conv/kernel", "backbone/conv/bias", "head/norm/scale"}


@pytest.mark.parametrize(
    ("pattern", "words"), [("bakbone", "backbone/conv/bias"), ("(", "regular")]
)
def test_a_pattern_that_does_nothing_is_refused(pattern, words):
    with pytest.raises(InputError, match=words):
        optim.scale_by_path({pattern: 0.1}).init(PARAMS)
    with pytest.raises(InputError, match=words):
        optim.freeze(optax.sgd(0.1), [pattern]).init(PARAMS)


def test_decay_leaves_out_biases_and_gains():
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    got = one_update(optim.decay_weights(0.1), zeros)
    np.testing.assert_allclose(got["backbone/conv/kernel"], [0.1, -0.2], 1e-6)
    np.testing.assert_allclose(got["head/kernel"], [[0.3], [0.4]], 1e-6)
    assert not got["backbone/conv/bias"].any()
    assert not got["head/norm/scale"].any()
    everything = one_update(optim.decay_weights(0.1, exclude=()), zeros)
    np.testing.assert_allclose(everything["head/norm/scale"], [0.2], 1e-6)


def test_scale_by_path_multiplies_where_patterns_meet():
    got = one_update(optim.scale_by_path({"backbone/": 0.1, "bias$": 2.0}))
    np.testing.assert_allclose(got["backbone/conv/kernel"], [0.1, 0.1], 1e-6)
    np.testing.assert_allclose(got["backbone/conv/bias"], [0.2], 1e-6)
    np.testing.assert_array_equal(got["head/kernel"], [[1.0], [1.0]])


def test_adamw_first_step_by_hand():
    # The gradient has norm sqrt(6) and is clipped to 1; Adam's first step is its sign, then decay.
    tx = optim.adamw(0.1, decay=0.5)
    got = one_update(tx)
    np.testing.assert_allclose(got["head/kernel"], [[-0.1 * 2.5], [-0.1 * 3.0]], 1e-5)
    np.testing.assert_allclose(got["backbone/conv/bias"], [-0.1], 1e-5)
    mu = optax.tree.get(tx.update(ONES, tx.init(PARAMS), PARAMS)[1], "mu")
    np.testing.assert_allclose(mu["head"]["kernel"], 0.1 / np.sqrt(6) * np.ones((2, 1)), 1e-5)


def test_frozen_leaves_stay_and_have_no_state():
    tx = optim.freeze(optim.adamw(0.1), ["^backbone/"])
    params, state = PARAMS, tx.init(PARAMS)
    assert {x.shape for x in jax.tree.leaves(state)} == {(), (2, 1), (1,)}  # of the head alone
    for _ in range(3):
        updates, state = jax.jit(tx.update)(ONES, state, params)
        params = optax.apply_updates(params, updates)
    before, after = leaves(PARAMS), leaves(params)
    for name in before:
        same = (before[name] == after[name]).all()
        assert same == name.startswith("backbone/"), name


def test_ema_is_the_recursion_and_evaluation_uses_it():
    tx = optax.chain(optim.freeze(optax.sgd(0.5), ["bias$"]), optim.ema(0.75))
    state = TrainState.create({"params": PARAMS}, tx, jax.random.key(0))
    params, opt_state = state.params, state.opt_state
    weights = np.array([1.0, -2.0])
    average = weights.copy()
    generator = np.random.default_rng(0)
    for t in range(4):
        slope = generator.normal(size=2).astype(np.float32)
        grads = jax.tree.map(jnp.zeros_like, PARAMS)
        grads["backbone"]["conv"]["kernel"] = jnp.asarray(slope)
        updates, opt_state = jax.jit(tx.update)(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        weights = weights - 0.5 * slope
        share = min(0.75, (1 + t) / (10 + t))  # tf.train.ExponentialMovingAverage(num_updates=t)
        average = share * average + (1 - share) * weights
    evaluated = state.replace(params=params, opt_state=opt_state).eval_variables["params"]
    np.testing.assert_allclose(params["backbone"]["conv"]["kernel"], weights, 1e-5)
    np.testing.assert_allclose(evaluated["backbone"]["conv"]["kernel"], average, 1e-5)
    np.testing.assert_array_equal(evaluated["backbone"]["conv"]["bias"], [0.5])


def test_ema_needs_the_weights():
    tx = optim.ema(0.9)
    with pytest.raises(ValueError, match="weights"):
        tx.update(ONES, tx.init(PARAMS))


def squares(w, x, y):
    return jnp.mean((x @ w["kernel"] - y) ** 2)


def test_accumulation_is_one_large_batch_and_averages_once_an_update():
    generator = np.random.default_rng(1)
    x, y = generator.normal(size=(12, 3)), generator.normal(size=12)
    start = {"kernel": jnp.asarray(generator.normal(size=3), jnp.float32)}

    def tx():
        rate = optim.learning_rate(optim.step(0.1, [1], factor=0.5))
        return optax.chain(optax.trace(0.9), rate, optim.ema(0.5))

    def train(tx, size):
        params, state = start, tx.init(start)
        for first in range(0, 12, size):
            grads = jax.grad(squares)(params, x[first : first + size], y[first : first + size])
            updates, state = tx.update(grads, state, params)
            params = optax.apply_updates(params, updates)
        return params["kernel"], state

    large, large_state = train(tx(), 6)
    small, small_state = train(optax.MultiSteps(tx(), every_k_schedule=3), 2)
    np.testing.assert_allclose(small, large, rtol=1e-5)
    for name in ("averaged_params", "learning_rate"):
        got, want = (optax.tree.get(s, name) for s in (small_state, large_state))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), got, want)
