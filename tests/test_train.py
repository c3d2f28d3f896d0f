"""The loop: exact restarts, NaN losses, signals, and one meaning on any number of devices."""

import os
import signal
from functools import partial

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from segjax import optim, parallel, train
from segjax.checkpoint import Checkpoints
from segjax.core import Experiment, Stream, Task, TrainState
from segjax.errors import InputError
from segjax.metrics.confusion import confusion
from segjax.models.unet import UNet
from segjax.nn.layers import BatchNorm
from segjax.tasks.semantic import semantic


class Report:
    """Keeps what it is told."""

    def __init__(self):
        self.losses, self.sentences, self.splits, self.waits = {}, [], [], []

    def step(self, step, scalars, images, waited):
        self.losses[step] = scalars["loss"]
        self.waits.append(waited)

    def begin(self):
        assert not self.losses

    def evaluated(self, step, split, figures):
        self.splits.append((step, split, figures))

    def panels(self, step, split, panels):
        assert all(x.dtype == np.uint8 for x in panels.values())

    def say(self, sentence):
        self.sentences.append(sentence)


def batch_at(step: int, poison: int | None = None) -> dict:
    x = np.random.default_rng(step).normal(size=(8, 3)).astype(np.float32)
    if step == poison:
        x[2, 1] = np.nan
    return {"x": x, "y": x.sum(-1), "valid": np.ones(8, bool)}


def linear_task() -> Task:
    """A noisy linear fit whose model state counts its steps."""

    def loss(params, model_state, batch, key):
        noise = 0.1 * jax.random.normal(key, batch["y"].shape)
        error = batch["x"] @ params["w"] - batch["y"] + noise
        return jnp.mean(error**2), ({"count": model_state["count"] + 1}, {})

    return Task(
        preprocess=lambda record, generator, train: record,
        init=lambda key, batch: {"params": {"w": jnp.zeros(3)}, "count": jnp.zeros((), jnp.int32)},
        loss=loss,
        predict=lambda variables, batch: {"y": batch["x"] @ variables["params"]["w"]},
        stats=lambda preds, batch: jnp.sum((preds["y"] - batch["y"]) ** 2),
        summarise=lambda evidence: {"error": float(np.sum(list(evidence)))},
        visualise=lambda preds, batch: {"x": np.zeros((8, 2, 2, 3), np.uint8)},
    )


def experiment(poison: int | None = None, tx=None) -> Experiment:
    def batches(start):
        step = start
        while True:
            yield batch_at(step, poison)
            step += 1

    tx = tx or optax.chain(optax.scale_by_adam(), optim.learning_rate(0.05), optim.ema(0.9))
    return Experiment(linear_task(), tx, batches, {"val": lambda: [batch_at(1000), batch_at(1001)]})


def fit(folder, steps, exp=None, **options):
    report = Report()
    checkpoints = Checkpoints(folder, "-error", say=report.say)
    options = {"eval_every": 5, **options}
    try:
        outcome = train.fit(
            exp or experiment(), parallel.data_mesh(1), checkpoints, report, steps=steps, **options
        )
    finally:
        checkpoints.close()
    return outcome, report


def same(a, b) -> bool:
    data = partial(jax.tree.map, lambda x: x if x.dtype != a.rng.dtype else jax.random.key_data(x))
    equal = jax.tree.map(lambda x, y: bool(jnp.array_equal(x, y)), data(a), data(b))
    return jax.tree.all(equal)


def test_it_learns_and_reports_every_step(tmp_path):
    outcome, report = fit(tmp_path, 100, eval_every=50)
    np.testing.assert_allclose(outcome.state.params["w"], 1.0, atol=0.15)
    assert list(report.losses) == list(range(1, 101))
    assert int(outcome.state.model_state["count"]) == 100
    assert [(step, split) for step, split, _ in report.splits] == [(50, "val"), (100, "val")]


def test_evaluation_uses_the_averaged_weights(tmp_path):
    outcome, report = fit(tmp_path, 10)
    state = outcome.state
    average = jnp.zeros(3)
    assert not jnp.array_equal(state.eval_variables["params"]["w"], state.params["w"])
    assert not jnp.array_equal(state.eval_variables["params"]["w"], average)
    w = np.asarray(state.eval_variables["params"]["w"])
    by_hand = sum(np.sum((b["x"] @ w - b["y"]) ** 2) for b in (batch_at(1000), batch_at(1001)))
    assert report.splits[-1][2]["error"] == pytest.approx(by_hand, rel=1e-5)


