"""ISBI 2012 EM: the electron-microscopy sections of the U-Net paper, cells and their membranes.

30 labelled 512x512 sections of a Drosophila larva's ventral nerve cord (serial-section transmission
electron microscopy, 4x4x50 nm per voxel). The labels of the challenge's test volume are not public,
so the last six labelled sections are the validation split, fixed.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from scipy import ndimage

from segjax.data import images
from segjax.data import source as src
from segjax.errors import InputError

CLASS_NAMES = ("membrane", "cell")
PALETTE = np.array([[0, 0, 0], [240, 240, 240]], np.uint8)

_SECTIONS = 30
_TRAIN = 24

_LAYOUT = """ISBI 2012 EM needs registration with its publisher: get the training data of the
"Segmentation of neuronal structures in EM stacks" challenge and lay it out, in this folder, as
    train-volume.tif and train-labels.tif          (the two 30-page files of the challenge), or
    train/image/00.png .. 29.png and train/label/00.png .. 29.png   (255 = cell, 0 = membrane)."""

_CITATION = """@article{arganda2015crowdsourcing,
  title={Crowdsourcing the creation of image segmentation algorithms for connectomics},
  author={Arganda-Carreras, Ignacio and Turaga, Srinivas C and Berger, Daniel R and others},
  journal={Frontiers in Neuroanatomy},
  volume={9},
  pages={142},
  year={2015}
}"""


class IsbiEm(tfds.core.GeneratorBasedBuilder):
    """ISBI 2012 EM segmentation challenge, the labelled volume, from a manual directory."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: dict[str, str] = {"1.0.0": "First version."}  # noqa: RUF012
    MANUAL_DOWNLOAD_INSTRUCTIONS = _LAYOUT

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            features=src.features(channels=1, instances=True),
            homepage="https://imagej.net/events/isbi-2012-segmentation-challenge",
            citation=_CITATION,
            license="Challenge data for research; cite the publication.",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        sections = read_sections(Path(dl_manager.manual_dir))
        return {
            "train": self._generate_examples(sections[:_TRAIN]),
            "val": self._generate_examples(sections[_TRAIN:]),
        }

    def _generate_examples(self, sections: list) -> Iterator[tuple[int, dict]]:
        for i, (name, image, label) in enumerate(src.progress(sections, "Preparing isbi_em")):
            instances = ndimage.label(label)[0].astype(np.uint16)  # type: ignore[index]
            arrays = {"image": image, "label": label, "instances": instances}
            yield i, {"name": name} | {k: src.png(v) for k, v in arrays.items()}


def source(split: str, data_dir: str | None = None, *, manual_dir: str | None = None) -> src.Source:
    """The 30 labelled sections; `instances` are the 4-connected pieces of cell in a section.

    Args:
      split: `train` (the first 24), `val` (the last 6), `all`, or a tfds slice.
      data_dir: where to keep the prepared set; default `$TFDS_DATA_DIR` or `~/tensorflow_datasets`.
      manual_dir: the folder with the challenge's files, needed once; default
        `<data_dir>/downloads/manual/isbi_em`.

    Raises:
      InputError: if the files are not there, with the layout expected, or are not the challenge's.
    """
    folder = src.manual_folder("isbi_em", data_dir, manual_dir)
    builder = src.prepare(lambda: IsbiEm(data_dir=src.data_folder(data_dir)), manual_dir=folder)
    split = "train+val" if split == "all" else split
    return src.Source(src.records(builder, split), CLASS_NAMES, PALETTE)


def read_sections(root: Path) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Name, image uint8 [H, W] and label uint8 [H, W] (1 = cell) of the 30 sections, in order."""
    volume, labels = root / "train-volume.tif", root / "train-labels.tif"
    if volume.exists() and labels.exists():
        pictures = [(f"{volume}, page {i}", p) for i, p in enumerate(images.read_image(volume))]
        masks = [(f"{labels}, page {i}", p) for i, p in enumerate(images.read_mask(labels))]
    elif (root / "train" / "image").is_dir() and (root / "train" / "label").is_dir():
        files = [sorted((root / "train" / kind).glob("*.png")) for kind in ("image", "label")]
        if [p.name for p in files[0]] != [p.name for p in files[1]]:
            raise InputError(f"{root}/train: image/ and label/ must hold files of the same names.")
        pictures = [(str(p), images.read_image(p)[0]) for p in files[0]]
        masks = [(str(p), images.read_mask(p)[0]) for p in files[1]]
    else:
        raise InputError(f"{root} does not hold the ISBI 2012 EM files. {_LAYOUT}")
    if not len(pictures) == len(masks) == _SECTIONS:
        raise InputError(
            f"{root} must hold {_SECTIONS} sections and labels, it holds {len(pictures)} and"
            f" {len(masks)}."
        )
    sections = []
    for i, ((where, image), (mask_where, mask)) in enumerate(zip(pictures, masks, strict=True)):
        if image.dtype != np.uint8 or image.shape[-1] != 1:
            raise InputError(f"{where}: expected 8-bit grey, got {image.dtype} {image.shape}.")
        if mask.shape != image.shape[:2]:
            raise InputError(f"{mask_where}: its size {mask.shape} is not its image's.")
        if not np.isin(mask, (0, 255)).all():
            raise InputError(f"{mask_where}: labels must be 0 (membrane) or 255 (cell).")
        sections.append((f"{i:02d}", image[..., 0], (mask == 255).astype(np.uint8)))
    return sections
