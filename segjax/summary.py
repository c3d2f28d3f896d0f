"""What a config's model is made of and what it costs; all architectures side by side.

    python -m segjax.summary --config=configs/unet.py
    python -m segjax.summary --config=configs/unet_paper.py --size=572 --depth=1
    python -m segjax.summary --config=configs/unet.py --measure
    python -m segjax.summary --all

Prints the layers, then parameters, FLOPs, output stride, legal sizes, receptive field and memory.
`--measure` runs the network and finds the receptive field once more, from gradients. `--all` prints
one row for each network of the tables in `segjax.models` and `segjax.backbones`, as Markdown where
it is piped.
"""

import functools
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from rich.console import Console
from rich.progress import track
from rich.table import Table

from segjax import cli
from segjax.analysis.cost import count, counted, deepest_stride, products
from segjax.analysis.receptive_field import Field, analytic, measured
from segjax.analysis.walk import trace
from segjax.errors import InputError

WIDE = 2048  # rows of the image that a receptive field is looked for in, if few do not hold it
NOTE = """GFLOPs: multiplications and additions of the convolutions and matrix products of one image
of that input, those with padding included. Stride: input rows for a row of the deepest map.
Receptive field: rows of the image that an output row depends on, from the first to the last; "all
of N": every output row depends on all of them in an image that high; "over N": those in the middle
do, and those at the ends do not reach the other end. A backbone's field and stride are those of its
last map."""


def define_flags() -> None:
    flags.DEFINE_bool("all", False, "Compare all architectures instead of summarising a config.")
    flags.DEFINE_integer(
        "size", 256, "Side of the input; raised to the next legal side.", lower_bound=1
    )
    flags.DEFINE_bool("measure", False, "Measure the receptive field too: runs the network.")
    flags.DEFINE_integer("depth", 2, "How deep to list nested modules.", lower_bound=1)


def main() -> int:
    if flags.FLAGS.all:
        return compare()
    size, depth = flags.FLAGS.size, flags.FLAGS.depth
    if not cli.CONFIG.value:
        raise InputError("Say what to summarise, such as --config=configs/unet.py; see --help.")
    module, _ = cli.load_config(cli.config_source())
    config = cli.CONFIG.value
    experiment = cli.build(module, config)
    model, facts = experiment.model, experiment.facts
    channels = facts.get("seen_channels", facts["channels"])  # of what the network sees
    side = next(n for n in range(size, 10**9) if is_legal(model, n))
    sides = (1, *[side] * facts.get("dimensions", 2))
    image = jax.ShapeDtypeStruct((*sides, channels), jnp.float32)
    console = Console()
    whole = (1, *facts.get("eval_size", sides[1:]), facts["channels"])  # which training crops
    memory = train_memory(
        experiment.task, jax.ShapeDtypeStruct(whole, jnp.uint8), config.batch_size
    )
    console.print(*tables(model, image, memory, config.batch_size, depth))
    if flags.FLAGS.measure:
        with console.status("Measuring the receptive field"):
            found = measured_field(model, channels, len(sides) - 1)
        console.print("receptive field, measured:", found)
    return 0


def is_legal(model: Any, side: int) -> bool:
    """Whether the model takes images of this side."""
    return model.input_size(max(model.output_size(side), 1)) == side


def wide_side(model: Any) -> int:
    """The first legal side from WIDE on; 0 if there is none."""
    return next((n for n in range(WIDE, 2 * WIDE) if is_legal(model, n)), 0)


