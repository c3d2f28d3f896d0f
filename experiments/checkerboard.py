"""Which upsamplers draw checkerboards: at the start, after training, and in gradients.

    python experiments/checkerboard.py --output=runs/checkerboard

Writes table.md and checkerboard.png, all for a factor of 2. For each upsampler: how unevenly it
spreads white noise over the four pixels of a block at initialisation (`stride_contrast` of the
squares), and the share of a checkerboard in what it makes of smooth maps then (`stride_energy`).
Then a small network is trained to return smooth images, halving them by a max-pool and doubling
them by the upsampler: its error, the checkerboard's share in it, and how unevenly it is spread.
Backward, a halving is an upsampler (Odena et al. 2016, "Artifacts in gradients"): for the trained
networks, and for each way to halve an image, the checkerboard's share in the gradient with respect
to the image where a smooth map stands for the gradient of the output, and how unevenly the gradient
is spread where white noise does. Means and standard deviations over seeds.
"""

import argparse
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.progress import Progress

from segjax.analysis.checkerboard import overlap_count, stride_contrast, stride_energy
from segjax.nn import upsample
from segjax.nn.layers import Conv
from segjax.ops import pooling
from segjax.ops.activation import relu
from segjax.ops.pixel_shuffle import depth_to_space

SIDE, CHANNELS, BATCH, LONGEST = 32, 16, 8, 5  # of the images; waves across an image at most


class PlainSubPixel(nn.Module):
    """`upsample.SubPixel` without ICNR: the four kernels of a block start apart."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array, switches: Any = None) -> jax.Array:
        return depth_to_space(Conv(4 * self.features, (3, 3), name="conv")(x), 2)


UPSAMPLERS: dict[str, Callable[..., nn.Module]] = {
    **{name: make for name, make in upsample.UPSAMPLERS.items() if name != "transposed"},
    "sub_pixel without ICNR": PlainSubPixel,
    **{
        f"transposed {k}/2": functools.partial(upsample.TransposedConv, kernel_size=k)
        for k in (2, 3, 4)
    },
}
HALVINGS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "max-pool 2/2": lambda x: pooling.max_pool(x, (2, 2)),
    "max-pool 3/2": lambda x: pooling.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1))),
    "average-pool 2/2": lambda x: pooling.avg_pool(x, (2, 2)),
}


class Network(nn.Module):
    """Halves and doubles images: [B, H, W, 1] -> [B, H, W, 1]."""

    make: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, image: jax.Array) -> jax.Array:
        x = relu(Conv(CHANNELS, (3, 3))(image))
        x, switches = pooling.max_pool_with_switches(x)
        x = relu(Conv(CHANNELS, (3, 3))(x))
        x = relu(self.make(features=CHANNELS)(x, switches=switches))
        return Conv(1, (3, 3))(x)


def smooth(key: jax.Array, batch: int, channels: int, side: int = SIDE) -> jax.Array:
    """[batch, side, side, channels] of at most LONGEST waves across: nothing near the stride."""
    waves = jnp.fft.rfftfreq(side, 1 / side), jnp.fft.fftfreq(side, 1 / side)
    low = jnp.hypot(waves[1][:, None], waves[0]) <= LONGEST
    spectrum = jnp.fft.rfft2(jax.random.normal(key, (batch, channels, side, side)))
    image = jnp.fft.irfft2(spectrum * low)
    return jnp.moveaxis(image / jnp.std(image), 1, 3)


def of_gradient(pullback: Callable, like: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Share for smooth maps, contrast for white noise in place of the gradient of the output."""
    keys = jax.random.split(key)
    maps = relu(smooth(keys[0], like.shape[0], like.shape[3], like.shape[1]))
    y, z = (pullback(x)[0][:, 2:-2, 2:-2] for x in (jax.random.normal(keys[1], like.shape), maps))
    return stride_energy(z, 2), stride_contrast(jnp.square(y), 2)


