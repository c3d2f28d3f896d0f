"""Cells: generated microscopy-like images of touching cells; needs no download.

Made like the hard part of the U-Net paper's light-microscopy sets (PhC-U373, DIC-HeLa): cells
touch, differ in size and brightness, and carry organelles as bright as their membranes; where two
cells touch, the membrane is faint and the label has a background line two pixels wide between them.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import tensorflow_datasets as tfds
from scipy import ndimage

from segjax.data import source as src
from segjax.errors import InputError

CLASS_NAMES = ("background", "cell")
PALETTE = np.array([[0, 0, 0], [90, 200, 120]], np.uint8)

_EIGHT = np.ones((3, 3), bool)
_DISC = ndimage.generate_binary_structure(2, 1)
_DISC = ndimage.iterate_structure(_DISC, 2) & np.ones((5, 5), bool)
_SPLITS = {"train": 0, "val": 1}


def smooth_noise(rng: np.random.Generator, size: int, sigma: float) -> np.ndarray:
    """Gaussian-filtered white noise [size, size] with mean 0 and standard deviation 1."""
    noise = ndimage.gaussian_filter(rng.standard_normal((size, size)), sigma, mode="wrap")
    return (noise - noise.mean()) / noise.std()


def cell_map(rng: np.random.Generator, size: int) -> np.ndarray:
    """Instance ids int32 [size, size], 0 = background; cells grow in clusters until they touch.

    Every cell is a warped, lobed ellipse; a pixel belongs to the cell whose scaled distance is
    smallest, if that is below 1, so cells overlap nowhere and share curved borders.
    """
    area = (size / 128) ** 2
    clusters = rng.uniform(0, size, (max(1, round(rng.uniform(2, 4) * area)), 2))
    centres: list[np.ndarray] = []
    radii: list[float] = []
    wanted = rng.integers(round(16 * area), round(27 * area) + 1)
    for _ in range(40 * wanted):  # dart throwing: centres keep a part of their radii apart
        if len(centres) == wanted:
            break
        r = np.clip(rng.lognormal(np.log(13.0), 0.28), 7.0, 24.0)
        if rng.random() < 0.25:
            c = rng.uniform(-8, size + 8, 2)  # strays, some cut by the edge
        else:
            c = clusters[rng.integers(len(clusters))] + rng.normal(0, 24, 2)
        if (c < -8).any() or (c > size + 8).any():
            continue
        gap = rng.uniform(0.6, 0.85)
        if all(np.hypot(*(c - c2)) > gap * (r + r2) for c2, r2 in zip(centres, radii, strict=True)):
            centres.append(c)
            radii.append(r)

    warp = [3.0 * smooth_noise(rng, size, 9.0) + 0.7 * smooth_noise(rng, size, 2.5) for _ in "yx"]
    y, x = np.mgrid[:size, :size] + 0.5
    nearest = np.full((size, size), 1.0)
    ids = np.zeros((size, size), np.int32)
    for i, (c, r) in enumerate(zip(centres, radii, strict=True), 1):
        angle, ratio = rng.uniform(0, np.pi), rng.uniform(0.55, 1.0)
        dy, dx = y + warp[0] - c[0], x + warp[1] - c[1]
        u = (np.cos(angle) * dx + np.sin(angle) * dy) * np.sqrt(ratio)
        v = (np.cos(angle) * dy - np.sin(angle) * dx) / np.sqrt(ratio)
        phi = np.arctan2(v, u)
        lobes = sum(
            rng.normal(0, 0.1) / np.sqrt(k - 1) * np.cos(k * phi + rng.uniform(0, 2 * np.pi))
            for k in (2, 3, 4, 5)
        )
        distance = np.hypot(u, v) / (r * (1 + lobes))
        ids = np.where(distance < nearest, i, ids)
        nearest = np.minimum(nearest, distance)
    ids = _tidy(ids)
    seam = touching(ids)
    apart = _tidy(np.where(seam, 0, ids))
    return np.where(seam, ndimage.grey_dilation(apart, footprint=_EIGHT), apart)


def _tidy(ids: np.ndarray) -> np.ndarray:
    """Smooth every cell, keep its largest piece without holes, drop crumbs, number from 1."""
    out = np.zeros_like(ids)
    count = 0
    for i, box in enumerate(ndimage.find_objects(ids), 1):
        if box is None:
            continue
        cell: Any = ndimage.binary_opening(np.pad(ids[box] == i, 2, mode="edge"), _DISC)
        pieces, n = cast(Any, ndimage.label(cell[2:-2, 2:-2]))
        sizes = np.bincount(pieces.ravel(), minlength=n + 1)[1:]
        if n and sizes.max() >= 60:
            count += 1
            piece: Any = ndimage.binary_fill_holes(pieces == 1 + sizes.argmax())
            out[box][piece & (ids[box] == i)] = count
    return out


def touching(ids: np.ndarray) -> np.ndarray:
    """Bool [H, W]: pixels of a cell with a pixel of another cell among their eight neighbours."""
    highest = ndimage.grey_dilation(ids, footprint=_EIGHT)
    lowest = ndimage.grey_erosion(np.where(ids > 0, ids, ids.max() + 1), footprint=_EIGHT)
    return (ids > 0) & ((highest != ids) | (lowest != ids))


def picture(rng: np.random.Generator, ids: np.ndarray) -> np.ndarray:
    """The uint8 [H, W] image of the cells `ids` as a microscope might show them."""
    size, n = len(ids), ids.max()
    inside = ids > 0

    # Medium: cloudy, with fine grain.
    level = rng.uniform(0.28, 0.4)
    medium = level + 0.03 * smooth_noise(rng, size, 10) + 0.018 * smooth_noise(rng, size, 1.6)

    # Cytoplasm: own brightness, contrast and grain for every cell, a little domed.
    seam = touching(ids)
    depth: Any = ndimage.distance_transform_edt(inside & ~seam)
    tone = np.concatenate([[0], np.clip(rng.normal(0.08, 0.09, n), -0.08, 0.3)])[ids]
    gain = np.concatenate([[0], rng.uniform(0.5, 1.5, n)])[ids]
    dome = 0.05 * gain * np.minimum(depth, 8) / 8
    grain = 0.035 * smooth_noise(rng, size, 1.1) + 0.045 * smooth_noise(rng, size, 3.0)
    image = np.where(inside, level + tone + dome + gain * grain, medium)

    # Nuclei: soft ellipses off the centre, brighter or darker, with nucleoli.
    y, x = np.mgrid[:size, :size] + 0.5
    for i, box in enumerate(ndimage.find_objects(ids), 1):
        cell = ids[box] == i
        depth_i = np.where(cell, depth[box], 0)
        place = np.argsort(depth_i, axis=None)[-max(1, cell.sum() // 6) :]
        cy, cx = np.unravel_index(rng.choice(place), cell.shape)
        r = rng.uniform(0.24, 0.36) * np.sqrt(cell.sum())
        angle, ratio = rng.uniform(0, np.pi), rng.uniform(0.65, 1.0)
        dy, dx = y[box] - y[box][cy, 0], x[box] - x[box][0, cx]
        u = (np.cos(angle) * dx + np.sin(angle) * dy) * ratio
        v = (np.cos(angle) * dy - np.sin(angle) * dx) / ratio
        q = np.hypot(u, v) / r
        soft = 1 / (1 + np.exp(np.minimum((q - 1) * 1.2 * r, 50)))
        rim = np.exp(-(((q - 1) * r / 0.9) ** 2))
        sign = rng.choice([-1.0, -1.0, 1.0])
        nucleus = sign * rng.uniform(0.04, 0.1) * soft + rng.uniform(0.0, 0.09) * rim
        for _ in range(rng.integers(1, 4)):
            a, d = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.6) * r
            spot = np.hypot(dx - d * np.cos(a), dy - d * np.sin(a)) / rng.uniform(0.9, 1.7)
            nucleus += rng.uniform(0.08, 0.2) * np.exp(-0.5 * spot**2)
        image[box] += np.where(cell, nucleus * np.clip(depth[box] / 2, 0, 1), 0)

    # Organelles: granules and short filaments, as bright as membranes or brighter, and vacuoles.
    image += _organelles(rng, ids, depth)

    # Membranes: plain against the medium, faint and broken where two cells touch.
    edge = inside & (np.asarray(ndimage.binary_erosion(inside, border_value=1)) == 0)
    beat = 1 + 0.35 * smooth_noise(rng, size, 4.0)
    outer = ndimage.gaussian_filter(edge.astype(float), 0.7) * beat * rng.uniform(0.16, 0.26)
    fade = np.clip(0.8 + 0.45 * smooth_noise(rng, size, 5.0), 0.2, 1.5)
    inner = ndimage.gaussian_filter(seam.astype(float), 0.6) * fade * rng.uniform(0.10, 0.15)
    image += np.where(ndimage.binary_dilation(seam, _EIGHT), inner, outer)
    halo = ndimage.gaussian_filter(inside.astype(float), 3.0) * (ids == 0)
    image -= rng.uniform(0.05, 0.15) * halo

    image += _debris(rng, size, inside)

    # Optics: point spread, uneven light, shot and read-out noise.
    image = ndimage.gaussian_filter(image, rng.uniform(0.55, 0.85))
    tilt = rng.normal(0, 0.13, 2)
    light = 1 + tilt[0] * (y / size - 0.5) * 2 + tilt[1] * (x / size - 0.5) * 2
    light += 0.05 * smooth_noise(rng, size, size / 5)
    photons = rng.uniform(250, 700)
    image = np.maximum(image * light, 0.0)
    image += rng.standard_normal(image.shape) * np.sqrt(image / photons + 0.008**2)
    return np.clip(np.rint(255 * image), 0, 255).astype(np.uint8)


def _organelles(rng: np.random.Generator, ids: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Brightness [H, W] to add for granules, filaments and vacuoles inside the cells."""
    size, n = len(ids), ids.max()
    density = np.concatenate([[0], rng.uniform(0.2, 1.6, n)])[ids]
    sown = rng.random((size, size)) < 0.03 * density * (depth > 2)
    small = np.where(sown, rng.uniform(-0.25, 1.0, sown.shape), 0)
    dots = 1.1 * ndimage.gaussian_filter(small, 0.75)

    walks = np.zeros((size, size))
    for y, x in np.argwhere(rng.random((size, size)) < 0.006 * density * (depth > 2)):
        turn, angle, length = rng.normal(0, 0.25), rng.uniform(0, 2 * np.pi), rng.integers(5, 14)
        angles = angle + turn * np.arange(length)
        ys = np.rint(y + np.cumsum(np.sin(angles))).astype(int)
        xs = np.rint(x + np.cumsum(np.cos(angles))).astype(int)
        ok = (ys >= 0) & (ys < size) & (xs >= 0) & (xs < size)
        ys, xs = ys[ok], xs[ok]
        walks[ys, xs] = np.where(ids[ys, xs] == ids[y, x], rng.uniform(0.3, 1.0), walks[ys, xs])
    threads = 0.3 * ndimage.gaussian_filter(walks, 0.65)

    rings = np.zeros((size, size))
    yy, xx = np.mgrid[:size, :size]
    for y, x in np.argwhere(rng.random((size, size)) < 0.0016 * density * (depth > 4)):
        r = rng.uniform(1.6, 3.2)
        window = (slice(max(0, y - 7), y + 8), slice(max(0, x - 7), x + 8))
        d = np.hypot(yy[window] - y, xx[window] - x)
        rings[window] += 0.16 * np.exp(-(((d - r) / 0.7) ** 2)) - 0.1 * (d < r - 0.5)
    return (dots + threads + rings) * np.clip((depth - 1) / 2, 0, 1) * (ids > 0)


