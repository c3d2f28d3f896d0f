"""Hand a trained run on: as a program that runs without segjax, or as weights by name.

    python -m segjax.export --workdir=runs/unet --format=stablehlo --output=out/
    python -m segjax.export --workdir=runs/unet --format=safetensors --output=out/

`stablehlo` writes model.stablehlo, a program for CPU, CUDA and TPU with the weights in it, which
`jax.export.deserialize(file_bytes).call(image)` runs: float32 [b, H, W, C] in [0, 1] of any b gives
'label' int32 [b, H, W] and 'prob' float32 [b, H, W, classes]. `safetensors` writes
model.safetensors, every variable under its path. Both write MODEL_CARD.md beside.
"""

import itertools
import json
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jax import export
from safetensors.numpy import save

from segjax import cli, runs, workdir
from segjax.core import Experiment
from segjax.errors import InputError, choose
from segjax.weights.input import name_of
from segjax.weights.keymap import flatten

PLATFORMS = ("cpu", "cuda", "tpu")
FILES = {"stablehlo": "model.stablehlo", "safetensors": "model.safetensors"}
CARD = "MODEL_CARD.md"


def define_flags() -> None:
    del flags.FLAGS.config  # a run knows its config
    flags.DEFINE_string("workdir", None, "Folder of the trained run.")
    flags.DEFINE_enum("format", "stablehlo", list(FILES), "What to write.")
    flags.DEFINE_string("output", None, "Folder for the files; created if needed.")
    flags.DEFINE_string("size", "256x256", "HEIGHTxWIDTH of the images of a stablehlo program.")
    flags.DEFINE_integer("step", None, "Checkpoint to use; by default the best.")
    flags.DEFINE_bool("overwrite", False, "Replace files that exist already.")
    cli.define_trust()


def main() -> int:
    given = flags.FLAGS
    for name in ("workdir", "output"):
        if not given[name].value:
            raise InputError(f"--{name} is missing; see --help.")
    sides = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", given.size)
    if not sides:
        raise InputError(f"--size is HEIGHTxWIDTH, such as 256x256, not {given.size!r}.")
    return run(
        Path(given.workdir),
        Path(given.output),
        format=given.format,
        size=(int(sides[1]), int(sides[2])),
        step=given.step,
        overwrite=given.overwrite,
        trust_config=given.trust_config,
    )


def run(
    path: Path,
    output: Path,
    *,
    format: str = "stablehlo",
    size: tuple[int, int] = (256, 256),
    step: int | None = None,
    overwrite: bool = False,
    trust_config: bool = False,
) -> int:
    """Export the run in a workdir to the folder `output`; the exit status."""
    name = choose(FILES, format, "--format")
    there = [file for file in (name, CARD) if (output / file).exists()]
    if there and not overwrite:
        raise InputError(
            f"{output} already holds {' and '.join(there)}: choose another --output, or replace "
            "them with --overwrite."
        )
    trained = runs.load(path, step, trust_config=trust_config)
    facts = trained.experiment.facts
    if not facts.get("class_names") or facts.get("dimensions", 2) != 2:
        raise InputError(
            f"The run in {path} ({trained.config_file}) does not label images, and segjax.export "
            "writes networks that do."
        )
    text = model_card(trained, format, size)
    workdir.make_folder(output, "--output")
    if format == "stablehlo":
        blob = export_stablehlo(
            serving(trained.experiment), trained.variables, (*size, facts["channels"])
        )
        workdir.write_whole(output / name, blob)
    else:
        arrays = arrays_of(trained.variables)
        about = {"format": "segjax", "config": trained.config_file, "step": str(trained.step)}
        if seen := name_of(facts["input"]):
            about["input"] = seen
        workdir.write_whole(output / name, save(arrays, about))
    workdir.write_whole(output / CARD, text.encode())
    print(f"Exported step {trained.step} of {path} to {output / name}, described in {CARD}.")
    return 0


def serving(experiment: Experiment) -> Callable[[Any, jax.Array], dict[str, jax.Array]]:
    """(variables, image) -> 'label' and 'prob' of the image's size, as the run predicts them."""
    assert experiment.predictor is not None
    apply = experiment.predictor.apply

    def predict(variables: Any, image: jax.Array) -> dict[str, jax.Array]:
        prob = apply(variables, image)["prob"]
        return {"label": jnp.argmax(prob, -1).astype(jnp.int32), "prob": prob}

    return predict