def test_a_resumed_run_is_bit_for_bit_the_uninterrupted_one(tmp_path):
    straight, _ = fit(tmp_path / "straight", 20)
    fit(tmp_path / "parts", 10)
    resumed, report = fit(tmp_path / "parts", 20)
    assert list(report.losses) == list(range(11, 21))
    assert same(straight.state, resumed.state)


def test_a_finished_run_evaluates_again_and_stays(tmp_path):
    first, _ = fit(tmp_path, 5)
    again, report = fit(tmp_path, 5)
    assert same(first.state, again.state)
    assert not report.losses
    assert report.splits


def test_a_nan_stops_with_the_state_before_it_saved(tmp_path):
    with pytest.raises(train.NonFiniteLossError, match=r"step 7 .*loss=nan"):
        fit(tmp_path, 20, experiment(poison=6))
    clean, _ = fit(tmp_path / "clean", 6, eval_every=5)
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.latest_step() == 6
    like = train.abstract_state(experiment(), batch_at(0), parallel.data_mesh(1))
    assert same(checkpoints.restore(like), clean.state)


def test_the_rate_of_a_step_that_failed_is_said(tmp_path):
    tx = optim.learning_rate(lambda count: 1e30 + 0 * count)
    with pytest.raises(train.NonFiniteLossError, match=r"step 1 .*learning_rate=1e\+30"):
        fit(tmp_path, 20, experiment(tx=tx))


def test_a_nan_may_be_skipped(tmp_path):
    outcome, report = fit(tmp_path, 20, experiment(poison=6), nonfinite="skip")
    assert 7 not in report.losses
    assert any("step 7" in s for s in report.sentences)
    assert int(outcome.state.step) == 20
    assert int(outcome.state.model_state["count"]) == 19
    assert np.isfinite(outcome.state.params["w"]).all()


@pytest.mark.parametrize(
    "tx",
    [
        optax.chain(optax.add_decayed_weights(np.nan), optax.sgd(0.1)),
        optax.sgd(np.inf),
        optax.sgd(1e30),
        optax.adam(1e30),
    ],
)
def test_weights_that_would_not_be_finite_are_never_saved(tmp_path, tx):
    exp = experiment(tx=tx)
    with pytest.raises(train.NonFiniteLossError, match=r"not finite at step 1 .*weight_norm="):
        fit(tmp_path, 20, exp)
    like = train.abstract_state(exp, batch_at(0), parallel.data_mesh(1))
    saved = Checkpoints(tmp_path).restore(like)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((saved.params, saved.opt_state)))
    # what the sentence advises does not end well either, since no update can be made
    with pytest.raises(train.NonFiniteLossError, match="step 20 "):
        fit(tmp_path, 100, exp, nonfinite="skip")


def test_a_gradient_that_overflows_its_statistics_is_not_applied(tmp_path):
    def loss(*arguments):
        value, (model_state, scalars) = linear_task().loss(*arguments)
        return value, ({**model_state, "mean": jnp.float32(jnp.inf)}, scalars)

    def init(*arguments):
        return {**linear_task().init(*arguments), "mean": jnp.float32(0)}

    exp = experiment()
    with pytest.raises(train.NonFiniteLossError, match="step 1 "):
        fit(tmp_path, 5, exp._replace(task=exp.task._replace(loss=loss, init=init)))


def test_what_nonfinite_may_be(tmp_path):
    with pytest.raises(InputError, match="'stop' or 'skip', not 'ignore'"):
        fit(tmp_path, 1, nonfinite="ignore")


