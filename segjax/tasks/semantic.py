"""Semantic segmentation: one class for every pixel of an image, or voxel of a volume."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from segjax import fields, visualize
from segjax.core import Batch, Example, Predictor, Preds, Scalars, Task, Tree, Variables
from segjax.errors import choose
from segjax.losses.cross_entropy import cross_entropy
from segjax.metrics import Metric, figures_of
from segjax.ops.warp import resized
from segjax.tasks.fit import Model, centre, check_size, coarse, fit_to, init_variables
from segjax.weights.input import UNIT, Input, seen

Record = Mapping[str, Any]


def image_of(record: Record) -> np.ndarray:
    """The image of a record as it is."""
    return record["image"]


def in_pixels_of(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Maps [h, w, K] at another size, by the very operation of an evaluation.

    On canvases of few sizes, so that it is compiled for few.
    """
    if size[0] * size[1] > MOST_AT_ONCE:  # which differs by rounding alone
        return cv2.resize(maps, size[::-1], interpolation=cv2.INTER_LINEAR)
    extent = maps.shape[:2]
    pads = [(0, -n % 128) for n in extent]
    canvas = tuple(n + -n % 128 for n in size)
    out = _resized(np.pad(maps, [*pads, (0, 0)]), np.array(extent), np.array(size), canvas)
    return np.asarray(out)[: size[0], : size[1]]


MOST_AT_ONCE = 1 << 23  # pixels that a device interpolates: larger images stay on the host
_resized = jax.jit(resized, static_argnums=3)


def placed(
    image: np.ndarray, extent: Sequence[int], size: Sequence[int], canvas: tuple[int, int]
) -> np.ndarray:
    """The first `extent` of a picture [H, W, 3], enlarged to `size`, on a black canvas."""
    (height, width), (rows, columns) = extent, size
    out = np.zeros((*canvas, 3), np.uint8)
    out[:rows, :columns] = cv2.resize(image[:height, :width], (int(columns), int(rows)))
    return out


def labelling(
    model: Model,
    *,
    size: tuple[int, ...],
    input: Input = UNIT,
    prepare: Callable[[Record], np.ndarray] = image_of,
    colours: np.ndarray | None = None,
) -> Predictor:
    """Class probabilities, labels and their pictures of any image; arguments as of `semantic`.

    The maps are 'prob' float32 [B, H, W, K]; the results 'prob' and 'label' uint8 [H, W].
    """
    axes = tuple(range(1, 1 + len(size)))

    def apply(variables: Variables, images: jax.Array, margin: int = 0) -> Preds:
        wanted = [images.shape[axis] - 2 * margin for axis in axes]
        image = fit_to(model, seen(fields.unit(images), input), wanted)
        logits = centre(model.apply(variables, image, train=False)["logits"], wanted)
        return {"prob": jax.nn.softmax(logits, axis=-1)}

    def finish(maps: Mapping[str, np.ndarray], record: Record) -> dict[str, np.ndarray]:
        prob, there = np.asarray(maps["prob"]), record["image"].shape[:-1]
        if prob.shape[:-1] != there:  # what the network saw was smaller or larger
            prob = in_pixels_of(prob, there)
        kept = {name: record[name] for name in ("image", "affine") if name in record}
        return {"prob": prob, "label": prob.argmax(-1).astype(np.uint8), **kept}

    def write(results: Mapping[str, np.ndarray], path: Path) -> None:
        labels, classes = results["label"], results["prob"].shape[-1]
        chosen = visualize.palette(classes) if colours is None else colours
        if "affine" in results:  # of a NIfTI file, whose axes are the other way round
            import nibabel

            nibabel.save(nibabel.Nifti1Image(labels.T, results["affine"]), f"{path}_label.nii.gz")
            return
        if labels.ndim == 3:
            pages = [Image.fromarray(page) for page in labels]
            pages[0].save(f"{path}_label.tif", save_all=True, append_images=pages[1:])
            return
        picture = Image.fromarray(labels)
        picture.putpalette(chosen.ravel().tolist())
        picture.save(f"{path}_label.png")
        image = visualize.to_rgb(results["image"][None])[0]
        Image.fromarray(visualize.overlay(image, labels, chosen)).save(f"{path}_overlay.png")

    return Predictor(size, prepare, apply, finish, write)