def tables(
    model: Any, image: jax.ShapeDtypeStruct, memory: str, batch_size: int, depth: int
) -> tuple[Table, Table]:
    """The layers of the model; what it costs for one image, and a training step for a batch."""

    variables = shapes_of(model, image)
    layers: list[tuple[str, tuple[int, ...], int]] = []

    def traced(variables: Any, image: jax.Array) -> Any:
        out, state = model.apply(variables, image, train=False, capture_intermediates=True)
        layers.extend(list_layers(state["intermediates"], variables["params"], depth))
        return out

    logits = jax.eval_shape(traced, variables, image)
    listing = Table("layer", "output", "parameters", title="Layers", title_justify="left")
    for path, shape, parameters in layers:
        listing.add_row(path, " x ".join(map(str, shape[1:])), f"{parameters:,}")
    height, output = image.shape[1], logits["logits"].shape
    more = next((n for n in range(512, WIDE) if is_legal(model, height + n)), 0)
    forward = functools.partial(logits_of, model)
    flops = products(trace(forward, variables, image).jaxpr)
    field = receptive_field(forward, variables, image.shape[1:], wide_side(model))

    table = Table(title=type(model).__name__, title_justify="left", show_header=False)
    rows = {
        "input": " x ".join(map(str, image.shape[1:])),
        "output": " x ".join(map(str, output[1:])),
        "parameters": f"{count(variables['params']):,}",
        "FLOPs, one image": f"{flops / 1e9:.3g} G (multiply and add counted as two)",
        "stride of the deepest map": deepest_stride(forward, variables, image.shape[1:], more),
        "legal sizes": legal_sizes(model),
        "receptive field": f"{field}, rows of the image",
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


def train_memory(task: Any, image: jax.ShapeDtypeStruct, batch_size: int) -> str:
    """What XLA plans for the gradient of a batch: parameters, gradients and activations."""
    shape = (batch_size, *image.shape[1:])
    batch = {
        "image": jax.ShapeDtypeStruct(shape, image.dtype),
        "label": jax.ShapeDtypeStruct(shape[:-1], jnp.int32),
        "mask": jax.ShapeDtypeStruct(shape[:-1], jnp.bool_),
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


def shapes_of(model: Any, image: Any) -> Any:
    """The shapes of the variables of a model for such images."""
    init = functools.partial(model.init, train=False)
    return jax.eval_shape(init, jax.random.key(0), image)


def logits_of(model: Any, variables: Any, image: Any) -> Any:
    return model.apply(variables, image, train=False)["logits"]


def receptive_field(function: Any, variables: Any, shape: Sequence[int], wide: int) -> str:
    """The rows of the image that an output row depends on, in words.

    `function(variables, image)` is a map; the image is [1, *shape], or if that does not hold the
    field, `wide` rows high (0: not tried).
    """
    words = ""
    for height in [shape[0], wide][: 2 if wide else 1]:
        image = jax.ShapeDtypeStruct((1, height, *shape[1:]), jnp.float32)
        field = analytic(function, variables, image)
        words = in_words(field)
        if len(field.inner):
            break
    return words


def measured_field(model: Any, channels: int, dimensions: int = 2) -> str:
    """How many rows, from the first to the last, have a gradient of an output row of each kind.

    The weights are initial ones with noise, because zeros would hide what is behind them.
    """
    forward = functools.partial(logits_of, model)
    narrow = next(n for n in range(1, 10**9) if is_legal(model, n))
    across = [narrow] * (dimensions - 1)
    image = jax.ShapeDtypeStruct((1, narrow, *across, channels), jnp.float32)
    variables = shapes_of(model, image)
    tall = next(n for n in range(512, 10**9) if is_legal(model, n))
    for height in (narrow, tall, wide_side(model) or tall):
        image = jax.ShapeDtypeStruct((1, height, *across, channels), jnp.float32)
        field = analytic(forward, variables, image)
        if len(field.inner):
            break
    else:
        return f"every output row sees a border of an image of {height} rows"
    rows = list({int(field.high[i] - field.low[i]): int(i) for i in field.inner}.values())
    generator = np.random.default_rng(0)
    zeros = jnp.zeros((1, narrow, *across, channels))
    init = jax.jit(functools.partial(model.init, train=False))
    variables = init(jax.random.key(0), zeros)
    moved = jax.tree.map(
        lambda x: x + 0.02 * generator.standard_normal(x.shape, np.float32), variables["params"]
    )
    seen = measured(forward, {**variables, "params": moved}, image.shape, sorted(rows))
    spans = {int(np.ptp(np.flatnonzero(row))) + 1 for row in seen}
    return f"{' or '.join(map(str, sorted(spans)))} rows"


def in_words(field: Field) -> str:
    """The size of a receptive field, or its sizes if they differ from position to position."""
    if len(field.inner):
        sizes = sorted({*field.sizes})
        joint = " or " if len(sizes) == 2 else " to "
        return f"{sizes[0]}{joint}{sizes[-1]}, by position" if sizes[1:] else f"{sizes[0]}"
    rows, most = field.support.shape[1], max(field.high - field.low) + 1
    if field.whole:
        return f"all of {rows}"
    return f"over {rows}" if most == rows else f"up to {most}"


def legal_sizes(model: Any, limit: int = 4096) -> str:
    """Which sides of an image a model takes, in words."""
    legal = [n for n in range(1, limit) if is_legal(model, n)]
    steps = {b - a for a, b in itertools.pairwise(legal)}
    if len(legal) == 1:
        return f"{legal[0]} only"
    if len(steps) != 1:
        return "irregular" if legal else f"none below {limit}"
    (step,), first = steps, legal[0]
    start = f", from {first}" if first > step else ""
    if step == 1:
        return "any" + start
    return (f"{step}k + {first % step}" if first % step else f"multiples of {step}") + start


def compare() -> int:
    """Print a row for each published network, and one for each of the backbones."""
    from segjax.backbones.table import BACKBONES
    from segjax.models.table import MODELS

    console, errors = Console(), Console(stderr=True)
    work = [(name, entry, name in MODELS) for name, entry in {**MODELS, **BACKBONES}.items()]
    rows: dict[bool, list[tuple[str, ...]]] = {True: [], False: []}
    for name, entry, segments in track(work, "Tracing", console=errors, transient=True):
        rows[segments].append(row(name, entry, segments))
    for title, found in (("Segmentation networks", rows[True]), ("Backbones", rows[False])):
        if console.is_terminal:
            table = Table(*HEADER, title=title, title_justify="left")
            for cells in found:
                table.add_row(*cells)
            console.print(table)
        else:
            print(f"## {title}\n\n| {' | '.join(HEADER)} |\n{'| --- ' * len(HEADER)}|")
            print(*(f"| {' | '.join(cells)} |" for cells in found), sep="\n", end="\n\n")
    print(NOTE)
    return 0


HEADER = (
    *("network", "parameters", "reference", "equal", "input", "GFLOPs", "stride"),
    *("receptive field", "legal sizes", "paper", "reference from"),
)


def row(name: str, entry: Any, segments: bool) -> tuple[str, ...]:
    """The cells of a published network; a backbone's field and stride are of its deepest map."""
    model = entry.make()
    image = jax.ShapeDtypeStruct((1, *entry.input), jnp.float32)
    variables = shapes_of(model, image)
    forward = functools.partial(logits_of, model)
    closed = trace(forward, variables, image)
    flops = products(closed.jaxpr) / 1e9
    parameters = counted(variables["params"], entry.uncounted)
    if segments:
        function, wide = forward, wide_side(model)
        more = next((n for n in range(512, WIDE) if is_legal(model, entry.input[0] + n)), 0)
    else:
        backbone = getattr(model, "backbone", model)
        function, wide, more = functools.partial(deepest_of, backbone), WIDE, 512
        variables = shapes_of(backbone, image)
    return (
        name,
        f"{parameters:,}",
        f"{entry.parameters:,}",
        agreement(parameters, entry),
        " x ".join(map(str, entry.input)),
        f"{flops:.3g}" if flops < 100 else f"{flops:,.0f}",
        deepest_stride(function, variables, entry.input, more),
        receptive_field(function, variables, entry.input, wide),
        legal_sizes(model) if segments else "",
        entry.paper,
        entry.source,
    )


def agreement(parameters: int, entry: Any) -> str:
    """Whether a count is the published one, once what that network never uses is left out."""
    if parameters + entry.unused != entry.parameters:
        return "NO"
    return f"yes, without {entry.unused:,} unused" if entry.unused else "yes"


def deepest_of(backbone: Any, variables: Any, image: Any) -> Any:
    maps = backbone.apply(variables, image, train=False)
    return maps[max(name for name in maps if re.fullmatch("c[0-9]", name))]


if __name__ == "__main__":
    cli.run(main, define_flags, only_prints=True)