def export_stablehlo(
    function: Callable[[Any, jax.Array], Any], variables: Any, shape: tuple[int, ...]
) -> bytes:
    """`function(variables, image)` as a program for every platform, its variables within.

    The program takes float32 [b, *shape] for any b. `jax.export.deserialize(bytes).call(image)`
    runs it, and so does whatever runs StableHLO.
    """
    variables = jax.tree.map(jnp.asarray, variables)
    batch = export.symbolic_shape("b")
    image = jax.ShapeDtypeStruct((*batch, *shape), jnp.float32)
    program = jax.jit(lambda image: function(variables, image))
    return bytes(export.export(program, platforms=PLATFORMS)(image).serialize())


def arrays_of(variables: Any) -> dict[str, np.ndarray]:
    """Every variable by its path, 'params/down0/conv1/kernel', laid out as safetensors needs it."""
    return {path: np.asarray(x, order="C") for path, x in flatten(variables).items()}


def model_card(trained: runs.Run, format: str, size: tuple[int, int]) -> str:
    """What the network is, takes and gives, and how good it was, in Markdown."""
    path, model, facts = trained.path, trained.experiment.model, trained.experiment.facts
    params = sum(x.size for x in jax.tree.leaves(trained.variables["params"]))
    legal = legal_sides(model, size)
    mean, std, order = (facts["input"][name] for name in ("mean", "std", "order"))
    shown = "image" if order is None else f"image[..., {list(order)}]"
    channels, names = facts["channels"], facts["class_names"]
    if format == "stablehlo":
        takes = (
            f"float32 `[b, {size[0]}, {size[1]}, {channels}]` in [0, 1], any b; normalisation and "
            "mirrored borders, where the network needs them, are part of the program"
        )
        gives = f"`label` int32 `[b, {size[0]}, {size[1]}]`, `prob` float32, the same by class"
    else:
        takes = f"float32 `[b, H, W, {channels}]`, normalised as below"
        gives = "`logits` by class, as the model of the config returns them"
    if facts.get("scale", 1) != 1:
        takes += f"; of images at {facts['scale']:g} times their size"
    if facts.get("shrink"):
        takes += f"; larger images were shrunk to {' x '.join(map(str, facts['eval_size']))}"
    figures = metrics(path, trained.step)
    rows = "\n".join(
        f"| {split} | {name} | {'absent' if x is None else f'{x:.4f}'} |"
        for split, values in figures.items()
        for name, x in values.items()
    )
    values = json.dumps(cli.plain_values(trained.config), indent=2)
    return textwrap.dedent("""\
        # {name}

        | | |
        |---|---|
        | model | {name}, {params:,} parameters |
        | config | {config_file} |
        | commit | {commit} |
        | step | {step} |
        | input | {takes} |
        | output | {gives} |
        | legal sides of the network's input | {legal} |
        | normalisation | ({shown} - {mean}) / {std} |
        | classes | {classes} |

        ## Figures of the run at this step

        {figures}

        ## Values of the config

        ```json
        {values}
        ```
        """).format(
        name=type(model).__name__,
        params=params,
        config_file=trained.config_file,
        commit=commit(path),
        step=trained.step,
        takes=takes,
        gives=gives,
        legal=legal,
        mean=mean,
        std=std,
        shown=shown,
        classes=", ".join(f"{i} {name}" for i, name in enumerate(names)),
        figures=f"| split | figure | value |\n|---|---|---|\n{rows}" if rows else "None.",
        values=values,
    )


def legal_sides(model: Any, size: tuple[int, int], count: int = 5) -> str:
    """The first legal sides from the smaller of `size` on."""
    legal = (
        n for n in range(min(size), 10**6) if model.input_size(max(model.output_size(n), 1)) == n
    )
    found = [next(legal) for _ in range(count)]
    steps = {b - a for a, b in itertools.pairwise(found)}
    if steps == {1}:
        return "any"
    return f"{', '.join(map(str, found))}, ..."


def metrics(path: Path, step: int) -> dict[str, dict[str, float | None]]:
    """The figures that the run logged at a step, by split."""
    entries = workdir.read_lines(path / "metrics.jsonl")
    number = (int, float, type(None))  # None: not finite
    return {
        entry["split"]: {k: v for k, v in entry.items() if k not in ("split", "step")}
        for entry in entries
        if entry.get("step") == step and isinstance(entry.get("split"), str)
        if all(isinstance(v, number) for k, v in entry.items() if k != "split")
        if entry["split"] != "train"
    }


def commit(path: Path) -> str:
    """The git commit of the last start of the run."""
    last = [{}, *workdir.read_lines(path / "runs.jsonl")][-1]
    found = str(last.get("git_commit") or "unknown")
    return f"{found}, with changes" if last.get("git_dirty") else found


if __name__ == "__main__":
    cli.run(main, define_flags)
