"""Schedules, masks by path, per-group rates and averaged weights, as optax transformations.

Anything else (Adam, momentum, clipping, accumulation) is optax itself:

    tx = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.scale_by_adam(),
        optim.decay_weights(1e-4),
        optim.scale_by_path({"backbone/": 0.1}),
        optim.learning_rate(optim.with_warmup(optim.poly(1e-3, steps=40_000), 1_000)),
        optim.ema(0.999),
    )

Paths are the names of a parameter joined by '/', such as 'down0/conv1/kernel'; patterns are regular
expressions searched in them.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from segjax.errors import InputError

NO_DECAY = ("bias$", "scale$")
"""Biases and the gains of normalisation layers: commonly left out of weight decay."""


def poly(peak: float, steps: int, power: float = 0.9) -> optax.Schedule:
    """peak * (1 - step / steps) ** power, as DeepLab and PSPNet train."""
    return optax.polynomial_schedule(_rate(peak), 0.0, power, steps)


def cosine(peak: float, steps: int, final: float = 0.0) -> optax.Schedule:
    """Half a cosine from `peak` to `final` (Loshchilov and Hutter 2017, eq. 5 without restarts)."""
    _rate(peak)

    def schedule(count: Any) -> jax.Array:
        progress = jnp.minimum(count / steps, 1.0)
        return final + 0.5 * (peak - final) * (1 + jnp.cos(jnp.pi * progress))

    return schedule


def step(peak: float, boundaries: Sequence[int], factor: float = 0.1) -> optax.Schedule:
    """`peak`, multiplied by `factor` at each of the boundaries."""
    return optax.piecewise_constant_schedule(_rate(peak), dict.fromkeys(boundaries, factor))


def with_warmup(schedule: optax.Schedule, steps: int) -> optax.Schedule:
    """The schedule times a factor that rises linearly from 1 / steps to 1 over the first steps."""
    return lambda count: schedule(count) * jnp.minimum((count + 1) / max(steps, 1), 1.0)


def _rate(rate: Any, name: str = "learning_rate") -> Any:
    if not 0 <= rate < math.inf:  # nor NaN
        raise InputError(f"The {name} must be at least 0 and finite, not {rate}.")
    return rate


class LearningRateState(NamedTuple):
    count: jax.Array
    learning_rate: jax.Array  # of the update just made: what the loop reports
    learning_rate_factor: jax.Array  # times the schedule; 1 unless a sweep sets it


def learning_rate(schedule: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """Multiply by -schedule(count), as `optax.scale_by_learning_rate`, and keep the rate to log.

    A sweep gives each of its states another rate, with one compiled step for all:
    `optax.tree.set(state, learning_rate_factor=...)`.
    """
    rate_at = schedule if callable(schedule) else optax.constant_schedule(_rate(schedule))

    def init(params: Any) -> LearningRateState:
        del params
        zero = jnp.zeros((), jnp.float32)
        return LearningRateState(jnp.zeros((), jnp.int32), zero, jnp.ones((), jnp.float32))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, LearningRateState]:
        del params
        rate = state.learning_rate_factor * jnp.asarray(rate_at(state.count), jnp.float32)
        updates = jax.tree.map(lambda u: (-rate * u).astype(u.dtype), updates)
        count = jnp.asarray(optax.safe_increment(state.count))
        return updates, state._replace(count=count, learning_rate=rate)

    return optax.GradientTransformation(init, update)


def paths(params: Any) -> Any:
    """The tree of the parameters' paths."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: jax.tree_util.keystr(path, simple=True, separator="/"), params
    )


def matches(patterns: Sequence[str]) -> Any:
    """params -> tree of bool: whether any of the patterns is found in a parameter's path.

    Raises `InputError` for a pattern that is found in no path, since it would do nothing.
    """

    def mask(params: Any) -> Any:
        names = paths(params)
        for pattern in patterns:
            try:
                found = any(re.search(pattern, name) for name in jax.tree.leaves(names))
            except re.error as error:
                raise InputError(f"{pattern!r} is no regular expression: {error}.") from error
            if not found:
                raise InputError(
                    f"The pattern {pattern!r} matches no parameter; the paths are like "
                    f"{', '.join(jax.tree.leaves(names)[:3])}."
                )
        return jax.tree.map(lambda name: any(re.search(p, name) for p in patterns), names)

    return mask


