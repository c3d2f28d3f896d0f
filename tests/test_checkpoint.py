"""Checkpoints: exact, kept by merit, and never trusted when damaged."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from segjax import optim
from segjax.checkpoint import Checkpoints
from segjax.core import TrainState
from segjax.errors import InputError, chain_of

TX = optax.chain(optax.scale_by_adam(), optim.ema(0.9))


def state_at(step: int, width: int = 300) -> TrainState:
    a = jax.random.normal(jax.random.key(step), (50, width))
    variables = {"params": {"a": a, "b": {"c": jnp.ones(3)}}, "batch_stats": {"m": jnp.ones(2)}}
    state = TrainState.create(variables, TX, jax.random.key(7))
    return state.replace(step=jnp.int32(step))


def like(width: int = 300):
    shapes = jax.eval_shape(lambda: state_at(0, width))
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes)


def assert_same(a: TrainState, b: TrainState):
    assert jnp.array_equal(jax.random.key_data(a.rng), jax.random.key_data(b.rng))
    a, b = a.replace(rng=0), b.replace(rng=0)
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def saved(folder, figures) -> Checkpoints:
    checkpoints = Checkpoints(folder, "miou")
    for step, value in figures.items():
        checkpoints.save(state_at(step))
        if value is not None:
            checkpoints.record(step, {"miou": value})
    checkpoints.close()
    return Checkpoints(folder, "miou")


def damage(folder, step: int, how: str):
    files = [f for f in (folder / str(step) / "state").rglob("*") if f.is_file()]
    largest = max(files, key=lambda f: f.stat().st_size)
    data = bytearray(largest.read_bytes())
    if how == "flipped bit":
        data[len(data) // 2] ^= 1
        largest.write_bytes(data)
    elif how == "cut off":
        largest.write_bytes(data[: len(data) // 2])
    else:
        largest.unlink()


def test_a_state_comes_back_bit_for_bit(tmp_path):
    checkpoints = saved(tmp_path, {3: 0.5})
    assert_same(checkpoints.restore(like()), state_at(3))


def test_the_last_two_and_the_best_are_kept(tmp_path):
    figures = {10: 0.5, 20: 0.9, 25: None, 30: 0.3, 40: float("nan"), 45: None}
    checkpoints = saved(tmp_path, figures)
    assert checkpoints.manager.all_steps() == [20, 40, 45]
    assert (checkpoints.best_step(), checkpoints.latest_step()) == (20, 45)


def test_lower_may_be_better(tmp_path):
    checkpoints = Checkpoints(tmp_path, "-error")
    for step, error in ((1, 0.5), (2, 0.1), (3, 0.9), (4, 0.8)):
        checkpoints.save(state_at(step))
        checkpoints.record(step, {"error": error})
    assert checkpoints.best_step() == 2
    checkpoints.close()


def test_a_figure_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(InputError, match="config.best is 'miou', but the evaluation has only dice"):
        Checkpoints(tmp_path, "miou").record(1, {"dice": 0.5})


@pytest.mark.parametrize("how", ["flipped bit", "cut off", "missing"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_used(tmp_path, how):
    saved(tmp_path / "c", {1: 0.5, 2: 0.6})
    damage(tmp_path / "c", 2, how)
    said = []
    checkpoints = Checkpoints(tmp_path / "c", "miou", say=said.append)
    assert_same(checkpoints.restore(like()), state_at(1))
    assert len(said) == 1
    assert f"{tmp_path}/c/2 is damaged" in said[0]
    # The step is reached again: the damaged files make place, and nothing is deleted.
    checkpoints.save(state_at(2))
    checkpoints.close()
    assert (tmp_path / "damaged" / "2" / "state").is_dir()
    assert_same(Checkpoints(tmp_path / "c").restore(like()), state_at(2))


def test_no_whole_checkpoint_is_an_error_that_names_the_folder(tmp_path):
    saved(tmp_path, {1: 0.5})
    damage(tmp_path, 1, "missing")
    with pytest.raises(InputError, match=f"No checkpoint in {tmp_path} is whole"):
        Checkpoints(tmp_path, say=lambda s: None).restore(like())


def test_an_unfinished_checkpoint_is_not_seen(tmp_path):
    saved(tmp_path, {1: 0.5, 2: 0.6})
    # What a process killed while writing leaves: the folder without its final name.
    shutil.move(tmp_path / "2", tmp_path / "2.orbax-checkpoint-tmp")
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.manager.all_steps() == [1]
    assert_same(checkpoints.restore(like()), state_at(1))


def test_a_checkpoint_that_another_process_is_writing_is_left_alone(tmp_path):
    saved(tmp_path / "c", {1: 0.5})
    half = tmp_path / "c" / "2.orbax-checkpoint-tmp" / "metrics" / "metrics"
    half.parent.mkdir(parents=True)
    half.write_text('{"mi')
    assert Checkpoints(tmp_path / "c").manager.all_steps() == [1]
    assert not (tmp_path / "damaged").exists()


def test_another_model_is_told_by_its_first_differences(tmp_path):
    checkpoints = saved(tmp_path, {1: 0.5})
    with pytest.raises(
        InputError, match=r"another model .*params/a is \(50, 300\) there and \(50, 301\) here"
    ):
        checkpoints.restore(like(301))


def test_variables_for_prediction_are_the_averaged_ones(tmp_path):
    state = state_at(4)
    updates, opt_state = TX.update(state.params, state.opt_state, state.params)
    state = state.replace(opt_state=opt_state, params=optax.apply_updates(state.params, updates))
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state)
    checkpoints.close()
    step, variables = Checkpoints(tmp_path).restore_variables(4)
    assert step == 4
    jax.tree.map(np.testing.assert_array_equal, variables, state.eval_variables)


def test_a_damaged_checkpoint_does_not_predict(tmp_path):
    saved(tmp_path, {4: 0.5})
    damage(tmp_path, 4, "flipped bit")
    with pytest.raises(InputError, match="4 is damaged"):
        Checkpoints(tmp_path).restore_variables(4)


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    checkpoints = saved(tmp_path, {1: 0.5})

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints.manager, "save", full)
    with pytest.raises(InputError, match="step 2 .*disk of .* is full. Free some space"):
        checkpoints.save(state_at(2))


def test_chain_of_errors():
    outer = ValueError("outer")
    outer.__cause__ = OSError("inner")
    assert [str(e) for e in chain_of(outer)] == ["outer", "inner"]
