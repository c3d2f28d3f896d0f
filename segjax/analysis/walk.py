"""Following supports through a traced function, its calls, branches and loops."""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import core

from segjax.analysis.rules import propagate, stack, words
from segjax.analysis.support import Parts, Value, everything, union
from segjax.ops import convolution

CALLS = words(
    "call checkpoint closed_call composite core_call custom_jvp_call custom_vjp_call "
    "custom_vjp_call_jaxpr jit pjit remat remat2"
)


def trace(function: Callable[..., Any], *arguments: Any) -> core.ClosedJaxpr:
    """The jaxpr of a function of arrays or shapes, with every convolution written as one.

    The formulations of `segjax.ops.convolution` compute the same; some multiply padding by zeros.
    """
    # A precision of its own keeps jax.jit from reusing what it traced outside, and the reverse.
    fast = convolution._fast
    convolution.use_fast(False)
    try:
        with jax.default_matmul_precision("float32"):
            return jax.make_jaxpr(function)(*arguments)
    finally:
        convolution.use_fast(fast)


def follow(closed: core.ClosedJaxpr, inputs: Sequence[Parts]) -> list[Parts]:
    """The supports of a traced function's outputs, given those of its inputs (flat, in order).

    Constants are evaluated where a support needs them: the indices of a gather, the zeros of a
    matrix or of a mask. Parameters count as nonzero. The result is exact along the followed axis,
    and the union over the other axes and over channels that a concatenation puts side by side.
    Raises `InputError` for an operation without a rule, if it depends on the image.
    """
    invars = closed.jaxpr.invars
    values = [Value(v.aval.shape, parts) for v, parts in zip(invars, inputs, strict=True)]
    return [value.parts for value in _walk(closed, values)]


def _walk(jaxpr: Any, inputs: Sequence[Value]) -> list[Value]:
    consts = ()
    if isinstance(jaxpr, core.ClosedJaxpr):
        jaxpr, consts = jaxpr.jaxpr, jaxpr.consts
    values = dict(zip(jaxpr.constvars, map(_constant, consts), strict=True))
    values.update(zip(jaxpr.invars, inputs, strict=True))

    def read(atom: Any) -> Value:
        return _constant(atom.val) if isinstance(atom, core.Literal) else values[atom]

    for eqn in jaxpr.eqns:
        outputs = _equation(eqn, [read(atom) for atom in eqn.invars])
        values.update(zip(eqn.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _constant(x: Any) -> Value:
    return Value(np.shape(x), (), lambda: np.asarray(x))


def _equation(eqn: Any, inputs: list[Value]) -> list[Value]:
    name, params = eqn.primitive.name, eqn.params
    if name in CALLS:
        inner = next(params[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr") if key in params)
        return _walk(inner, inputs)
    shapes = [v.aval.shape for v in eqn.outvars]
    if not any(value.parts for value in inputs) or any(0 in shape for shape in shapes):
        return _independent(eqn, inputs, shapes)
    if name in LOOPS:
        return LOOPS[name](params, inputs, shapes)
    return list(map(Value, shapes, propagate(name, params, inputs, shapes)))


def _independent(eqn: Any, inputs: list[Value], shapes: list[tuple[int, ...]]) -> list[Value]:
    """Constants in, constants out, evaluated when they are asked for; else parameters."""
    constants = [value.constant for value in inputs if value.constant is not None]
    if len(constants) < len(inputs):
        return list(map(Value, shapes))
    params = eqn.params

    @functools.cache
    def evaluate() -> list[Any]:
        if eqn.primitive.name == "broadcast_in_dim":  # a view, however large
            small = [1] * len(shapes[0])
            for axis, length in zip(params["broadcast_dimensions"], inputs[0].shape, strict=True):
                small[axis] = length
            return [np.broadcast_to(constants[0]().reshape(small), shapes[0])]
        found = eqn.primitive.bind(*(constant() for constant in constants), **params)
        return found if eqn.primitive.multiple_results else [found]

    return [
        Value(shape, (), lambda i=i: np.asarray(evaluate()[i])) for i, shape in enumerate(shapes)
    ]


def _cond(params: dict, inputs: list[Value], shapes: list[tuple[int, ...]]) -> list[Value]:
    """The union of the branches, and what the choice depends on."""
    index, *operands = inputs
    branches = params["branches"]
    if index.constant is not None:
        return _walk(branches[int(np.clip(index.constant(), 0, len(branches) - 1))], operands)
    found = [_walk(branch, operands) for branch in branches]
    return [_joined(values, index) for values in zip(*found, strict=True)]


def _joined(values: Sequence[Value], choice: Value) -> Value:
    shape = values[0].shape
    parts = [part for value in values for part in value.parts]
    return Value(shape, union([*parts, *everything(choice, len(shape))]))


def _scan(params: dict, inputs: list[Value], shapes: list[tuple[int, ...]]) -> list[Value]:
    """Step by step."""
    # What is scanned over has one dimension more outside the body; every version of jax has its own
    # names for the numbers.
    body = params["jaxpr"]
    outside = [value.shape for value in inputs]
    second = sum(map(operator.eq, outside, (aval.shape for aval in body.in_avals)))
    first = second - sum(map(operator.eq, shapes, (aval.shape for aval in body.out_avals)))
    consts, carry, xs = inputs[:first], inputs[first:second], inputs[second:]
    steps, length = {}, params["length"]
    for i in reversed(range(length)) if params["reverse"] else range(length):
        out = _walk(body, [*consts, *carry, *(_item(x, i) for x in xs)])
        carry, steps[i] = out[: len(carry)], out[len(carry) :]
    stacked = zip(*(steps[i] for i in range(length)), strict=True)
    return [*carry, *(Value((length, *ys[0].shape), stack(ys, 0)) for ys in stacked)]


def _item(x: Value, i: int) -> Value:
    parts = tuple(s[i] if s.shape[0] > 1 else s[0] for s in x.parts)
    constant = x.constant
    return Value(x.shape[1:], parts, None if constant is None else lambda: constant()[i])


def _while(params: dict, inputs: list[Value], shapes: list[tuple[int, ...]]) -> list[Value]:
    """As many steps as change a support: how many there will be is not known."""
    split = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    of_cond, of_body = inputs[: split[0]], inputs[split[0] : split[1]]
    carry = [value._replace(constant=None) for value in inputs[split[1] :]]
    while True:
        (more,) = _walk(params["cond_jaxpr"], [*of_cond, *carry])
        after = _walk(params["body_jaxpr"], [*of_body, *carry])
        joined = [_joined(values, more) for values in zip(carry, after, strict=True)]
        if all(map(_same, joined, carry)):
            return joined
        carry = joined


def _same(a: Value, b: Value) -> bool:
    return len(a.parts) == len(b.parts) and all(map(np.array_equal, a.parts, b.parts))


LOOPS = {"cond": _cond, "scan": _scan, "while": _while}
