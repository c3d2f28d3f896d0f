"""Convolutions of segjax.ops.convolution against plain lax, forward and with backward.

    taskset -c 0 python benchmarks/convolutions.py

CPU milliseconds of this process, the fastest of some calls, the two in turn. With `taskset` it is
the time on one core.
"""

import argparse
import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from segjax import process
from segjax.ops import convolution
from segjax.ops.conv_transpose import conv_transpose

CASES = {
    # name: (input shape, features, kernel, options of nn.Conv)
    "3x3, 64 -> 64, 128x128, batch 4": ((4, 128, 128, 64), 64, 3, {}),
    "3x3, 128 -> 128, 64x64, batch 4": ((4, 64, 64, 128), 128, 3, {}),
    "3x3, 256 -> 256, 32x32, batch 4": ((4, 32, 32, 256), 256, 3, {}),
    "1x1, 64 -> 256, 64x64, batch 4": ((4, 64, 64, 64), 256, 1, {}),
    "1x1 stride 2, 256 -> 128, 64x64, batch 4": ((4, 64, 64, 256), 128, 1, {"strides": 2}),
    "depthwise 3x3, 64 channels, 128x128, batch 4": (
        *((4, 128, 128, 64), 64, 3),
        {"feature_group_count": 64},
    ),
    "3x3 dilation 12, 2048 -> 256, 32x32, batch 2": (
        *((2, 32, 32, 2048), 256, 3),
        {"kernel_dilation": 12},
    ),
    "3x3 dilation 36, 2048 -> 256, 32x32, batch 2": (
        *((2, 32, 32, 2048), 256, 3),
        {"kernel_dilation": 36},
    ),
    "3x3 in 2 groups, 384 -> 384, 13x13, batch 4": (
        *((4, 13, 13, 384), 384, 3),
        {"feature_group_count": 2},
    ),
    "3x3 in 32 groups, 256 -> 256, 32x32, batch 4": (
        *((4, 32, 32, 256), 256, 3),
        {"feature_group_count": 32},
    ),
    "transposed 2x2 stride 2, 128 -> 64, 64x64, batch 4": ((4, 64, 64, 128), 64, 2, "transposed"),
    "transposed 3x3 stride 2, 64 -> 32, 64x64, batch 4": ((4, 64, 64, 64), 32, 3, "transposed"),
    "bfloat16 1x1, 256 -> 64, 64x64, batch 4": ((4, 64, 64, 256), 64, 1, {"dtype": jnp.bfloat16}),
    "bfloat16 3x3, 256 -> 256, 32x32, batch 4": ((4, 32, 32, 256), 256, 3, {"dtype": jnp.bfloat16}),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=5, help="of each (default 5)")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    options = parser.parse_args()
    process.keep_freed_memory()
    print("| ms | forward, lax -> segjax | with backward, lax -> segjax |\n|---|---|---|")
    for name, case in CASES.items():
        if options.only in name:
            pairs = [
                " -> ".join(f"{1e3 * t:.1f}" for t in times(case, b, options.calls)) for b in (0, 1)
            ]
            print(f"| {name} | {pairs[0]} | {pairs[1]} |", flush=True)


def times(case, backward: int, calls: int) -> list[float]:
    """Fastest seconds by plain lax and by segjax."""
    shape, features, k, options = case
    generator = np.random.default_rng(0)
    kernel_shape = (k, k, shape[-1], features)
    if options == "transposed":
        apply = functools.partial(conv_transpose, stride=(2, 2))
        dtype = jnp.float32
    else:
        layer = nn.Conv(
            *(features, (k, k)),
            use_bias=False,
            **options,
            conv_general_dilated=convolution.conv_general_dilated,
        )
        kernel_shape = (k, k, shape[-1] // options.get("feature_group_count", 1), features)
        dtype = options.get("dtype", jnp.float32)

        def apply(x, kernel):
            return layer.apply({"params": {"kernel": kernel}}, x)

    x = jnp.asarray(generator.normal(size=shape), dtype)
    kernel = jnp.asarray(0.05 * generator.normal(size=kernel_shape), dtype)
    compiled = []
    for fast in (False, True):
        convolution.use_fast(fast)
        work = both(apply) if backward else lambda x, kernel, apply=apply: apply(x, kernel)
        compiled.append(jax.jit(work).lower(x, kernel).compile())
    best = [np.inf, np.inf]
    for _ in range(calls):
        for i, work in enumerate(compiled):
            began = time.process_time()
            jax.block_until_ready(work(x, kernel))
            best[i] = min(best[i], time.process_time() - began)
    return best


def both(apply):
    """Output and both gradients, for a cotangent that is the output."""

    def work(x, kernel):
        y, vjp = jax.vjp(apply, x, kernel)
        return y, vjp(y)

    return work


if __name__ == "__main__":
    main()