def test_an_error_of_the_data_or_of_the_evaluation_costs_no_step(tmp_path):
    exp = experiment()

    def failing(start):
        yield from (batch for _, batch in zip(range(7), exp.train(start), strict=False))
        raise RuntimeError("the disk of the data is gone")

    with pytest.raises(RuntimeError, match="the disk of the data is gone"):
        fit(tmp_path / "data", 50, exp._replace(train=failing), eval_every=100)
    assert Checkpoints(tmp_path / "data").latest_step() == 7

    def too_large():
        raise InputError("The image x is larger than the evaluation size.")

    with pytest.raises(InputError, match="The image x"):
        fit(tmp_path / "val", 50, exp._replace(evals={"val": too_large}), eval_every=9)
    assert Checkpoints(tmp_path / "val").latest_step() == 9
    fit(tmp_path / "val", 9)  # evaluates again and says which step is the best
    assert Checkpoints(tmp_path / "val", "-error").best_step() == 9


@pytest.mark.parametrize(
    ("tx", "names"),
    [
        (optax.inject_hyperparams(optax.sgd)(optax.constant_schedule(1e-3)), {"learning_rate"}),
        (
            optax.partition(
                {
                    "slow": optax.chain(optax.scale_by_adam(), optim.learning_rate(1e-3)),
                    "fast": optax.inject_hyperparams(optax.sgd)(optax.constant_schedule(1e-2)),
                },
                {"w": "slow", "b": "fast"},
            ),
            {"learning_rate/slow", "learning_rate/fast"},
        ),
        (
            optax.chain(optim.learning_rate(1e-3), optim.learning_rate(1e-2)),
            {"learning_rate/0", "learning_rate/1"},
        ),
        (optax.sgd(0.1), set()),
    ],
)
def test_the_rates_that_an_optimiser_keeps_are_reported(tx, names):
    params = {"w": jnp.ones(3), "b": jnp.ones(2)}
    _, state = tx.update(params, tx.init(params), params)
    rates = train.learning_rates(state)
    assert rates.keys() == names
    expected = {"slow": 1e-3, "fast": 1e-2, "0": 1e-3, "1": 1e-2, "learning_rate": 1e-3}
    for name, rate in rates.items():
        assert rate == pytest.approx(expected[name.rpartition("/")[2]])


def test_two_averages_are_refused(tmp_path):
    with pytest.raises(InputError, match="keeps 2 averages .* leave one optim.ema"):
        fit(tmp_path, 1, experiment(tx=optax.chain(optax.sgd(0.1), optim.ema(0.9), optim.ema(0.5))))


