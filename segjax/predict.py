"""Segment images with a trained run.

    python -m segjax.predict --workdir=runs/unet --images='photos/*.png' --output=out/

`--images` is a file, a folder or a quoted pattern; every page of a TIFF stack is segmented, or the
volume that its pages are; runs that see volumes take NIfTI files too. Each image gets
NAME_label.png (class ids, with a palette to look at), NAME_overlay.png and, if asked for,
NAME_prob.npy (float32 [H, W, classes]); a volume NAME_label.tif, or NAME_label.nii.gz with the
geometry of its file; a run that draws images NAME_image.png. What evaluation sees whole is seen
whole, larger images tile by tile; a file may hold --max_pixels. A file that cannot be read is
reported and skipped; the exit status is then 1.
"""

import functools
import glob
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from rich.console import Console
from rich.progress import Progress

from segjax import cli, parallel, runs, workdir
from segjax.core import Experiment
from segjax.data import images, nifti
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
        "tile",
        None,
        "Side of what one tile labels, in pixels (384); for large images.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "margin", None, "Context around a tile on every side, in pixels (96).", lower_bound=0
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
    tile: int | None = None,
    margin: int | None = None,
    max_pixels: int = images.MAX_PIXELS,
    trust_config: bool = False,
) -> int:
    """Segment the images of a path, folder or pattern by the run in a workdir; the exit status."""
    files = find_images(pattern)
    names = output_names(files)
    if not overwrite:
        refuse_existing(output, names)
    trained = runs.load(path, step, trust_config=trust_config)
    predict = of_run(trained, tile, margin)
    if probabilities and not trained.experiment.facts.get("class_names"):
        raise InputError(f"The run in {path} has no classes, and so no --probabilities.")
    print(f"Step {trained.step} of {path}.")
    workdir.make_folder(output, "--output")
    failures = 0
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("Segmenting", total=len(files))
        for file, name in zip(files, names, strict=True):
            try:
                found = read(file, trained.experiment.facts, max_pixels)
            except InputError as error:
                found = []
                failures += 1
                console.print(f"Skipped: {error}", markup=False)
            for record, suffix in zip(found, page_suffixes(len(found)), strict=True):
                if record.get("turned") and suffix in ("", "_0000"):
                    note = "its orientation tag is not applied; the results lie as its pixels do."
                    console.print(printable(f"{file}: {note}"), markup=False)
                results = predict(record)
                write(trained.experiment, results, output / (name + suffix), probabilities)
            progress.advance(bar)
    print(f"Segmented {len(files) - failures} of {len(files)} files into {printable(output)}.")
    if failures:
        print(f"segjax: files that could not be read: {failures}.", file=sys.stderr)
    return 1 if failures else 0


def of_run(
    trained: runs.Run, tile: int | None = None, margin: int | None = None
) -> Callable[[Mapping[str, Any]], dict[str, np.ndarray]]:
    """record -> the run's results in the pixels of the record's 'image' [H, W, C].

    An image that evaluation sees whole is seen whole, and so gives what evaluation has scored;
    larger ones are taken tile by tile, `tile` and `margin` in pixels of what the network sees: 384
    and 96 by default, of volumes as much as evaluation sees, an eighth of it margin. Tiles are
    spread over the devices.
    """
    predictor = trained.experiment.predictor
    if predictor is None:
        raise InputError(f"The config of the run in {trained.path} says no way to predict.")
    mesh = parallel.data_mesh()
    whole, split = parallel.replicated(mesh), parallel.sharded(mesh)
    variables = jax.device_put(trained.variables, whole)

    @functools.partial(jax.jit, static_argnums=2, in_shardings=(whole, split))
    def apply(variables: Any, images: jax.Array, margin: int) -> Any:
        return predictor.apply(variables, images, margin)

    def predict(record: Mapping[str, Any]) -> dict[str, np.ndarray]:
        image = predictor.prepare(record)
        sides, border = predictor.size, 0
        if any(n > most for n, most in zip(image.shape, sides, strict=False)):
            solid = len(sides) == 3
            border = margin if margin is not None else min(sides) // 8 if solid else 96
            inner = tile or (None if solid else 384)
            if inner is not None:  # or less, of images that are low or narrow
                sides = tuple(min(inner, n + -n % 64) + 2 * border for n in image.shape[:-1])
        maps = overlap_tile(
            lambda tiles: apply(variables, tiles, border), image, sides, border, mesh.size
        )
        return predictor.finish(maps, record)

    return predict


def read(file: Path, facts: Mapping[str, Any], max_pixels: int) -> list[dict[str, Any]]:
    """The records of a file: its pages, or the volume that they are."""
    if nifti.is_nifti(file):
        if facts.get("dimensions", 2) != 3:
            raise InputError(f"{file} is a volume, and the run sees images.")
        return [nifti.read(file, max_pixels)]
    pages, _, turned = images.load_image(file, max_pixels)
    if facts.get("dimensions", 2) == 2:
        return [{"image": page, "name": str(file), "turned": turned} for page in pages]
    if len({page.shape for page in pages}) > 1:
        raise InputError(f"{file} holds pages of several sizes, which are no volume.")
    return [{"image": np.stack(pages), "name": str(file), "turned": turned}]


def write(
    experiment: Experiment, results: Mapping[str, np.ndarray], path: Path, probabilities: bool
) -> None:
    """Write the results of one image and, if wanted, its probabilities."""
    assert experiment.predictor is not None
    try:
        experiment.predictor.write(results, path)
        if probabilities:
            np.save(f"{path}_prob.npy", results["prob"])
    except OSError as error:
        raise InputError(f"The results of {path.name} cannot be written: {error}.") from error


def find_images(pattern: str) -> list[Path]:
    """The files of a path, a folder or a pattern, sorted; raises `InputError` if there is none.

    What is neither a file nor a folder, such as a link that leads nowhere, is among them: reading
    says what it is.
    """
    path = Path(pattern)
    if path.is_dir():
        suffixes = (*images.SUFFIXES, *nifti.SUFFIXES)
        found = [p for p in path.iterdir() if p.name.lower().endswith(suffixes)]
        wanted = f"no image ({', '.join(suffixes)}) in the folder {path}"
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
    stems = [path.stem.removesuffix(".nii") for path in files]
    names = [
        stem if stems.count(stem) == 1 else path.name.replace(".", "_")
        for path, stem in zip(files, stems, strict=True)
    ]
    if len(set(names)) == len(names):
        return names
    return ["_".join(path.parts).lstrip("/_").replace(".", "_") for path in files]


def page_suffixes(pages: int) -> Iterator[str]:
    """Nothing for a single page, '_0000', '_0001', ... for a stack."""
    return iter([""]) if pages == 1 else (f"_{i:04d}" for i in range(pages))


def refuse_existing(output: Path, names: list[str]) -> None:
    """Raise `InputError` if a result would replace a file."""
    there = {path.name for path in output.iterdir()} if output.is_dir() else set()
    kinds = ("label.png", "label.tif", "label.nii.gz", "image.png")
    clash = [
        name
        for name in names
        if any(f"{name}{page}_{kind}" in there for page in ("", "_0000") for kind in kinds)
    ]
    if clash:
        raise InputError(
            f"{output} already holds results for {len(clash)} of the images, such as {clash[0]}: "
            "choose another --output, or replace them with --overwrite."
        )


if __name__ == "__main__":
    cli.run(main, define_flags)
