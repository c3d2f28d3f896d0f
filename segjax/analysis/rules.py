"""How each operation of a traced function carries supports from its inputs to its outputs.

A rule takes the operation's parameters, its inputs and the shapes of its outputs, and returns the
parts of every output. `indexing` has the rules of gathers, scatters and matrix products.
"""

from collections.abc import Callable, Sequence

import numpy as np

from segjax.analysis import indexing
from segjax.analysis.support import (
    Parts,
    Value,
    anywhere,
    compress,
    everything,
    keep,
    union,
    window,
)
from segjax.errors import InputError

Rule = Callable[[dict, list[Value], list[tuple[int, ...]]], list[Parts]]


def propagate(name: str, params: dict, inputs: list[Value], shapes: list) -> list[Parts]:
    """The supports of the outputs of the operation `name`; `InputError` where it has no rule."""
    if name in ELEMENTWISE:
        found = [_elementwise(name, inputs)] * len(shapes)
    elif name in RULES:
        found = RULES[name](params, inputs, shapes)
    else:
        raise InputError(
            f"The receptive field cannot be followed through the operation '{name}': write the "
            "function without it, or add its rule to segjax/dependence/rules.py."
        )
    return [union(parts) for parts in found]


def _each(rule: Callable[..., np.ndarray]) -> Rule:
    """The rule of an operation of one operand, given as a function of one part."""

    def apply(params, inputs, shapes):
        x = inputs[0]
        return [tuple(rule(s, params, x.shape, out) for s in x.parts) for out in shapes]

    return apply


def _elementwise(name: str, inputs: list[Value]) -> Parts:
    ndim = max(len(x.shape) for x in inputs)
    masks: list[np.ndarray | None] = [None] * len(inputs)
    if name == "mul":  # what a constant sets to zero depends on nothing
        for i, other in enumerate(reversed(inputs)):
            if other.constant is not None:
                masks[i] = other.constant() != 0
    elif name == "select_n" and inputs[0].constant is not None:
        chosen = inputs[0].constant()
        masks = [None, *(chosen == i for i in range(len(inputs) - 1))]
    parts = []
    for x, mask in zip(inputs, masks, strict=True):
        own = x.parts if len(x.shape) == ndim else everything(x, ndim)
        parts += own if mask is None else [keep(mask, s) for s in own]
    return tuple(parts)