class Normalised(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        return BatchNorm(name="norm")(nn.Dense(1, use_bias=False, name="dense")(x), train=train)


@pytest.mark.parametrize("decay", [0.9, 0.99, 0.999])
def test_averaged_weights_meet_averaged_statistics(decay):
    # The weights grow by a tenth a step; the normalised output's deviation is 1 with its own
    # statistics, and 0.59 where averaged weights (0.99) met those of the newest ones.
    model = Normalised()

    def loss(params, model_state, batch, key):
        variables = {"params": params, **model_state}
        _, new = model.apply(variables, batch["x"], train=True, mutable=["batch_stats"])
        return -jnp.sum(params["dense"]["kernel"]), (new, {})

    def init(key, batch):
        return model.init(key, batch["x"], train=False)

    tx = optax.chain(optax.sgd(0.1), optim.ema(decay))
    task = linear_task()._replace(loss=loss, init=init)
    exp = Experiment(task, tx, iter, {})
    batch = {"x": np.random.default_rng(0).normal(size=(512, 3)).astype(np.float32)}
    state = train.init_state(exp, batch, jax.random.key(0))
    step = jax.jit(partial(train.train_step, exp, False))
    for i in range(200):
        state, _ = step(state, batch, np.int32(i))
    out = model.apply(state.eval_variables, batch["x"], train=False)
    averaged = state.eval_variables["params"]["dense"]["kernel"]
    assert averaged.mean() < 0.99 * state.params["dense"]["kernel"].mean()
    assert out.std() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_run_with_a_checkpoint(tmp_path, number):
    exp = experiment()

    def interrupted(start):
        for i, batch in enumerate(exp.train(start)):
            if i == 3:
                os.kill(os.getpid(), number)
            yield batch

    before = signal.getsignal(number)
    outcome, _ = fit(tmp_path, 50, exp._replace(train=interrupted), eval_every=100)
    assert outcome.signal == number
    step = int(outcome.state.step)
    assert 3 <= step <= 5
    assert signal.getsignal(number) is before
    assert Checkpoints(tmp_path).latest_step() == step
    resumed, _ = fit(tmp_path, 50, eval_every=100)
    straight, _ = fit(tmp_path / "straight", 50, eval_every=100)
    assert same(resumed.state, straight.state)


def test_save_every_saves_between_evaluations(tmp_path):
    fit(tmp_path, 7, eval_every=100, save_every=3)
    assert Checkpoints(tmp_path).manager.all_steps() == [6, 7]


class Smooth(nn.Module):
    """A ReLU would turn rounding into more: a unit near its zero is on here and off there."""

    @nn.compact
    def __call__(self, x, *, train):
        x = BatchNorm(name="norm")(nn.Conv(4, (3, 3))(x), train=train)
        x = nn.Dropout(0.3, deterministic=not train)(jnp.tanh(x))
        return {"logits": nn.Conv(2, (3, 3))(x)}

    def input_size(self, output):
        return output

    def output_size(self, size):
        return size


def unet_experiment() -> Experiment:
    return small_experiment(UNet(2, width=4, depth=1, padding="same", norm=BatchNorm, dropout=0.3))


def small_experiment(model) -> Experiment:
    task = semantic(model, 2, metrics=[confusion(2)], size=(8, 12))
    generator = np.random.default_rng(3)
    image = generator.random((8, 8, 12, 1), np.float32)
    label = (image[..., 0] > 0.5).astype(np.int32)
    mask = generator.random((8, 8, 12)) > 0.2
    batch = {"image": image, "label": label, "mask": mask, "valid": np.ones(8, bool)}

    def batches(start):
        while True:
            yield batch

    # Plain SGD: Adam would hide a gradient that is too large by the number of devices.
    return Experiment(task, optax.sgd(0.5), batches, {"val": lambda: [batch]})


def run_steps(devices: int, steps: int = 10) -> tuple[TrainState, list[float]]:
    exp, mesh = small_experiment(Smooth()), parallel.data_mesh(devices)
    batch = next(exp.train(0))
    state = parallel.replicate(train.init_state(exp, batch, jax.random.key(0)), mesh)
    step_fn, losses = train.jit_train_step(exp, mesh), []
    for i in range(steps):
        state, scalars = step_fn(state, parallel.shard_batch(batch, mesh), np.int32(i))
        losses.append(float(scalars["loss"]))
    return jax.device_get(state), losses


def test_one_and_eight_devices_agree():
    (one, losses1), (eight, losses8) = run_steps(1), run_steps(8)
    assert losses1[-1] < 0.9 * losses1[0]
    np.testing.assert_allclose(losses1, losses8, rtol=1e-5)
    close = partial(np.testing.assert_allclose, rtol=0, atol=1e-5)
    jax.tree.map(close, one.params, eight.params)
    jax.tree.map(close, one.model_state, eight.model_state)  # batch statistics are global


def test_evaluation_shards_too():
    exp = unet_experiment()
    batch = next(exp.train(0))
    figures = []
    for devices in (1, 8):
        mesh = parallel.data_mesh(devices)
        state = parallel.replicate(train.init_state(exp, batch, jax.random.key(0)), mesh)
        eval_step = train.jit_eval_step(exp.task, mesh)
        result, panels = train.evaluate(exp.task, eval_step, state.eval_variables, [batch], mesh)
        figures.append(result)
        assert panels["prediction"].shape == (8, 8, 12, 3)
    assert figures[0] == pytest.approx(figures[1])


def test_padded_examples_change_no_figure():
    exp, mesh = unet_experiment(), parallel.data_mesh(1)
    batch = next(exp.train(0))
    state = train.init_state(exp, batch, jax.random.key(0))
    eval_step = train.jit_eval_step(exp.task, mesh)
    three = {name: x[:3] for name, x in batch.items()}
    padded = {name: x.copy() for name, x in batch.items()}
    padded["valid"][3:] = False
    padded["image"][3:] = np.nan
    a, _ = train.evaluate(exp.task, eval_step, state.eval_variables, [three], mesh)
    b, _ = train.evaluate(exp.task, eval_step, state.eval_variables, [padded], mesh)
    assert a == pytest.approx(b)


def test_a_batch_that_does_not_divide_names_both_numbers():
    mesh = parallel.data_mesh(8)
    with pytest.raises(InputError, match="batch of 12 examples does not divide over 8 devices"):
        parallel.shard_batch({"x": np.zeros((12, 3))}, mesh)


def test_a_model_that_no_device_can_hold_is_refused_before_it_is_made(tmp_path):
    def init(key, batch):
        return {"params": {"w": jnp.zeros((1 << 20, 1 << 20))}, "count": jnp.int32(0)}

    exp = experiment(tx=optax.adam(0.1))
    words = r"has 1,099,511,627,776 parameters; .* need 16,384.0 GiB on every device, and one has"
    with pytest.raises(InputError, match=words):
        fit(tmp_path, 1, exp._replace(task=exp.task._replace(init=init)))


def test_a_sweep_over_seeds_and_rates_is_one_vmapped_step():
    """Four states at once are what each is alone; and one compiled step serves them all."""
    exp = small_experiment(Smooth())._replace(tx=optim.learning_rate(0.2))
    batch, states = next(exp.train(0)), []
    for seed, factor in ((0, 1.0), (0, 0.1), (1, 1.0), (1, 3.0)):
        state = train.init_state(exp, batch, jax.random.key(seed))
        opt_state = optax.tree.set(state.opt_state, learning_rate_factor=jnp.float32(factor))
        states.append(state.replace(opt_state=opt_state))

    def step(state, batch, turn):
        return train.train_step(exp, False, state, batch, turn)

    one = jax.jit(chex.assert_max_traces(step, n=1))
    many = jax.jit(jax.vmap(step, in_axes=(0, None, None)))
    together = jax.tree.map(lambda *x: jnp.stack(x), *states)
    for i in range(4):
        alone = [one(state, batch, np.int32(i)) for state in states]
        states = [state for state, _ in alone]
        together, scalars = many(together, batch, np.int32(i))
        assert scalars["loss"].shape == (4,)
        losses = [x["loss"] for _, x in alone]
        # The sums of a batched convolution are taken in another order.
        np.testing.assert_allclose(scalars["loss"], losses, rtol=1e-6)
    assert len({*map(float, losses)}) == 4
    np.testing.assert_allclose(scalars["learning_rate"], [0.2, 0.02, 0.2, 0.6], rtol=1e-6)
    close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *[state.params for state in states])
    jax.tree.map(close, together.params, stacked)


