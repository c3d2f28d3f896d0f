"""Segment images with a trained run.

    python -m segjax.predict --workdir=runs/unet --images='photos/*.png' --output=out/

`--images` is a file, a folder or a quoted pattern; every page of a TIFF stack is segmented. Each
image gets NAME_label.png (class ids, with a palette to look at), NAME_overlay.png and, if asked
for, NAME_prob.npy (float32 [H, W, classes]). Images are processed tile by tile; a file may hold
--max_pixels. A file that cannot be read is reported and skipped; the exit status is then 1.
"""

import glob
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import jax
import numpy as np
from absl import flags
from PIL import Image
from rich.console import Console
from rich.progress import Progress

from segjax import cli, runs, visualize, workdir
from segjax.data import images
from segjax.errors import InputError, printable
from segjax.postprocess.overlap_tile import overlap_tile


def define_flags() -> None:
    del flags.FLAGS.config  # a run knows its config
    flags.DEFINE_string("workdir", None, "Folder of the trained run.")
    flags.DEFINE_string("images", None, "An image, a folder of images, or a quoted pattern.")
    flags.DEFINE_string("output", None, "Folder for the results; created if needed.")
    flags.DEFINE_integer("step", None, "Checkpoint to use; by default the best.")
    flags.DEFINE_bool("probabilities", False, "Also write NAME_prob.npy.")
    flags.DEFINE_bool("overwrite", False, "Replace results that exist already.")
    cli.define_trust()
    flags.DEFINE_integer(
        "tile", 384, "Side of the square that one tile labels, in pixels.", lower_bound=1
    )
    flags.DEFINE_integer(
        "margin", 96, "Context around a tile on every side, in pixels.", lower_bound=0
    )
    flags.DEFINE_integer(
        "max_pixels",
        images.MAX_PIXELS,
        "The most that all pages of a file may hold, of 8-bit colour: reading takes 12 bytes each.",
        lower_bound=1,
    )


def main() -> int:
    given = flags.FLAGS
    for name in ("workdir", "images", "output"):
        if not given[name].value:
            raise InputError(f"--{name} is missing; see --help.")
    return run(
        Path(given.workdir),
        given.images,
        Path(given.output),
        step=given.step,
        probabilities=given.probabilities,
        overwrite=given.overwrite,
        tile=given.tile,
        margin=given.margin,
        max_pixels=given.max_pixels,
        trust_config=given.trust_config,
    )


def run(
    path: Path,
    pattern: str,
    output: Path,
    *,
    step: int | None = None,
    probabilities: bool = False,
    overwrite: bool = False,
    tile: int = 384,
    margin: int = 96,
    max_pixels: int = images.MAX_PIXELS,
    trust_config: bool = False,
) -> int:
    """Segment the images of a path, folder or pattern by the run in a workdir; the exit status."""
    files = find_images(pattern)
    names = output_names(files)
    if not overwrite:
        refuse_existing(output, names)
    predict, card = load(path, step, trust_config)
    workdir.make_folder(output, "--output")
    colours = np.asarray(card["palette"], np.uint8)
    failures = 0
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("Segmenting", total=len(files))
        for file, name in zip(files, names, strict=True):
            try:
                pages, _, turned = images.load_image(file, max_pixels)
            except InputError as error:
                pages, turned = [], False
                failures += 1
                console.print(f"Skipped: {error}", markup=False)
            if turned:
                note = "its orientation tag is not applied; the results lie as its pixels do."
                console.print(printable(f"{file}: {note}"), markup=False)
            for page, suffix in zip(pages, page_suffixes(len(pages)), strict=True):
                prob = segment(predict, page, card["channels"], tile, margin, card.get("scale", 1))
                write(output, name + suffix, page, prob, colours, probabilities)
            progress.advance(bar)
    print(f"Segmented {len(files) - failures} of {len(files)} files into {printable(output)}.")
    if failures:
        print(f"segjax: files that could not be read: {failures}.", file=sys.stderr)
    return 1 if failures else 0