def decay_weights(rate: float, exclude: Sequence[str] = NO_DECAY) -> optax.GradientTransformation:
    """Add rate * weight to the update of every parameter whose path matches no `exclude`.

    After `optax.scale_by_adam` it is the decoupled decay of AdamW; before momentum it is L2.
    """

    _rate(rate, "weight_decay")

    def mask(params: Any) -> Any:
        keep_out = [re.compile(pattern) for pattern in exclude]
        return jax.tree.map(lambda name: not any(p.search(name) for p in keep_out), paths(params))

    return optax.add_decayed_weights(rate, mask)


def scale_by_path(factors: Mapping[str, float]) -> optax.GradientTransformation:
    """Multiply the update of each parameter by the factor of every pattern found in its path.

    A factor of 0 freezes a parameter only if nothing that follows, such as weight decay, adds to
    its update: put this after those, before `learning_rate`.
    """
    parts = [optax.masked(optax.scale(factor), matches([p])) for p, factor in factors.items()]
    return optax.chain(*parts)


def freeze(tx: optax.GradientTransformation, patterns: Sequence[str]) -> Any:
    """`tx` for all but the parameters whose path matches; those never change and have no state."""
    frozen = matches(patterns)

    def labels(params: Any) -> Any:
        return jax.tree.map(lambda hit: "frozen" if hit else "trained", frozen(params))

    return optax.partition({"trained": tx, "frozen": optax.set_to_zero()}, labels)


def adamw(
    rate: optax.ScalarOrSchedule, decay: float = 1e-4, clip: float = 1.0
) -> optax.GradientTransformation:
    """AdamW (Loshchilov and Hutter 2019) after clipping the gradient norm; biases do not decay."""
    return optax.chain(
        optax.clip_by_global_norm(clip),
        optax.scale_by_adam(),
        decay_weights(decay),
        learning_rate(rate),
    )


class EmaState(NamedTuple):
    averaged_params: Any  # `TrainState.eval_variables` looks for these two names
    averaged_model_state: Any  # `TrainState.create` fills it in
    averaged_updates: jax.Array  # how many, int32 []


def ema(decay: float) -> optax.GradientTransformationExtraArgs:
    """Keep an exponential moving average of the weights for evaluation; put it last in the chain.

    average <- d * average + (1 - d) * weights after the update, where d rises with the number t of
    updates to `decay`: min(decay, (1 + t) / (10 + t)), so that the initial weights are forgotten in
    short runs too (Polyak and Juditsky 1992; d as in TensorFlow's ExponentialMovingAverage). The
    statistics of norms, `update(..., model_state=...)`, are averaged likewise: those of the newest
    weights do not belong to the averaged ones. Inside `optax.MultiSteps` it moves once per
    accumulated update, not once per batch. It belongs outside of `freeze`, whose inner
    transformation does not see the frozen weights:
    `optax.chain(optim.freeze(tx, ...), optim.ema(0.999))`. Raises InputError unless 0 <= decay < 1.
    """
    if not 0 <= decay < 1:
        raise InputError(f"The decay of optim.ema must be from 0 to below 1, not {decay}.")

    def init(params: Any) -> EmaState:
        return EmaState(jax.tree.map(jnp.array, params), {}, jnp.zeros((), jnp.int32))

    def update(
        updates: Any, state: Any, params: Any = None, *, model_state: Any = None, **_: Any
    ) -> tuple[Any, EmaState]:
        if params is None:
            raise ValueError("optim.ema averages the weights: pass them to update().")
        chex.assert_trees_all_equal_structs(state.averaged_params, params)
        t = state.averaged_updates
        step = 1 - jnp.minimum(decay, (1 + t) / (10 + t))

        def averaged(new: jax.Array, old: jax.Array) -> jax.Array:
            if not jnp.issubdtype(new.dtype, jnp.inexact):
                return new  # a count
            return (step * new + (1 - step) * old).astype(old.dtype)

        weights = jax.tree.map(averaged, optax.apply_updates(params, updates), state[0])
        if model_state is not None:
            model_state = jax.tree.map(averaged, model_state, state.averaged_model_state)
        else:
            model_state = state.averaged_model_state
        return updates, EmaState(weights, model_state, t + 1)

    return optax.GradientTransformationExtraArgs(init, update)