def test_the_state_may_be_sharded():
    """Half of each kernel on each of two devices: the same losses."""
    exp, mesh = small_experiment(Smooth()), parallel.data_mesh(2)
    batch = next(exp.train(0))
    losses = []
    whole = parallel.replicated(mesh)
    for split in (False, True):
        state = train.init_state(exp, batch, jax.random.key(0))

        def place(x, split=split):
            return parallel.sharded(mesh) if split and x.ndim and x.shape[0] % 2 == 0 else whole

        shardings = jax.tree.map(place, state).replace(rng=whole)
        assert (parallel.sharded(mesh) in jax.tree.leaves(shardings)) == split
        state = jax.device_put(state, shardings)
        step = train.jit_train_step(exp, mesh, state_sharding=shardings)
        for i in range(3):
            state, scalars = step(state, parallel.shard_batch(batch, mesh), np.int32(i))
        losses.append(float(scalars["loss"]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_a_stream_is_scanned_and_stepped_alike():
    """A running mean of what is seen of each frame."""

    def step(variables, carry, frame):
        seen = variables["params"]["gain"] * frame
        mean = 0.5 * carry + 0.5 * seen
        return mean, {"prob": jax.nn.sigmoid(mean)}

    stream = Stream(lambda variables, frame: jnp.zeros_like(frame), step)
    variables = {"params": {"gain": jnp.float32(2.0)}}
    frames = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3, 4)), jnp.float32)
    start = stream.start(variables, frames[0])
    _, scanned = jax.lax.scan(partial(stream.step, variables), start, frames)
    carry = start
    for frame, expected in zip(frames, scanned["prob"], strict=True):
        carry, preds = stream.step(variables, carry, frame)
        np.testing.assert_allclose(preds["prob"], expected, rtol=1e-6)
