"""Times each segjax upsampler against its PyTorch counterpart, forward and forward + backward.

    python benchmarks/upsamplers.py                                     # torch installed here
    python benchmarks/upsamplers.py --python-torch /path/to/bin/python  # torch installed there

float32, batch 4, 64x64 -> 128x128 with 64 channels (transposed convolutions 128 -> 64 channels);
pooling starts from 128x128. PyTorch runs eagerly in channels_last, its best eager setting; segjax
runs under jax.jit. Backward means the gradients of the input and of all weights. The workers
alternate; every figure is a median. Prints a Markdown table. Bed of nails has no counterpart.
"""

import os
import sys

import harness

# name: input side, input channels
CASES = {
    "nearest": (64, 64),
    "bilinear half-pixel": (64, 64),
    "bilinear corner-aligned": (64, 64),
    "max-pool 2x2": (128, 64),
    "max-pool 3x3/2": (128, 64),
    "average-pool 2x2": (128, 64),
    "max-pool 2x2, unpool": (128, 64),
    "transposed 2/2": (64, 128),
    "transposed 3/2": (64, 128),
    "transposed 4/2": (64, 128),
    "sub-pixel 3x3": (64, 64),
    "resize-conv 3x3": (64, 64),
}
BATCH, FEATURES = 4, 64


def build_segjax(case, backward):
    import jax
    import numpy as np

    from segjax.nn import upsample
    from segjax.ops import pooling

    pools = {
        "max-pool 2x2": lambda x: pooling.max_pool(x, (2, 2)),
        "max-pool 3x3/2": lambda x: pooling.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1))),
        "average-pool 2x2": lambda x: pooling.avg_pool(x, (2, 2)),
        "max-pool 2x2, unpool": lambda x: pooling.max_unpool(*pooling.max_pool_with_switches(x)),
    }
    modules = {
        "nearest": upsample.Nearest(FEATURES),
        "bilinear half-pixel": upsample.Bilinear(FEATURES),
        "bilinear corner-aligned": upsample.Bilinear(FEATURES, convention="corner-aligned"),
        "transposed 2/2": upsample.TransposedConv(FEATURES),
        "transposed 3/2": upsample.TransposedConv(FEATURES, kernel_size=3),
        "transposed 4/2": upsample.TransposedConv(FEATURES, kernel_size=4),
        "sub-pixel 3x3": upsample.SubPixel(FEATURES),
        "resize-conv 3x3": upsample.ResizeConv(FEATURES),
    }
    side, channels = CASES[case]
    x = np.random.default_rng(0).standard_normal((BATCH, side, side, channels), np.float32)
    x = jax.device_put(x)
    if case in pools:
        variables, function = {}, lambda variables, x: pools[case](x)
    else:
        variables, function = modules[case].init(jax.random.key(0), x), modules[case].apply

    def step(variables, x, g):
        y, pullback = jax.vjp(function, variables, x)
        return y, pullback(g)

    if backward:
        arguments = (variables, x, jax.jit(function)(variables, x))
        compiled = jax.jit(step).lower(*arguments).compile()
    else:
        arguments = (variables, x)
        compiled = jax.jit(function).lower(*arguments).compile()
    return lambda: jax.block_until_ready(compiled(*arguments))


def build_torch(case, backward):
    import torch
    from torch import nn
    from torch.nn import functional as F

    torch.set_num_threads(int(os.environ["HARNESS_CORES"]))
    side, channels = CASES[case]
    conv, transposed = nn.Conv2d, nn.ConvTranspose2d
    functions = {
        "nearest": nn.Upsample(scale_factor=2),
        "bilinear half-pixel": nn.Upsample(scale_factor=2, mode="bilinear"),
        "bilinear corner-aligned": nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
        "max-pool 2x2": nn.MaxPool2d(2),
        "max-pool 3x3/2": nn.MaxPool2d(3, 2, 1),
        "average-pool 2x2": nn.AvgPool2d(2),
        "max-pool 2x2, unpool": lambda x: F.max_unpool2d(
            *F.max_pool2d(x, 2, return_indices=True), 2
        ),
        "transposed 2/2": transposed(channels, FEATURES, 2, 2),
        "transposed 3/2": transposed(channels, FEATURES, 3, 2, 1, 1),
        "transposed 4/2": transposed(channels, FEATURES, 4, 2, 1),
        "sub-pixel 3x3": nn.Sequential(
            conv(channels, 4 * FEATURES, 3, padding=1), nn.PixelShuffle(2)
        ),
        "resize-conv 3x3": nn.Sequential(
            nn.Upsample(scale_factor=2), conv(channels, FEATURES, 3, padding=1)
        ),
    }
    function = functions[case]
    weights = []
    if isinstance(function, nn.Module):
        function.to(memory_format=torch.channels_last)
        weights = list(function.parameters())
    x = torch.randn(BATCH, channels, side, side).to(memory_format=torch.channels_last)
    if not backward:

        def run():
            with torch.no_grad():
                return function(x)

        return run
    x.requires_grad_()
    g = function(x).detach()

    def step():
        y = function(x)
        return y, torch.autograd.grad(y, [x, *weights], g)

    return step


def main():
    parser = harness.parser(__doc__)
    parser.add_argument("--only", default="", metavar="WORD", help="only the cases with this word")
    args = parser.parse_args()
    if args.worker:
        harness.serve({"segjax": build_segjax, "torch": build_torch}[args.worker])
        return
    pythons = {"segjax": sys.executable, "torch": args.python_torch}
    rows = []
    with harness.start(__file__, pythons, args.cores, args.default_allocator) as workers:
        for case in CASES:
            if args.only in case:
                row = [case]
                for backward in (False, True):
                    request = {"case": case, "backward": backward}
                    seconds = harness.compare(workers, request, args.rounds)
                    ours, theirs = (1e3 * seconds[name] for name in ("segjax", "torch"))
                    row += [ours, theirs, ours / theirs]
                rows.append(row)
    columns = ("segjax ms", "torch ms", "ratio")
    header = ("", *(f"forward, {c}" for c in columns), *(f"with backward, {c}" for c in columns))
    print(harness.table(header, rows))
    versions = harness.versions(pythons.values(), ("jax", "flax", "torch"))
    print(f"\n{harness.hardware(args.cores)} {versions}.")


if __name__ == "__main__":
    main()