def _conv(params, inputs, shapes):
    x, kernel = inputs
    numbers, groups, ndim = params["dimension_numbers"], params["feature_group_count"], len(x.shape)
    if params["batch_group_count"] != 1:
        raise InputError("The receptive field cannot be followed through a batch_group_count.")
    lhs, rhs, out = numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec
    nonzero = None if kernel.constant is None else kernel.constant() != 0
    parts = []
    for s in x.parts:
        if s.shape[lhs[1]] > 1:  # channels that see different rows
            s = np.moveaxis(s, lhs[1], 0)
            s = s.reshape(groups, -1, *s.shape[1:]).any(1)
            s = np.moveaxis(
                s.repeat(shapes[0][out[1]] // groups if groups > 1 else 1, 0), 0, lhs[1]
            )
        for i, (a, k, o) in enumerate(zip(lhs[2:], rhs[2:], out[2:], strict=True)):
            taps = range(kernel.shape[k])
            if nonzero is not None:
                seen = nonzero.any(tuple(d for d in range(nonzero.ndim) if d != k))
                taps = np.flatnonzero(seen)
            s = window(
                *(s, a, x.shape[a], shapes[0][o]),
                taps=taps,
                stride=params["window_strides"][i],
                low=params["padding"][i][0],
                base=params["lhs_dilation"][i],
                dilation=params["rhs_dilation"][i],
            )
        source = dict(zip(out, lhs, strict=True))
        parts.append(s.transpose([source[d] for d in range(ndim)] + [ndim]))
    return [(*parts, *everything(kernel, ndim))]


def _reduce_window(params, inputs, shapes):
    def one(s, x):
        for d, size in enumerate(params["window_dimensions"]):
            s = window(
                *(s, d, x.shape[d], shapes[0][d]),
                taps=range(size),
                stride=params["window_strides"][d],
                low=params["padding"][d][0],
                base=params["base_dilation"][d],
                dilation=params["window_dilation"][d],
            )
        return s

    whole = [x for x in inputs if len(x.shape) == len(shapes[0])]  # not the initial values
    return [tuple(one(s, x) for x in whole for s in x.parts)] * len(shapes)


def _pad(params, inputs, shapes):
    x, fill = inputs
    parts = []
    for s in x.parts:
        for d, (low, _, between) in enumerate(params["padding_config"]):
            s = window(s, d, x.shape[d], shapes[0][d], low=low, base=between + 1)
        parts.append(s)
    return [(*parts, *everything(fill, len(x.shape)))]


def _slice(s, params, shape, out):
    strides = params["strides"] or (1,) * len(shape)
    for d, (start, stride) in enumerate(zip(params["start_indices"], strides, strict=True)):
        s = window(s, d, shape[d], out[d], low=-start, stride=stride)
    return s


def _split(params, inputs, shapes):
    (x,), axis = inputs, params["axis"]
    starts = np.cumsum([0, *params["sizes"]])
    return [
        tuple(window(s, axis, x.shape[axis], shape[axis], low=-start) for s in x.parts)
        for start, shape in zip(starts, shapes, strict=False)
    ]


def _side_by_side(inputs: Sequence[Value], axis: int, total: int) -> Parts:
    """Concatenation. Channels become one; rows, and stacked arrays, stay apart."""
    parts, start = [], 0
    apart = any(s.shape[axis] > 1 for x in inputs for s in x.parts)
    apart = apart or all(x.shape[axis] == 1 for x in inputs)
    for x in inputs:
        n = x.shape[axis]
        for s in x.parts:
            if apart:
                shape = list(s.shape)
                shape[axis] = n
                s = np.broadcast_to(s, shape)
                s = window(s, axis, n, total, low=start)
            parts.append(s)
        start += n
    return tuple(parts)


def _concatenate(params, inputs, shapes):
    axis = params["dimension"]
    return [_side_by_side(inputs, axis, shapes[0][axis])]


def stack(inputs: Sequence[Value], axis: int) -> Parts:
    """The parts of arrays stacked on a new axis."""
    rows = []
    for x in inputs:
        parts = tuple(np.expand_dims(s, axis) for s in x.parts)
        rows.append(Value((*x.shape[:axis], 1, *x.shape[axis:]), parts))
    return _side_by_side(rows, axis, len(rows))


def _stack(params, inputs, shapes):
    return [stack(inputs, params["axis"])]


def _unstack(params, inputs, shapes):
    (x,), axis = inputs, params["axis"]
    return [
        tuple(s.take(i if s.shape[axis] > 1 else 0, axis) for s in x.parts)
        for i in range(len(shapes))
    ]


def _reshape(s, params, shape, out):
    """Dimensions that merge or split are written out where the support changes along one."""
    full, target, i, j = [], [], 0, 0
    while i < len(shape) or j < len(out):
        first_i, first_j, a, b = i, j, 1, 1
        while (i, j) == (first_i, first_j) or a != b:
            if i < len(shape) and (a <= b or j == len(out)):
                a, i = a * shape[i], i + 1
            else:
                b, j = b * out[j], j + 1
        varies = any(s.shape[d] > 1 for d in range(first_i, i))
        full += shape[first_i:i] if varies else [1] * (i - first_i)
        target += out[first_j:j] if varies else [1] * (j - first_j)
    s = np.broadcast_to(s, (*full, s.shape[-1])).reshape(*target, s.shape[-1])
    return compress(s)


def _transpose(s, params, shape, out):
    return s.transpose([*params["permutation"], len(shape)])


def _broadcast(s, params, shape, out):
    target = [1] * len(out) + [s.shape[-1]]
    for d, o in enumerate(params["broadcast_dimensions"]):
        target[o] = s.shape[d]
    return s.reshape(target)


def _tile(s, params, shape, out):
    repeats = [r if s.shape[d] > 1 else 1 for d, r in enumerate(params["reps"])]
    return np.tile(s, [*repeats, 1])


def _reverse(s, params, shape, out):
    return np.flip(s, params["dimensions"])


def _reduce(params, inputs, shapes):
    axes = tuple(params.get("axes", params.get("dimensions", ())))
    whole = [x for x in inputs if len(x.shape) > len(shapes[0]) or not axes]
    return [tuple(anywhere(s, axes) for x in whole for s in x.parts)] * len(shapes)


def _squeeze(s, params, shape, out):
    return s.squeeze(tuple(params["dimensions"]))


def _cumulative(s, params, shape, out):
    axis = params["axis"]
    if params["reverse"]:
        return np.flip(np.logical_or.accumulate(np.flip(s, axis), axis), axis)
    return np.logical_or.accumulate(s, axis)


def _sort(params, inputs, shapes):
    axis = params["dimension"]
    return [tuple(anywhere(s, axis, keepdims=True) for x in inputs for s in x.parts)] * len(shapes)


def _top_k(params, inputs, shapes):
    axis = params.get("axis", -1) % len(inputs[0].shape)
    return [tuple(anywhere(s, axis, keepdims=True) for s in inputs[0].parts)] * len(shapes)


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


ELEMENTWISE = words(
    "abs acos acosh add add_any and asin asinh atan atan2 atanh bessel_i0e bessel_i1e "
    "bitcast_convert_type cbrt ceil clamp clz complex conj convert_element_type copy cos cosh "
    "device_put digamma div eq erf erf_inv erfc exp exp2 expm1 floor ge gt igamma igammac imag "
    "integer_pow is_finite le lgamma log log1p logistic lt max min mul name ne neg nextafter not "
    "optimization_barrier or polygamma population_count pow real reduce_precision rem round rsqrt "
    "select_n shift_left shift_right_arithmetic shift_right_logical sharding_constraint sign sin "
    "sinh sqrt square stop_gradient sub tan tanh xor zeta"
)
RULES: dict[str, Rule] = {
    "conv_general_dilated": _conv,
    **dict.fromkeys(
        words("reduce_window reduce_window_max reduce_window_min reduce_window_sum"),
        _reduce_window,
    ),
    "pad": _pad,
    "slice": _each(_slice),
    "split": _split,
    "concatenate": _concatenate,
    "stack": _stack,
    "unstack": _unstack,
    "reshape": _each(_reshape),
    "transpose": _each(_transpose),
    "broadcast_in_dim": _each(_broadcast),
    "tile": _each(_tile),
    "rev": _each(_reverse),
    "squeeze": _each(_squeeze),
    **dict.fromkeys(
        words(
            "reduce argmax argmin reduce_and reduce_max reduce_min reduce_or reduce_prod "
            "reduce_sum reduce_xor"
        ),
        _reduce,
    ),
    **dict.fromkeys(words("cumlogsumexp cummax cummin cumprod cumsum"), _each(_cumulative)),
    "sort": _sort,
    "top_k": _top_k,
    **indexing.RULES,
}
