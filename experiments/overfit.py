"""Whether every architecture can learn four images by heart, as a network without a mistake can.

    python experiments/overfit.py --output=runs/overfit

Four generated images of cells, reduced widths (`experiments/zoo.py`), Adam; four volumes of cells
for the 3D U-Net. Writes table.md: the loss at the start and at the end, and the share of pixels
that are right then, in evaluation mode, beside the share that predicting background alone has. The
last rows are no networks: logits that are parameters themselves, one vector for every 8, 16 or 32
pixels, upsampled bilinearly. A network that upsamples its logits from such a stride can draw the
labels hardly better than they do.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax
from absl import flags
from rich.progress import Progress, TimeElapsedColumn
from zoo import ZOO

from segjax import cli, optim, process
from segjax.data import cells, cells3d
from segjax.ops.resize import bilinear
from segjax.tasks.fit import fit_to
from segjax.tasks.semantic import semantic


class FreeLogits(nn.Module):
    """Logits for one batch that are parameters, a vector for every `stride` pixels, upsampled."""

    stride: int
    num_classes: int = 2
    batch: int = 4

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        del train
        height, width = image.shape[1:3]
        sides = (-(-height // self.stride) + 1, -(-width // self.stride) + 1)
        shape = (self.batch, *sides, self.num_classes)
        coarse = self.param("logits", nn.initializers.zeros, shape)
        return {"logits": bilinear(coarse, (height, width), convention="corner-aligned")}

    def input_size(self, output: int) -> int:
        """Any side."""
        return output

    def output_size(self, size: int) -> int:
        """The side of the input."""
        return size


FREE = {f"free logits, stride {stride}": FreeLogits(stride) for stride in (8, 16, 32)}


def overfit(
    model: Any, image: np.ndarray, label: np.ndarray, steps: int, rate: float = 3e-3
) -> tuple[float, float, float]:
    """(first loss, last loss, share of pixels right) of training on one batch.

    image float32 [B, H, W, C], label int [B, H, W], both with mirrored borders where the model
    needs larger ones. Without dropout's noise in the last column.
    """
    num_classes = int(label.max()) + 1
    image, label = (
        np.asarray(fit_to(model, x, label.shape[1:])) for x in (image, label[..., None])
    )
    label = label[..., 0]
    task = semantic(model, num_classes, metrics=[], size=label.shape[1:])
    batch = {"image": image, "label": label, "valid": np.ones(len(image), bool)}
    variables = dict(task.init(jax.random.key(0), batch))
    params, state = variables.pop("params"), variables
    schedule = optim.with_warmup(optim.cosine(rate, steps), 10)
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))

    @jax.jit
    def step(params: Any, state: Any, opt_state: Any, key: jax.Array) -> Any:
        grad = jax.value_and_grad(task.loss, has_aux=True)
        (loss, (state, _)), grads = grad(params, state, batch, key)
        updates, opt_state = tx.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), state, opt_state, loss

    opt_state, losses = tx.init(params), []
    for i in range(steps):
        params, state, opt_state, loss = step(params, state, opt_state, jax.random.key(i))
        losses.append(float(loss))
    found = jax.jit(task.predict)({"params": params, **state}, batch)["label"]
    return losses[0], losses[-1], float(np.mean(np.asarray(found) == label))


def four_cells(side: int, data_dir: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Images [4, side, side, 3] in [-1, 1] and labels [4, side, side]."""
    records = cells.source("train", data_dir).records
    chosen = [records[i] for i in range(4)]
    image = np.stack([r["image"][:side, :side] for r in chosen]).astype(np.float32) / 127.5 - 1
    return np.repeat(image, 3, axis=-1), np.stack([r["label"][:side, :side] for r in chosen])


def four_volumes(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Images [4, side, side, side, 1] around [-1, 1] and labels [4, side, side, side]."""
    records = cells3d.source("val", size=(side, side, side)).records
    image, label = (np.stack([r[name] for r in records[:4]]) for name in ("image", "label"))
    return image.astype(np.float32) / 127.5 - 1, label


def main() -> None:
    everything = [*ZOO, "unet3d", *FREE]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("runs/overfit"), help="folder")
    parser.add_argument("--only", nargs="+", choices=everything, metavar="NAME", help="some")
    parser.add_argument("--steps", type=int, default=150, help="for each (150)")
    parser.add_argument("--rate", type=float, default=3e-3, help="of Adam, at its highest (3e-3)")
    parser.add_argument("--side", type=int, default=96, help="of the images (96)")
    parser.add_argument("--data_dir", help="where tfds keeps prepared data sets")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    flags.FLAGS(sys.argv[:1])
    process.set_up(cli.CACHE.value)
    record = args.output / f"results_{args.steps}_{args.rate:g}_{args.side}.json"
    results = json.loads(record.read_text()) if record.exists() else {}
    names = args.only or everything
    with Progress(*Progress.get_default_columns(), TimeElapsedColumn()) as progress:
        bar = progress.add_task("Training", total=len(names))
        for name in names:
            progress.update(bar, description=name)
            if name not in results:
                solid = name == "unet3d"
                data = four_volumes(32) if solid else four_cells(args.side, args.data_dir)
                background = float(np.mean(data[1] == 0))
                begin = time.perf_counter()
                rate = 0.1 if name in FREE else args.rate
                figures = overfit(network(name), *data, args.steps, rate)
                results[name] = [*figures, background, time.perf_counter() - begin]
                record.write_text(json.dumps(results, indent=1))
                jax.clear_caches()
            progress.advance(bar)
    table = markdown({name: results[name] for name in names})
    (args.output / "table.md").write_text(table)
    print(table)


def network(name: str) -> Any:
    """Of the zoo, 3D U-Net's or of FREE, for two classes."""
    if name in FREE:
        return FREE[name]
    config_name, values = ZOO.get(name, (name, {}))
    module, config = cli.load_config(f"configs/{config_name}.py", values)
    facts = {"class_names": cells.CLASS_NAMES, "channels": 1 if name == "unet3d" else 3}
    return cli.build(module, config, facts).model


def markdown(results: dict[str, list[float]]) -> str:
    rows = ["| network | first loss | last loss | right | background alone | seconds |"]
    rows.append("|---" * 6 + "|")
    for name, (first, last, right, background, seconds) in results.items():
        figures = f"{first:.3f} | {last:.4f} | {right:.4f} | {background:.4f} | {seconds:.0f}"
        rows.append(f"| {name} | {figures} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.exit(main())