def _debris(rng: np.random.Generator, size: int, inside: np.ndarray) -> np.ndarray:
    """Brightness [H, W] of dirt: specks and dead fragments, mostly in the medium."""
    yy, xx = np.mgrid[:size, :size]
    dirt = np.zeros((size, size))
    for _ in range(rng.poisson(9 * (size / 128) ** 2)):
        y, x = rng.uniform(0, size, 2)
        r, ratio, angle = rng.uniform(0.8, 2.6), rng.uniform(0.5, 1), rng.uniform(0, np.pi)
        u = (np.cos(angle) * (xx - x) + np.sin(angle) * (yy - y)) * ratio
        v = (np.cos(angle) * (yy - y) - np.sin(angle) * (xx - x)) / ratio
        d = np.hypot(u, v)
        strength = rng.choice([-0.18, 0.25, 0.35]) * rng.uniform(0.5, 1.2)
        dirt += strength * (
            np.exp(-0.5 * (d / r) ** 2) - 0.4 * np.exp(-(((d - 2.4 * r) / 1.2) ** 2))
        )
    return dirt * np.where(inside, 0.35, 1.0)


def example(seed: int, split: str, index: int, size: int) -> dict[str, np.ndarray]:
    """One example from its seeds: `image`, `label` uint8 and `instances` uint16, all [H, W]."""
    rng = np.random.default_rng([seed, _SPLITS[split], index])
    ids = cell_map(rng, size)
    image = picture(rng, ids)
    instances = np.where(touching(ids), 0, ids)
    return {
        "image": image,
        "label": (instances > 0).astype(np.uint8),
        "instances": instances.astype(np.uint16),
    }


