"""Look into a checkpoint of any library, or make it one of segjax.

    python -m segjax.weights inspect resnet50-0676ba61.pth
    python -m segjax.weights convert fcn_resnet50_coco-1167a1af.pth \\
        --config=configs/fcn_resnet.py --classes=21 --output=fcn_resnet50.safetensors

`inspect` lists names, shapes and types. `convert` fills the model of the config, reports every
array that is missing, left over or of another shape, and writes what `--config.init_from` reads;
this needs no more than the names, so it also checks whether a file fits.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags
from rich.console import Console
from rich.table import Table

from segjax import cli, workdir
from segjax.errors import InputError
from segjax.weights import read
from segjax.weights.families import FAMILIES, recognise, without_collections
from segjax.weights.keymap import fill, flatten

COMMANDS = ("inspect", "convert")


def define_flags() -> None:
    flags.DEFINE_string("output", None, "convert: the .safetensors file to write.")
    flags.DEFINE_integer("classes", None, "convert: how many classes the checkpoint has.")
    flags.DEFINE_integer("channels", 3, "convert: how many channels its images have.")
    flags.DEFINE_bool("overwrite", False, "convert: replace the file if it exists.")


def main(command: str = "", file: str = "") -> int:
    if command not in COMMANDS or not file:
        raise InputError("Say what to do: inspect FILE, or convert FILE --config=...; see --help.")
    path = Path(file)
    if not path.exists():
        raise InputError(f"{path} does not exist.")
    tensors = read.read(path)
    if command == "inspect":
        Console().print(listing(tensors, path.name))
        return 0
    return convert(path, without_collections(tensors))


def listing(tensors: Any, title: str) -> Table:
    """The arrays of a checkpoint by name, and how many numbers they are."""
    table = Table("name", "shape", "type", title=title, title_justify="left")
    for name, x in tensors.items():
        table.add_row(name, " x ".join(map(str, x.shape)) or "scalar", str(x.dtype))
    total = sum(x.size for x in tensors.values())
    table.caption = f"{len(tensors)} arrays, {total:,} numbers"
    return table


def convert(path: Path, tensors: Any) -> int:
    given = flags.FLAGS
    for name in ("config", "output", "classes"):
        if given[name].value is None:
            raise InputError(f"convert needs --{name}; see --help.")
    output = Path(given.output)
    if output.exists() and not given.overwrite:
        raise InputError(f"{output} exists: give another --output, or --overwrite.")
    module, _ = cli.load_config(cli.config_source())
    names = [str(i) for i in range(given.classes)]
    facts = {"class_names": names, "channels": given.channels}
    model = cli.build(module, cli.CONFIG.value, facts).model
    side = model.input_size(64)
    image = jax.ShapeDtypeStruct((1, side, side, given.channels), jnp.float32)
    variables = jax.eval_shape(
        lambda key, x: model.init(key, x, train=False), jax.random.key(0), image
    )
    family = recognise(variables, tensors)
    try:
        filled, _ = fill(variables, tensors, FAMILIES[family])
    except InputError as error:
        raise InputError(f"{path}, read as {family}: {error}") from error
    from safetensors.numpy import save

    seen = FAMILIES[family].input  # so that it is not forgotten on the way
    about = {"format": "segjax"} | ({"input": seen} if seen else {})
    workdir.write_whole(output, save(flatten(filled), about))
    print(f"{path} is of the family {family}; all {len(flatten(filled))} arrays are in {output}.")
    return 0


if __name__ == "__main__":
    cli.run(main, define_flags, words=2, only_prints=True)
