"""What a config's values say of its network: types, norms, upsamplers, strides."""

import functools
from collections.abc import Callable
from typing import Any

from segjax.errors import InputError, choose
from segjax.nn.layers import DTYPES, BatchNorm, FrozenBatchNorm
from segjax.nn.upsample import UPSAMPLERS


def options(config: Any) -> dict[str, Any]:
    """What every model takes: the type it computes in and, if one is named, the upsampler.

    Raises `InputError` for these and for a config.model.dropout that is no share of the units.
    """
    dropout = config.model.get("dropout")
    if dropout is not None and not 0 <= dropout < 1:
        raise InputError(f"--config.model.dropout must be from 0 to below 1, not {dropout}.")
    found: dict[str, Any] = {"dtype": choose(DTYPES, config.dtype, "config.dtype")}
    if config.model.upsample is not None:
        found["upsample"] = choose(UPSAMPLERS, config.model.upsample, "config.model.upsample")
    return found


def convention(config: Any) -> Any:
    """config.model.convention: where bilinear interpolation sees the corners of the maps."""
    names = {name: name for name in ("half-pixel", "corner-aligned")}
    return choose(names, config.model.convention, "config.model.convention")


def output_stride(config: Any, *strides: int) -> Any:
    """config.model.output_stride, by default the first of those config.model.variant can have."""
    stride = config.model.output_stride
    what = f"config.model.output_stride of variant {config.model.variant}"
    return strides[0] if stride is None else choose({n: n for n in strides}, stride, what)


def options_without_upsampler(config: Any) -> dict[str, Any]:
    """`options` of a network at one resolution; raises `InputError` if an upsampler is named."""
    if config.model.upsample is not None:
        raise InputError(
            f"--config.model.upsample is {config.model.upsample!r}, and this network has nothing "
            "to upsample: leave it out."
        )
    return options(config)


def backbone_options(config: Any) -> dict[str, Any]:
    """What every backbone with BatchNorm takes; one that is not trained keeps its statistics."""
    norm = frozen(BatchNorm) if config.backbone_rate == 0 else BatchNorm
    return {"dtype": choose(DTYPES, config.dtype, "config.dtype"), "norm": norm}


def prepared(backbone: Any, config: Any) -> Any:
    """The same for a backbone that a preset made, whose norm may have constants of its own."""
    changes: dict[str, Any] = {"dtype": choose(DTYPES, config.dtype, "config.dtype")}
    if config.backbone_rate == 0 and getattr(backbone, "norm", None) is not None:
        changes["norm"] = frozen(backbone.norm)
    return backbone.clone(**changes)


def frozen(norm: Callable[..., Any]) -> Callable[..., Any]:
    """FrozenBatchNorm with the epsilon of a BatchNorm factory."""
    epsilon = norm(name=None).epsilon
    return functools.partial(FrozenBatchNorm, epsilon=epsilon)
