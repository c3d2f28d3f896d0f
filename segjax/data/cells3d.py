"""Cells in volumes: generated confocal-like stacks of touching cells; needs no download.

For sparse annotation as 3D U-Net learns from it (Çiçek et al. 2016, arXiv:1606.06650): in the
training volumes only a few slices along each axis are labelled, every other voxel is ignored; the
validation volumes are labelled throughout. Voxels are cubes. Cells are stained in their membranes
and cytoplasm, not in their nuclei, which are as dark as the medium; light is lost with depth. Where
two cells touch, the label has a background sheet two voxels wide between them.

A record has `image` uint8 [D, H, W, 1], `label` uint8 [D, H, W] and `name`. Records are a list in
memory, made anew in a few seconds: six megabytes need no files, and what tfds keeps is images.
"""

from typing import Any, cast

import numpy as np
from scipy import ndimage

from segjax.data import source as src
from segjax.errors import InputError

CLASS_NAMES = ("background", "cell")
PALETTE = np.array([[0, 0, 0], [90, 200, 120]], np.uint8)

_SPLITS = {"train": 0, "val": 1}
_BLOCK = np.ones((3, 3, 3), bool)

Size = tuple[int, int, int]


def smooth_noise(rng: np.random.Generator, size: Size, sigma: float) -> np.ndarray:
    """Gaussian-filtered white noise [D, H, W] with mean 0 and standard deviation 1."""
    noise = ndimage.gaussian_filter(rng.standard_normal(size), sigma, mode="wrap")
    return (noise - noise.mean()) / noise.std()


def cell_map(rng: np.random.Generator, size: Size) -> np.ndarray:
    """Cell ids int32 [D, H, W], 0 = background; cells grow in clumps until they touch.

    Every cell is a warped ellipsoid; a voxel belongs to the cell whose scaled distance is smallest,
    if that is below 1, so cells overlap nowhere and share curved borders.
    """
    centres, radii = _places(rng, size)
    warp = [1.2 * smooth_noise(rng, size, 5.0) + 0.3 * smooth_noise(rng, size, 1.5) for _ in "zyx"]
    nearest = np.full(size, 1.0)
    ids = np.zeros(size, np.int32)
    for i, (c, r) in enumerate(zip(centres, radii, strict=True), 1):
        turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
        stretch = np.exp(rng.normal(0, 0.15, 3))
        stretch /= np.cbrt(np.prod(stretch))
        low, high = np.floor(c - 1.5 * r - 5), np.ceil(c + 1.5 * r + 5)
        box = tuple(
            slice(max(int(a), 0), min(int(b), n)) for a, b, n in zip(low, high, size, strict=True)
        )
        grid = np.mgrid[box] + 0.5
        away = np.stack([g + w[box] - x for g, w, x in zip(grid, warp, c, strict=True)], -1)
        distance = np.linalg.norm(away @ turn / (r * stretch), axis=-1)
        ids[box] = np.where(distance < nearest[box], i, ids[box])
        nearest[box] = np.minimum(nearest[box], distance)
    return ids


def _places(rng: np.random.Generator, size: Size) -> tuple[list[np.ndarray], list[float]]:
    """Centres and radii of cells, most of them close to another."""
    wanted = max(2, round(rng.uniform(34, 50) * np.prod(size) / (48 * 64 * 64)))
    centres: list[np.ndarray] = []
    radii: list[float] = []
    for _ in range(40 * wanted):
        if len(centres) == wanted:
            break
        r = np.clip(rng.lognormal(np.log(8.0), 0.25), 5.0, 13.0)
        if centres and rng.random() < 0.85:
            j = rng.integers(len(centres))
            way = rng.standard_normal(3)
            way *= rng.uniform(0.8, 0.95) * (r + radii[j]) / np.linalg.norm(way)
            c = centres[j] + way
        else:
            c = rng.uniform(0, size)
        gaps = [np.linalg.norm(c - d) / (r + q) for d, q in zip(centres, radii, strict=True)]
        if np.all((c > -3) & (c < np.add(size, 3))) and min(gaps, default=1) >= 0.75:
            centres.append(c)
            radii.append(r)
    return centres, radii


def touching(ids: np.ndarray) -> np.ndarray:
    """Bool [D, H, W]: voxels of a cell with a voxel of another among their 26 neighbours."""
    highest = ndimage.maximum_filter(ids, 3)
    lowest = ndimage.minimum_filter(np.where(ids > 0, ids, ids.max() + 1), 3)
    return (ids > 0) & ((highest != ids) | (lowest != ids))


def apart(ids: np.ndarray) -> np.ndarray:
    """The cells without the sheet where they touch: one piece each, crumbs gone, from 1 on."""
    alone = np.where(touching(ids), 0, ids)
    out = np.zeros_like(alone)
    count = 0
    for i, box in enumerate(ndimage.find_objects(alone), 1):
        if box is None:
            continue
        cell: Any = ndimage.binary_opening(np.pad(alone[box] == i, 1, mode="edge"))
        pieces, n = cast(Any, ndimage.label(cell[1:-1, 1:-1, 1:-1], _BLOCK))
        sizes = np.bincount(pieces.ravel(), minlength=n + 1)[1:]
        if n and sizes.max() >= 80:
            count += 1
            out[box][pieces == 1 + sizes.argmax()] = count
    return out