@dataclasses.dataclass(kw_only=True)
class CellsConfig(tfds.core.BuilderConfig):
    """What to generate; the name, and with it the folder on disk, follows from the values."""

    name: str = ""
    size: int = 128
    train: int = 160
    val: int = 40
    seed: int = 0

    def __post_init__(self):
        self.name = f"{self.size}px_{self.train}_{self.val}_seed{self.seed}"


class Cells(tfds.core.GeneratorBasedBuilder):
    """Generated images of touching cells with class labels and instance ids."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: dict[str, str] = {"1.0.0": "First version."}  # noqa: RUF012

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            features=src.features(channels=1, instances=True),
            license="Apache-2.0 (generated by segjax)",
            citation="",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        return {split: self._generate_examples(split) for split in _SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
        config: Any = self.builder_config or CellsConfig()
        for i in src.progress(range(getattr(config, split)), f"Generating cells, {split}"):
            arrays = example(config.seed, split, i, config.size)
            yield i, {"name": f"{split}_{i:04d}"} | {k: src.png(v) for k, v in arrays.items()}


def source(
    split: str,
    data_dir: str | None = None,
    *,
    size: int = 128,
    train: int = 160,
    val: int = 40,
    seed: int = 0,
) -> src.Source:
    """The generated cells, prepared on first use (about 10 s on one core at the defaults).

    Args:
      split: `train`, `val` or a tfds slice such as `train[:10%]`.
      data_dir: where to keep the prepared set; default `$TFDS_DATA_DIR` or `~/tensorflow_datasets`.
      size: height and width in pixels, at least 32.
      train: number of training images.
      val: number of validation images.
      seed: the images are a function of it, the split, their index and `size` alone.

    Raises:
      InputError: for sizes or counts that cannot be generated, or an unknown split.
    """
    if size < 32 or train < 1 or val < 1 or seed < 0:
        raise InputError(
            f"cells need size >= 32, train >= 1, val >= 1 and seed >= 0; got size={size},"
            f" train={train}, val={val}, seed={seed}."
        )
    config = CellsConfig(size=size, train=train, val=val, seed=seed)
    builder = src.prepare(lambda: Cells(config=config, data_dir=src.data_folder(data_dir)))
    return src.Source(src.records(builder, split), CLASS_NAMES, PALETTE)
