"""Read data sets through and report what they hold and what is wrong with them.

    python -m segjax.data.check --config=configs/unet.py

checks every split of the config's data; the exit status is 1 if anything
needs a look. A folder of the user's own files is checked file by file when it is prepared.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from segjax.data import source as src
from segjax.errors import InputError


class Report(NamedTuple):
    """What one split holds.

    Attributes:
      class_names: one name a class.
      examples: number of records.
      sizes: (height, width), or (depth, height, width) -> number of images.
      kinds: (dtype name, channels) -> number of images.
      pixels: int64 [C], pixels of each class.
      images: int64 [C], images that hold the class.
      ignored: number of ignored pixels.
      outside: label value that is no class -> (pixels, name of the first record with it).
      unreadable: (name or number, reason) of records that cannot be read.
      misfits: (name, reason) of records whose arrays do not fit together.
      contents: digest of the image -> names of the records with it.
    """

    class_names: tuple[str, ...]
    examples: int
    sizes: Counter[tuple[int, ...]]
    kinds: Counter[tuple[str, int]]
    pixels: np.ndarray
    images: np.ndarray
    ignored: int
    outside: dict[int, tuple[int, str]]
    unreadable: list[tuple[str, str]]
    misfits: list[tuple[str, str]]
    contents: dict[str, list[str]]

    @property
    def total(self) -> int:
        """Number of label pixels."""
        return int(self.pixels.sum()) + self.ignored + sum(n for n, _ in self.outside.values())


def check(source: src.Source, num_classes: int | None = None, title: str = "the set") -> Report:
    """Read every record of the source.

    Args:
      source: the split to check.
      num_classes: classes the model has; default: as many as the source names.
      title: what the progress bar calls it.
    """
    n = num_classes or len(source.class_names)
    names = (*source.class_names, *(f"class_{i}" for i in range(len(source.class_names), n)))[:n]
    report = Report(
        class_names=names,
        examples=len(source.records),
        sizes=Counter(),
        kinds=Counter(),
        pixels=np.zeros(n, np.int64),
        images=np.zeros(n, np.int64),
        ignored=0,
        outside={},
        unreadable=[],
        misfits=[],
        contents={},
    )
    ignored = 0
    for i in src.progress(range(report.examples), f"Checking {title}"):
        try:
            record = source.records[i]
        except Exception as e:  # whatever a damaged record raises, the others are still checked
            report.unreadable.append((f"record {i}", f"{type(e).__name__}: {e}"))
            continue
        name, image, label = record["name"], record["image"], record["label"]
        report.sizes[image.shape[:-1]] += 1
        report.kinds[image.dtype.name, image.shape[-1]] += 1
        for key in ("label", "instances"):
            if key in record and record[key].shape != image.shape[:-1]:
                found, wanted = written(record[key].shape), written(image.shape[:-1])
                report.misfits.append((name, f"{key} is {found} pixels, the image {wanted}"))
        digest = hashlib.sha256(str((image.shape, image.dtype)).encode() + image.tobytes())
        report.contents.setdefault(digest.hexdigest(), []).append(name)
        values, counts = np.unique(label, return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            if value == source.ignore:
                ignored += count
            elif 0 <= value < n:
                report.pixels[value] += count
                report.images[value] += 1
            else:
                pixels, first = report.outside.get(value, (0, name))
                report.outside[value] = (pixels + count, first)
    return report._replace(ignored=ignored)


def written(size: Sequence[int]) -> str:
    """'640x480' of a height of 480 and a width of 640; the depth of a volume comes last."""
    return "x".join(map(str, reversed(size)))


def duplicates(reports: Mapping[str, Report]) -> list[str]:
    """Images that occur more than once in or across splits, one `split/name = split/name` each."""
    places: dict[str, list[str]] = {}
    for split, report in reports.items():
        for digest, names in report.contents.items():
            places.setdefault(digest, []).extend(f"{split}/{name}" for name in names)
    return [" = ".join(same) for same in places.values() if len(same) > 1]


def problems(reports: Mapping[str, Report]) -> list[str]:
    """Everything that needs a look, one line each; empty if the data are in order."""
    lines = []
    for split, report in reports.items():
        found = [f"{split}/{name}: cannot be read ({why})" for name, why in report.unreadable]
        found += [f"{split}/{name}: {why}" for name, why in report.misfits]
        n = len(report.class_names)
        found += [
            f"{split}/{name}: label {value} of {n} classes ({pixels} pixels in the split)"
            for value, (pixels, name) in sorted(report.outside.items())
        ]
        if len(report.kinds) > 1:
            kinds = ", ".join(f"{k} {dtype} x {c}" for (dtype, c), k in report.kinds.items())
            found.append(f"{split}: images of several kinds ({kinds})")
        lines += found
    longest = max((r.class_names for r in reports.values()), key=len)
    seen = {i for r in reports.values() for i in np.flatnonzero(r.pixels)}
    absent = [f"class {i} ({name}) occurs in no split" for i, name in enumerate(longest)]
    lines += [line for i, line in enumerate(absent) if i not in seen]
    same = [f"same image: {line}" for line in duplicates(reports)]
    return lines + same


def print_report(
    reports: Mapping[str, Report], amiss: Sequence[str], console: Console | None = None
) -> None:
    """Print tables of the splits, their classes and what is amiss, a line each."""
    console = console or Console()
    table = Table("split", "examples", "sizes (HxW)", "images", "ignored", title="Splits")
    for split, r in reports.items():
        sizes = [
            "x".join(map(str, size)) + (f" ({k})" if len(r.sizes) > 1 else "")
            for size, k in r.sizes.most_common(3)
        ]
        kinds = [f"{dtype} x {c}" for dtype, c in r.kinds]
        ignored = f"{r.ignored / max(r.total, 1):.2%}"
        table.add_row(split, str(r.examples), ", ".join(sizes), ", ".join(kinds), ignored)
    console.print(table)

    table = Table(
        "id", "class", title="Classes: share of the pixels, and of the images they are in"
    )
    for split in reports:
        table.add_column(split, justify="right")
    longest = max(reports.values(), key=lambda r: len(r.class_names)).class_names
    for i, name in enumerate(longest):
        cells = [
            f"{r.pixels[i] / max(r.total, 1):.2%}  {r.images[i] / max(r.examples, 1):.1%}"
            if i < len(r.class_names)
            else ""
            for r in reports.values()
        ]
        table.add_row(str(i), name, *cells)
    console.print(table)

    if not amiss:
        console.print("Nothing amiss.")
    for line in amiss:
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)


def main() -> int:
    """Check the sources of the config named by --config; the exit status."""
    from segjax import cli

    if not cli.CONFIG.value:
        raise InputError("Say what to check, such as --config=configs/unet.py.")
    module, _ = cli.load_config(cli.config_source())
    experiment = cli.build(module, cli.CONFIG.value)
    if not experiment.sources:
        raise InputError(f"The config {module.__file__} has no data to check.")
    reports = {split: check(source(), title=split) for split, source in experiment.sources.items()}
    amiss = problems(reports)
    try:
        experiment.train(0).close()
    except InputError as error:  # such as an image that is larger than the evaluation size
        amiss.append(f"a run with this config would not start: {error}")
    print_report(reports, amiss)
    return int(bool(amiss))


if __name__ == "__main__":
    from segjax import cli

    cli.run(main, only_prints=True)