def picture(rng: np.random.Generator, instances: np.ndarray, seam: np.ndarray) -> np.ndarray:
    """The uint8 [D, H, W] stack of cells as a confocal microscope might show them.

    `seam` is the sheet between touching cells.
    """
    size: Size = instances.shape
    count = instances.max()
    inside = instances > 0

    level = rng.uniform(0.16, 0.22)
    image = level + 0.03 * smooth_noise(rng, size, 6) + 0.015 * smooth_noise(rng, size, 1.2)

    # Cytoplasm: own brightness and grain for every cell; the nucleus is left dark.
    depth: Any = ndimage.distance_transform_edt(inside)
    deepest = ndimage.maximum(depth, instances, range(1, count + 1)) if count else []
    core = depth / np.concatenate([[1], np.asarray(deepest)])[instances]
    tone = np.concatenate([[0], rng.uniform(0.02, 0.18, count)])[instances]
    dye = tone * (1 + 0.25 * smooth_noise(rng, size, 1.5)) * (core < rng.uniform(0.5, 0.6))

    # Granules in cells, as bright as membranes, and dirt in the medium.
    sown = rng.random(size) < np.where(inside, 0.008, 0.0015)
    dots = 5 * ndimage.gaussian_filter(sown * rng.uniform(0.2, 1.0, size), 0.8)

    # Membranes: bright against the medium, fainter and broken where two cells touch.
    edge = (ndimage.minimum_filter(instances, 3) == 0) & inside
    edge &= np.logical_not(ndimage.binary_dilation(seam))
    beat = 1 + 0.35 * smooth_noise(rng, size, 3.0)
    fade = np.clip(0.7 + 0.4 * smooth_noise(rng, size, 3.0), 0.1, 1.3)
    membrane = rng.uniform(0.22, 0.32) * edge * beat + rng.uniform(0.12, 0.18) * seam * fade

    # Optics: point spread, light lost with depth, shot and read-out noise.
    image = ndimage.gaussian_filter(image + dye + dots + membrane, rng.uniform(0.6, 0.8))
    light = np.exp(-rng.uniform(0.2, 0.6) * np.linspace(0, 1, size[0]))[:, None, None]
    image = np.maximum(image * light * rng.uniform(1.2, 1.8), 0)
    image += rng.standard_normal(size) * np.sqrt(image / rng.uniform(120, 300) + 0.01**2)
    return np.clip(np.rint(255 * image), 0, 255).astype(np.uint8)


def example(seed: int, split: str, index: int, size: Size) -> dict[str, np.ndarray]:
    """One volume from its seeds: `image`, `label` uint8 and `instances` uint16, all [D, H, W]."""
    rng = np.random.default_rng([seed, _SPLITS[split], index])
    ids = cell_map(rng, size)
    instances = apart(ids)
    return {
        "image": picture(rng, instances, touching(ids)),
        "label": (instances > 0).astype(np.uint8),
        "instances": instances.astype(np.uint16),
    }


def annotate(rng: np.random.Generator, label: np.ndarray, slices: Size) -> np.ndarray:
    """The label [D, H, W] on so many random slices across each axis, 255 (ignore) elsewhere."""
    seen = np.zeros(label.shape, bool)
    for axis, count in enumerate(slices):
        chosen = rng.choice(label.shape[axis], count, replace=False)
        np.moveaxis(seen, axis, 0)[chosen] = True
    return np.where(seen, label, src.IGNORE).astype(np.uint8)


def source(
    split: str,
    *,
    size: Size = (48, 64, 64),
    train: int = 12,
    val: int = 4,
    seed: int = 0,
    annotated_slices: Size | None = (2, 2, 2),
) -> src.Source:
    """The generated volumes (about 3 s for both splits on one core at the defaults).

    Args:
      split: `train` or `val`.
      size: depth, height and width in voxels, each at least 24.
      train: number of training volumes.
      val: number of validation volumes.
      seed: the volumes are a function of it, the split, their index and `size` alone.
      annotated_slices: how many slices across depth, height and width are labelled in a training
        volume; None: all of it.

    Raises:
      InputError: for sizes or counts that cannot be generated, or an unknown split.
    """
    if split not in _SPLITS:
        raise InputError(f"The volumes of cells have no split {split!r}: use train or val.")
    size = cast(Size, tuple(size))
    if len(size) != 3 or min(size) < 24 or train < 1 or val < 1 or seed < 0:
        raise InputError(
            "cells3d needs a size of three sides of at least 24, train >= 1, val >= 1 and "
            f"seed >= 0; got size={size}, train={train}, val={val}, seed={seed}."
        )
    slices = annotated_slices
    if slices is not None and not (
        len(slices) == 3
        and sum(slices)
        and all(0 <= k <= n for k, n in zip(slices, size, strict=True))
    ):
        raise InputError(
            "annotated_slices is None or how many slices across depth, height and width are "
            f"labelled, at least one and at most {size}, not {tuple(slices)}."
        )

    def record(i: int) -> dict[str, Any]:
        made = example(seed, split, i, size)
        label = made["label"]
        if split == "train" and slices is not None:
            label = annotate(np.random.default_rng([seed, len(_SPLITS), i]), label, slices)
        return {"image": made["image"][..., None], "label": label, "name": f"{split}_{i:04d}"}

    count = {"train": train, "val": val}[split]
    records = [record(i) for i in src.progress(range(count), f"Generating volumes, {split}")]
    return src.Source(records, CLASS_NAMES, PALETTE)
