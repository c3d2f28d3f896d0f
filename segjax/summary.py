"""What a config's model is made of and what it costs.

    python -m segjax.summary --config=configs/unet.py
    python -m segjax.summary --config=configs/unet_paper.py --size=572 --depth=1

Prints the layers, then parameters, FLOPs, output stride, receptive field and memory.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags
from rich.console import Console
from rich.table import Table

from segjax import cli
from segjax.errors import InputError


def define_flags() -> None:
    flags.DEFINE_integer(
        "size", 256, "Side of the input; raised to the next legal side.", lower_bound=1
    )
    flags.DEFINE_integer("depth", 2, "How deep to list nested modules.", lower_bound=1)


def main() -> int:
    size, depth = flags.FLAGS.size, flags.FLAGS.depth
    if not cli.CONFIG.value:
        raise InputError("Say what to summarise, such as --config=configs/unet.py; see --help.")
    module, _ = cli.load_config(cli.config_source())
    cli.require(module, "card", "model", "task")
    config = cli.CONFIG.value
    card = module.card(config)
    model = module.model(config, card)
    side = next(n for n in range(size, 10**9) if is_legal(model, n))
    image = jax.ShapeDtypeStruct((1, side, side, card["channels"]), jnp.float32)
    console = Console()
    console.print(*tables(model, image, module.task(config, card), config.batch_size, depth))
    return 0


def is_legal(model: Any, side: int) -> bool:
    """Whether the model takes images of this side."""
    return model.input_size(max(model.output_size(side), 1)) == side


def tables(
    model: Any, image: jax.ShapeDtypeStruct, task: Any, batch_size: int, depth: int
) -> tuple[Table, Table]:
    """The layers of the model; what it costs for one image, and a training step for a batch."""

    def forward(variables: Any, image: jax.Array) -> jax.Array:
        return model.apply(variables, image, train=False)["logits"]

    variables = jax.eval_shape(lambda k, x: model.init(k, x, train=False), jax.random.key(0), image)
    layers: list[tuple[str, tuple[int, ...], int]] = []

    def traced(variables: Any, image: jax.Array) -> Any:
        out, state = model.apply(variables, image, train=False, capture_intermediates=True)
        layers.extend(list_layers(state["intermediates"], variables["params"], depth))
        return out

    logits = jax.eval_shape(traced, variables, image)
    listing = Table("layer", "output", "parameters", title="Layers", title_justify="left")
    for path, shape, parameters in layers:
        listing.add_row(path, " x ".join(map(str, shape[1:])), f"{parameters:,}")
    deepest = min((shape for _, shape, _ in layers if len(shape) == 4), key=lambda s: s[1] * s[2])
    (_, height, width, channels), output = image.shape, logits["logits"].shape
    larger = next(n for n in range(height + 1, 10**9) if is_legal(model, n))
    stride = (larger - height) / (model.output_size(larger) - model.output_size(height))
    step = jax.jit(forward).lower(variables, image)
    flops = (step.cost_analysis() or {}).get("flops", math.nan)
    memory = train_memory(task, image, batch_size)
    field = receptive_field(model, channels)

    table = Table(title=type(model).__name__, title_justify="left", show_header=False)
    rows = {
        "input": f"{height} x {width} x {channels}",
        "output": f"{output[1]} x {output[2]} x {output[3]}",
        "parameters": f"{count(variables['params']):,}",
        "FLOPs, one image": f"{flops / 1e9:.3g} G (multiply and add counted as two)",
        "output stride": f"{stride:g}",
        "deepest map": f"{deepest[1]} x {deepest[2]} x {deepest[3]}",
        "receptive field": field,
        f"training memory, batch {batch_size}": memory,
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return listing, table


def list_layers(
    outputs: Any, params: Any, depth: int, path: str = ""
) -> Iterator[tuple[str, tuple[int, ...], int]]:
    """(path, output shape, parameters) of each module down to `depth`, in the order of the call."""
    for name, inner in outputs.items():
        if name == "__call__":
            continue
        own, found = params.get(name, {}), jax.tree.leaves(inner.get("__call__", ()))
        yield path + name, found[0].shape if found else (), count(own)
        if depth > 1:
            yield from list_layers(inner, own, depth - 1, f"{path}{name}/")


def count(params: Any) -> int:
    """The number of trained scalars."""
    return sum(math.prod(x.shape) for x in jax.tree.leaves(params))


def train_memory(task: Any, image: jax.ShapeDtypeStruct, batch_size: int) -> str:
    """What XLA plans for the gradient of a batch: parameters, gradients and activations."""
    shape = (batch_size, *image.shape[1:])
    batch = {
        "image": jax.ShapeDtypeStruct(shape, jnp.float32),
        "label": jax.ShapeDtypeStruct(shape[:3], jnp.int32),
        "valid": jax.ShapeDtypeStruct(shape[:1], jnp.bool_),
    }
    key = jax.eval_shape(lambda: jax.random.key(0))
    variables = dict(jax.eval_shape(task.init, key, batch))
    params = variables.pop("params")
    grad = jax.jit(jax.grad(task.loss, has_aux=True))
    plan = grad.lower(params, variables, batch, key).compile().memory_analysis()
    if plan is None:
        return "not known on this backend"
    size = plan.argument_size_in_bytes + plan.output_size_in_bytes + plan.temp_size_in_bytes
    return f"{size / 2**20:,.0f} MiB"


def receptive_field(model: Any, channels: int, side: int = 512) -> str:
    """The rows of the input that reach the output pixel at the centre, in words.

    A NaN reaches whatever it has a path to, whatever the weights: the first and last rows that turn
    the pixel into NaN are found by bisection.
    """
    height = next(n for n in range(side, 10**9) if is_legal(model, n))
    width = model.input_size(1)
    variables = jax.jit(
        lambda key: model.init(key, jnp.zeros((1, width, width, channels)), train=False)
    )(jax.random.key(0))
    row = model.output_size(height) // 2

    @jax.jit
    def reaches(first: jax.Array, last: jax.Array) -> jax.Array:
        rows = jnp.arange(height)
        inside = (rows >= first) & (rows < last)
        image = jnp.where(inside[None, :, None, None], jnp.nan, 0.0)
        image = jnp.broadcast_to(image, (1, height, width, channels))
        logits = model.apply(variables, image, train=False)["logits"]
        return jnp.isnan(logits[0, row]).any()

    first = bisect(lambda n: not reaches(0, n + 1), height)  # the fewest rows from the top
    last = height - 1 - bisect(lambda n: not reaches(height - 1 - n, height), height)
    if first == 0 and last == height - 1:
        return f"the whole image, or at least {height} rows"
    return f"{last - first + 1} rows, for the output pixel at the centre"


def bisect(before: Callable[[int], Any], size: int) -> int:
    """The first n in [0, size) for which `before(n)` is false, given that it is monotone."""
    low, high = 0, size - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if before(middle) else (low, middle)
    return low


if __name__ == "__main__":
    cli.run(main, define_flags)