def at_the_start(make: Callable[..., nn.Module], seed: int) -> tuple[list[float], Any]:
    """Contrast for white noise, checkerboard's share for smooth maps; one such output."""
    keys = jax.random.split(jax.random.key(seed), 4)
    module = make(features=CHANNELS)
    before = jax.random.normal(keys[0], (64, SIDE, SIDE, CHANNELS))
    _, switches = pooling.max_pool_with_switches(before)
    noise = jax.random.normal(keys[1], (64, SIDE // 2, SIDE // 2, CHANNELS))
    maps = relu(smooth(keys[2], 64, CHANNELS, SIDE // 2))
    variables = module.init(keys[3], noise, switches=switches)
    y, z = (
        jnp.asarray(module.apply(variables, x, switches=switches))[:, 2:-2, 2:-2]
        for x in (noise, maps)
    )
    figures = stride_contrast(jnp.square(y), 2), stride_energy(z, 2)
    return [float(x) for x in figures], z[0, :, :, 0]


def trained(make: Callable[..., nn.Module], seed: int, steps: int) -> tuple[list[float], Any]:
    """Error; share in it and contrast, those of the gradient; the error on one image."""
    first, second, third, fourth = jax.random.split(jax.random.key(seed), 4)
    network = Network(make)
    tx = optax.adam(optax.cosine_decay_schedule(1e-2, steps))
    variables = network.init(first, jnp.zeros((1, SIDE, SIDE, 1)))

    def step(state: Any, key: jax.Array) -> tuple[Any, None]:
        variables, moments = state
        image = smooth(key, BATCH, 1)

        def loss(variables: Any) -> jax.Array:
            return jnp.mean(jnp.square(jnp.asarray(network.apply(variables, image)) - image))

        updates, moments = tx.update(jax.grad(loss)(variables), moments)
        return (optax.apply_updates(variables, updates), moments), None

    @jax.jit
    def run(variables: Any) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        keys = jax.random.split(second, steps)
        (variables, _), _ = jax.lax.scan(step, (variables, tx.init(variables)), keys)
        image = smooth(third, 64, 1)
        y, pullback = jax.vjp(lambda x: jnp.asarray(network.apply(variables, x)), image)
        return (y - image)[:, 2:-2, 2:-2], of_gradient(pullback, y, fourth)

    error, gradient = run(variables)
    figures = (
        jnp.sqrt(jnp.mean(error**2)),
        stride_energy(error, 2),
        stride_contrast(error**2, 2),
        *gradient,
    )
    return [float(x) for x in figures], error[0, :, :, 0]


def halved(name: str, seed: int) -> list[float]:
    """Share in and contrast of the gradient of a halving."""
    keys = jax.random.split(jax.random.key(seed), 3)
    image = jax.random.normal(keys[0], (64, SIDE, SIDE, CHANNELS))
    halve = HALVINGS.get(name)
    if halve is None:
        k = int(name.split()[1][0])
        pad = (k - 1) // 2
        conv = Conv(CHANNELS, (k, k), strides=2, padding=pad)
        halve = functools.partial(conv.apply, conv.init(keys[1], image))
    y, pullback = jax.vjp(lambda x: jnp.asarray(halve(x)), image)
    return [float(x) for x in of_gradient(pullback, y, keys[2])]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("runs/checkerboard"), help="folder")
    parser.add_argument("--seeds", type=int, default=5, help="of each figure (default 5)")
    parser.add_argument("--steps", type=int, default=300, help="of training (default 300)")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    halvings = [f"convolution {k}/2" for k in (2, 3, 4)] + [*HALVINGS]
    rows, pictures, gradients = {}, {}, {}
    with Progress() as progress:
        bar = progress.add_task("Measuring", total=len(UPSAMPLERS) + len(halvings))
        for name, make in UPSAMPLERS.items():
            start = [at_the_start(make, seed) for seed in range(options.seeds)]
            end = [trained(make, seed, options.steps) for seed in range(options.seeds)]
            pictures[name] = start[0][1], end[0][1]
            rows[name] = np.array([(*a, *b) for (a, _), (b, _) in zip(start, end, strict=True)])
            progress.advance(bar)
        for name in halvings:
            gradients[name] = np.array([halved(name, seed) for seed in range(options.seeds)])
            progress.advance(bar)
    table = markdown(rows, gradients)
    (options.output / "table.md").write_text(table)
    plot(rows, gradients, pictures, options.output / "checkerboard.png")
    print(table)


def markdown(rows: dict[str, np.ndarray], gradients: dict[str, np.ndarray]) -> str:
    def cell(values: np.ndarray) -> str:
        return f"{values.mean():.3f} ± {values.std(ddof=1) if len(values) > 1 else 0:.3f}"

    gradient = ["share in the gradient", "its contrast"]
    head = ["upsampler", "noise", "smooth", "error", "share in it", "its contrast", *gradient]
    lines = [f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
    lines += [f"| {name} | {' | '.join(map(cell, runs.T))} |" for name, runs in rows.items()]
    lines += ["", f"| halving | {' | '.join(gradient)} |", "| --- | --- | --- |"]
    lines += [f"| {name} | {' | '.join(map(cell, runs.T))} |" for name, runs in gradients.items()]
    return "\n".join(lines) + "\n"


def plot(
    rows: dict[str, np.ndarray],
    gradients: dict[str, np.ndarray],
    pictures: dict[str, Any],
    path: Path,
) -> None:
    """The counts of copies, the checkerboard's shares, and what each upsampler draws."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure = pyplot.figure(figsize=(13, 7.5), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[1.5, 1])
    counts, bars = above.subfigures(1, 2, width_ratios=[1, 4.5])
    for k, axis in zip((2, 3, 4), counts.subplots(3, 1), strict=True):
        count = overlap_count(k, 2, 6)
        axis.imshow(np.outer(count, count), cmap="viridis", vmin=1, vmax=4)
        axis.set_title(f"copies, kernel {k} stride 2", fontsize=9)
        axis.set_axis_off()
    shares = {
        "of smooth maps, at the start": {name: runs[:, 1] for name, runs in rows.items()},
        "in the error, after training": {name: runs[:, 3] for name, runs in rows.items()},
        "in the gradient (orange: halvings)": {
            **{name: runs[:, 5] for name, runs in rows.items()},
            **{name: runs[:, 0] for name, runs in gradients.items()},
        },
    }
    for (title, values), axis in zip(shares.items(), bars.subplots(1, 3), strict=True):
        colours = ["C1" if name in gradients else "C0" for name in values]
        bar = axis.barh([*values], [runs.mean() for runs in values.values()], color=colours)
        axis.bar_label(bar, fmt="%.3f", padding=2, fontsize=7)
        axis.set_xlim(0, 0.4)
        axis.invert_yaxis()
        axis.tick_params(labelsize=7)
        axis.set_title(title, fontsize=9)
    bars.suptitle("the checkerboard's share", fontsize=9)
    panels = below.subplots(2, len(pictures))
    for column, (name, (start, error)) in zip(panels.T, pictures.items(), strict=True):
        high = float(np.abs(error).max())
        column[0].imshow(start, cmap="gray")
        column[1].imshow(error, cmap="RdBu", vmin=-high, vmax=high)
        column[0].set_title(name.replace(" without", "\nwithout"), fontsize=8)
        column[1].set_title(f"±{high:.2g}", fontsize=8)
        for axis in column:
            axis.set_axis_off()
    below.suptitle("above: of smooth maps, at the start; below: error after training", fontsize=9)
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    main()
