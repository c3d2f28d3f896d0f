"""What a network costs: parameters, and what its traced program multiplies and downsamples."""

import math
import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import jaxprs_in_params
from jax.interpreters.partial_eval import dce_jaxpr

from segjax.analysis.walk import trace
from segjax.errors import InputError


def count(params: Any) -> int:
    """The number of trained scalars."""
    return sum(math.prod(x.shape) for x in jax.tree.leaves(params))


def products(jaxpr: Any) -> int:
    """FLOPs of a traced function: multiplications and additions of its products.

    A convolution of a dilated input, which is a transposed one, leaves out the zeros between. Of
    branches the costliest counts. Raises `InputError` for products in a loop of unknown length.
    """
    total = 0
    for eqn in jaxpr.eqns:
        name, params = eqn.primitive.name, eqn.params
        if name == "conv_general_dilated":
            kernel, out = eqn.invars[1].aval.shape, math.prod(eqn.outvars[0].aval.shape)
            features = kernel[params["dimension_numbers"].rhs_spec[0]]
            zeros = math.prod(params["lhs_dilation"])
            total += 2 * out * math.prod(kernel) // features // zeros
        elif name == "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            lengths = (eqn.invars[0].aval.shape[axis] for axis in contracted)
            total += 2 * math.prod(eqn.outvars[0].aval.shape) * math.prod(lengths)
        else:
            inner = max(map(products, jaxprs_in_params(params)), default=0)
            if name == "while" and inner:
                raise InputError("The FLOPs of a loop of unknown length cannot be counted.")
            total += inner * (params["length"] if name == "scan" else 1)
    return total


def sides(jaxpr: Any, rank: int) -> list[int]:
    """The lengths of the second axis of every array of this rank, in order."""
    found = []
    for eqn in jaxpr.eqns:
        found += [v.aval.shape[1] for v in eqn.outvars if len(v.aval.shape) == rank]
        for inner in jaxprs_in_params(eqn.params):
            found += sides(inner, rank)
    return found


def deepest_stride(function: Any, variables: Any, shape: Sequence[int], more: int) -> str:
    """Input rows for a row of the deepest map, from images of which one is `more` rows higher.

    '' if there is no legal higher one, `more` = 0. What has as many rows for either image, such as
    a level of a pooled pyramid, is no map.
    """
    if not more:
        return ""
    found = []
    for height in (shape[0], shape[0] + more):
        image = jax.ShapeDtypeStruct((1, height, *shape[1:]), jnp.float32)
        jaxpr = trace(function, variables, image).jaxpr
        used, _ = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
        found.append(sides(used, len(image.shape)))
    return f"{max(more / (b - a) for a, b in zip(*found, strict=True) if b > a):g}"


def counted(params: Any, uncounted: str) -> int:
    """The number of trained scalars whose path the pattern `uncounted` is not found in."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    named = [(jax.tree_util.keystr(path, simple=True, separator="/"), x) for path, x in leaves]
    return sum(math.prod(x.shape) for path, x in named if not re.search(uncounted or "$^", path))