def semantic(
    model: Model,
    num_classes: int,
    *,
    metrics: Sequence[Metric],
    size: tuple[int, ...],
    label_size: tuple[int, ...] | None = None,
    input: Input = UNIT,
    prepare: Callable[[Record], np.ndarray] = image_of,
    ignore: int = 255,
    colours: np.ndarray | None = None,
    pixel_weights: Callable[[Record], np.ndarray | None] | None = None,
    pixel_loss: Callable[..., jax.Array] = cross_entropy,
    auxiliary: Mapping[str, float] = {},
) -> Task:
    """The task of labelling each pixel with one of `num_classes`.

    Args:
      model: see `Model`. A network whose output is smaller than its input sees mirrored borders in
        evaluation, so that every pixel gets a label; in training its labels are cropped.
      metrics: what evaluation reports, of the pixels of the records themselves.
      size: (height, width) of the examples: whole images, filled up with pixels that do not count;
        an augmentation may crop them. (depth, height, width) for volumes, images [B, D, H, W, C]
        and labels [B, D, H, W].
      label_size: the same for the labels of evaluation, where the network sees images at another
        scale than they have; `size` by default.
      input: what the network takes of an image.
      prepare: record -> the image as the network sees it, uint8 or uint16 [H, W, C].
      ignore: the label of a record that neither loss nor metrics count.
      colours: uint8 [num_classes, 3] for pictures.
      pixel_weights: record -> float32 [H, W], the loss weight of each pixel, or None for all.
      pixel_loss: (logits, labels, valid=, weight=) -> scalar.
      auxiliary: name of a further output of the model, logits as well -> weight of the same loss
        on it. Reported as NAME_loss. Coarser logits meet the labels in the middle of their pixels.
    """
    check_size("size", size, (2, 3))
    colours = visualize.palette(num_classes) if colours is None else colours
    probabilities = labelling(model, size=size, input=input).apply

    def preprocess(record: Record, generator: np.random.Generator, train: bool) -> Example:
        del generator  # what is random happens on the device
        name, image, label = record.get("name", ""), prepare(record), record["label"]
        there = image.shape[:-1]
        if train and label.shape != there:
            label = cv2.resize(label, there[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        mask = label != ignore
        example = {"label": np.where(mask, label, 0), "mask": mask}
        weight = pixel_weights(record) if train and pixel_weights is not None else None
        if weight is not None:
            if weight.shape != there:
                weight = cv2.resize(weight, there[::-1], interpolation=cv2.INTER_LINEAR)
            example["weight"] = weight
        if label.shape == there and (train or label_size in (None, size)):
            return fields.padded({"image": image, **example}, size, name)
        example = fields.padded(example, label_size or size, name)
        return {**fields.padded({"image": image}, size, name), **example} | {
            "extent": np.array(there, np.int32),
            "size": example["extent"],
        }

    def init(key: jax.Array, batch: Batch) -> Variables:
        return init_variables(model, key, batch["image"])

    def valid_pixels(batch: Batch) -> Any:
        mask = batch.get("mask", jnp.ones(batch["label"].shape, bool))
        return batch["valid"].reshape(-1, *(1,) * len(size)) & mask

    def loss(
        params: Tree, model_state: Tree, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Tree, Scalars]]:
        out, new_state = model.apply(
            {"params": params, **model_state},
            seen(fields.unit(batch["image"]), input),
            train=True,
            rngs={"dropout": key},
            mutable=list(model_state),
        )
        logits = out["logits"]
        labels = centre(batch["label"].astype(jnp.int32), logits.shape[1:-1])
        weight = centre(batch["weight"], logits.shape[1:-1]) if "weight" in batch else None
        valid = centre(valid_pixels(batch), logits.shape[1:-1])
        value = pixel_loss(logits, labels, valid=valid, weight=weight)
        right = jnp.sum((jnp.argmax(logits, -1) == labels) & valid)
        scalars = {"accuracy": right / jnp.maximum(jnp.sum(valid), 1)}
        for name, share in auxiliary.items():
            further = choose(out, name, "A name in auxiliary")
            at = functools.partial(coarse, size=further.shape[1:-1])
            scalars[f"{name}_loss"] = pixel_loss(
                further,
                at(labels),
                valid=at(valid),
                weight=None if weight is None else at(weight),
            )
            value += share * scalars[f"{name}_loss"]
        return value, (new_state, scalars)

    def predict(variables: Variables, batch: Batch) -> Preds:
        prob = probabilities(variables, batch["image"])["prob"]
        if "size" in batch:  # back to the pixels of the records
            at = functools.partial(resized, size=batch["label"].shape[1:])
            prob = jax.vmap(at)(prob, batch["extent"], batch["size"])
        return {"prob": prob, "label": jnp.argmax(prob, axis=-1)}

    def stats(preds: Preds, batch: Batch) -> Tree:
        return tuple(metric.stats(preds, batch, valid_pixels(batch)) for metric in metrics)

    def summarise(evidence: Iterable[Tree]) -> dict[str, float]:
        return figures_of(metrics, evidence)

    def visualise(preds: Preds, batch: Batch) -> dict[str, np.ndarray]:
        shown = np.asarray(batch["valid"])
        found = (batch["image"], batch["label"], valid_pixels(batch), preds["label"])
        image, labels, mask, predictions = (np.asarray(x)[shown] for x in found)
        if len(size) == 3:  # the middle slice of a volume
            image, labels, mask, predictions = (
                x[:, x.shape[1] // 2] for x in (image, labels, mask, predictions)
            )
        image = visualize.to_rgb(image)
        if "size" in batch:
            sizes = (np.asarray(batch[name])[shown] for name in ("extent", "size"))
            image = np.stack(
                [
                    placed(x, extent, size, labels.shape[1:])
                    for x, extent, size in zip(image, *sizes, strict=True)
                ]
            )
        return {
            "image": image,
            "truth": visualize.colour_labels(np.where(mask, labels, ignore), colours),
            "prediction": visualize.colour_labels(predictions, colours),
            "error": visualize.errors(labels, predictions, mask),
        }

    return Task(preprocess, init, loss, predict, stats, summarise, visualise)
