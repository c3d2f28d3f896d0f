"""Times one training step of a U-Net in segjax, PyTorch and plain Flax, and prints a table.

    python benchmarks/train_step.py                                     # torch installed here
    python benchmarks/train_step.py --python-torch /path/to/bin/python  # torch installed there
    python benchmarks/train_step.py --model default --cores 2

Two networks with zero-padded 3x3 convolutions, float32, 3 channels in, 2 classes out:

    paper    the paper's widths (64 .. 1024), no normalisation, 256x256, batch 4
    default  width 16, BatchNorm, 128x128, batch 8

A step is forward, cross-entropy, backward and one SGD update with momentum. `torch channels_last`
and `torch` (its default layout) run eagerly. `flax` is segjax's network with the formulations of
`segjax.ops.convolution` turned off, so that XLA sees the convolutions that stock Flax layers write;
it is slow, `--skip flax` leaves it out. The workers alternate; every figure is a median.
"""

import os
import subprocess
import sys

import harness

WORKERS = ("segjax", "torch channels_last", "torch", "flax")
# name: width, depth, side, batch, BatchNorm, parameters
MODELS = {
    "paper": (64, 4, 256, 4, False, 31_031_810),
    "default": (16, 4, 128, 8, True, 1_942_594),
}


def build_segjax(model, fast=True):
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    from segjax.models.unet import UNet
    from segjax.nn.layers import BatchNorm
    from segjax.ops import convolution

    convolution.use_fast(fast)
    width, depth, side, batch, normalised, parameters = MODELS[model]
    norm = BatchNorm if normalised else None
    net = UNet(2, width, depth, padding="same", norm=norm, dropout=0.0)
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.standard_normal((batch, side, side, 3), np.float32))
    label = jnp.asarray(rng.integers(0, 2, (batch, side, side)))
    shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), image[:1], train=False))
    assert sum(p.size for p in jax.tree.leaves(shapes["params"])) == parameters
    variables = jax.tree.map(  # He's initialisation: its values decide no timing
        lambda p: jnp.asarray(
            rng.standard_normal(p.shape, np.float32) * np.sqrt(2 / np.prod(p.shape[:-1]))
            if len(p.shape) == 4
            else np.ones(p.shape, np.float32)
        ),
        shapes,
    )
    params = variables.pop("params")
    tx = optax.sgd(1e-3, momentum=0.9)

    def loss_of(params, state, image, label):
        logits, state = net.apply(
            {"params": params, **state}, image, train=True, mutable=list(state)
        )
        loss = optax.softmax_cross_entropy_with_integer_labels(logits["logits"], label)
        return loss.mean(), state

    def step(params, state, opt_state, image, label):
        (loss, state), grads = jax.value_and_grad(loss_of, has_aux=True)(
            params, state, image, label
        )
        updates, opt_state = tx.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), state, opt_state, loss

    step = jax.jit(step, donate_argnums=(0, 1, 2))
    training = params, variables, tx.init(params)

    def run():
        nonlocal training
        *training, loss = step(*training, image, label)
        jax.block_until_ready(training)
        assert np.isfinite(loss)

    return run


def build_flax(model):
    return build_segjax(model, fast=False)


def build_torch(model, channels_last=False):
    import torch
    from torch import nn

    torch.set_num_threads(int(os.environ["HARNESS_CORES"]))
    width, depth, side, batch, normalised, parameters = MODELS[model]

    def pair(cin, cout):
        layers = []
        for channels in (cin, cout):
            layers.append(nn.Conv2d(channels, cout, 3, padding=1, bias=not normalised))
            if normalised:
                layers.append(nn.BatchNorm2d(cout))
            layers.append(nn.ReLU(inplace=True))
        return nn.Sequential(*layers)

    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            widths = [width * 2**level for level in range(depth + 1)]
            self.down = nn.ModuleList(map(pair, [3, *widths], widths))
            self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, 2) for w in widths[:-1])
            self.merge = nn.ModuleList(pair(2 * w, w) for w in widths[:-1])
            self.head = nn.Conv2d(width, 2, 1)

        def forward(self, x):
            skips = []
            for block in self.down[:-1]:
                x = block(x)
                skips.append(x)
                x = nn.functional.max_pool2d(x, 2)
            x = self.down[-1](x)
            for level in reversed(range(depth)):
                x = self.merge[level](torch.cat([skips[level], self.up[level](x)], 1))
            return self.head(x)

    layout = torch.channels_last if channels_last else torch.contiguous_format
    torch.manual_seed(0)
    net = UNet().to(memory_format=layout)
    assert sum(p.numel() for p in net.parameters()) == parameters
    image = torch.randn(batch, 3, side, side).to(memory_format=layout)
    label = torch.randint(0, 2, (batch, side, side))
    optimizer = torch.optim.SGD(net.parameters(), 1e-3, momentum=0.9)

    def run():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(image), label)
        loss.backward()
        optimizer.step()
        assert loss.isfinite()

    return run


def build_torch_channels_last(model):
    return build_torch(model, channels_last=True)


def main():
    parser = harness.parser(__doc__)
    parser.add_argument("--model", choices=MODELS, default="paper", help="(default paper)")
    parser.add_argument(
        "--skip", choices=WORKERS[1:], nargs="+", default=(), help="implementations to leave out"
    )
    args = parser.parse_args()
    if args.worker:
        harness.serve(globals()["build_" + args.worker.replace(" ", "_")])
        return
    names = [name for name in WORKERS if name not in args.skip]
    pythons = {n: args.python_torch if "torch" in n else sys.executable for n in names}
    if any("torch" in name for name in names):
        check = [args.python_torch, "-c", "import torch"]
        if subprocess.run(check, capture_output=True).returncode:
            sys.exit(
                f"{args.python_torch} cannot import torch: install it there (pip install torch), "
                "name an interpreter that has it with --python-torch, or "
                "--skip torch 'torch channels_last'."
            )
    with harness.start(__file__, pythons, args.cores, args.default_allocator) as workers:
        seconds = harness.compare(workers, {"model": args.model}, args.rounds)
    rows = [
        (name, f"{1000 * s:.0f}", f"{s / seconds['segjax']:.2f}", f"{seconds['segjax'] / s:.2f}")
        for name, s in seconds.items()
    ]
    print(harness.table((args.model, "ms / step", "/ segjax", "segjax /"), rows))
    packages = ("jax", "flax", "torch")
    print(harness.hardware(args.cores), harness.versions(pythons.values(), packages))


if __name__ == "__main__":
    main()