def load(
    path: Path, step: int | None = None, trust_config: bool = False
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """(predict, card) of a trained run.

    `predict` maps float32 tiles in [0, 1], [n, h, w, C], and the (height, width) wanted of their
    middle to class probabilities; `card` has class_names, palette and channels, and the scale at
    which the network sees images unless it is 1.
    """
    saved = workdir.read_config(path)
    if not saved["card"].get("class_names"):
        raise InputError(
            f"The run in {path} ({saved['config_file']}) has no classes: it draws images, and "
            "segjax.predict writes label maps; call its task's predict from Python."
        )
    if saved["card"].get("dimensions", 2) != 2:
        raise InputError(
            f"The run in {path} ({saved['config_file']}) segments volumes, and segjax.predict "
            "segments images, not volumes: call its task's predict from Python."
        )
    trained = runs.load(path, saved, step, trust_config)
    print(f"Step {trained.step} of {path}.")
    variables = jax.device_put(trained.variables, jax.devices()[0])

    @jax.jit
    def apply(variables: Any, batch: Any) -> jax.Array:
        return trained.task.predict(variables, batch)["prob"]

    def predict(tiles: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        count = len(tiles)
        label, valid = np.zeros((count, *size), np.int32), np.ones(count, bool)
        return np.asarray(apply(variables, {"image": tiles, "label": label, "valid": valid}))

    return predict, saved["card"]


def segment(
    predict: Callable[..., Any],
    image: np.ndarray,
    channels: int,
    tile: int,
    margin: int,
    scale: float = 1,
) -> np.ndarray:
    """Class probabilities float32 [H, W, K] of a uint8 or uint16 image [H, W, 1 or 3].

    A colour image becomes grey for a network that takes one channel, and the other way round. The
    network sees the image at `scale` times its size, as in training; `tile` and `margin` are in
    pixels of that, and the probabilities are interpolated back.
    """
    size = image.shape[1::-1]
    image = images.rescaled(image, scale)
    if image.shape[-1] == 3 and channels == 1:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    elif image.shape[-1] == 1 and channels == 3:
        image = np.repeat(image, 3, axis=-1)
    scaled = image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)
    side = tile + 2 * margin
    prob = overlap_tile(lambda tiles: predict(tiles, (tile, tile)), scaled, side, margin)
    return prob if scale == 1 else cv2.resize(prob, size, interpolation=cv2.INTER_LINEAR)


def write(
    output: Path,
    name: str,
    image: np.ndarray,
    prob: np.ndarray,
    colours: np.ndarray,
    save_prob: bool,
) -> None:
    """Write the label map, the overlay and, if wanted, the probabilities of one image."""
    labels = prob.argmax(-1).astype(np.uint8)
    picture = Image.fromarray(labels)
    picture.putpalette(colours.ravel().tolist())
    overlay = Image.fromarray(visualize.overlay(visualize.to_rgb(image[None])[0], labels, colours))
    try:
        picture.save(output / f"{name}_label.png")
        overlay.save(output / f"{name}_overlay.png")
        if save_prob:
            np.save(output / f"{name}_prob.npy", prob)
    except OSError as error:
        raise InputError(f"The results of {name} cannot be written: {error}.") from error


def find_images(pattern: str) -> list[Path]:
    """The files of a path, a folder or a pattern, sorted; raises `InputError` if there is none.

    What is neither a file nor a folder, such as a link that leads nowhere, is among them: reading
    says what it is.
    """
    path = Path(pattern)
    if path.is_dir():
        found = [p for p in path.iterdir() if p.suffix.lower() in images.SUFFIXES]
        wanted = f"no image ({', '.join(images.SUFFIXES)}) in the folder {path}"
    elif os.path.lexists(path):
        return [path]
    else:
        found = [Path(p) for p in glob.glob(pattern, recursive=True)]
        wanted = f"no file at {pattern}"
    found = sorted(p for p in found if not p.is_dir())
    if not found:
        raise InputError(f"There is {wanted}: give --images a file, a folder or a quoted pattern.")
    return found


def output_names(files: list[Path]) -> list[str]:
    """A name for each file: its stem, or its whole name where two files share a stem."""
    stems = [path.stem for path in files]
    names = [
        path.stem if stems.count(path.stem) == 1 else path.name.replace(".", "_") for path in files
    ]
    if len(set(names)) == len(names):
        return names
    return ["_".join(path.parts).lstrip("/_").replace(".", "_") for path in files]


def page_suffixes(pages: int) -> Iterator[str]:
    """Nothing for a single page, '_0000', '_0001', ... for a stack."""
    return iter([""]) if pages == 1 else (f"_{i:04d}" for i in range(pages))


def refuse_existing(output: Path, names: list[str]) -> None:
    """Raise `InputError` if a result would replace a file."""
    there = {path.name for path in output.glob("*_label.png")} if output.is_dir() else set()
    clash = [
        name for name in names if f"{name}_label.png" in there or f"{name}_0000_label.png" in there
    ]
    if clash:
        raise InputError(
            f"{output} already holds results for {len(clash)} of the images, such as {clash[0]}: "
            "choose another --output, or replace them with --overwrite."
        )


if __name__ == "__main__":
    cli.run(main, define_flags)
