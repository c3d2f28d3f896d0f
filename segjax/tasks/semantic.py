"""Semantic segmentation: one class for every pixel."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from segjax import visualize
from segjax.core import Batch, Example, Preds, Scalars, Task, Tree, Variables
from segjax.errors import InputError
from segjax.losses.cross_entropy import cross_entropy
from segjax.metrics import Metric


class Model(Protocol):
    """Images [B, H, W, C] -> {'logits': [B, H', W', num_classes]}, centred in the input."""

    def init(self, rngs: Any, image: Any, *, train: bool) -> Any: ...
    def apply(self, variables: Any, image: Any, *, train: bool, **options: Any) -> Any: ...
    def input_size(self, output: int) -> int:
        """The smallest legal side of an input whose output covers `output` pixels."""
        ...

    def output_size(self, size: int) -> int:
        """The side of the output for a legal side of the input."""
        ...


def semantic(
    model: Model,
    num_classes: int,
    *,
    metrics: Sequence[Metric],
    size: tuple[int, int],
    eval_size: tuple[int, int] | None = None,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
    ignore: int = 255,
    colours: np.ndarray | None = None,
    pixel_weights: Callable[[Mapping[str, Any]], np.ndarray] | None = None,
    pixel_loss: Callable[..., jax.Array] = cross_entropy,
) -> Task:
    """The task of labelling each pixel with one of `num_classes`.

    Args:
      model: see `Model`. A network whose output is smaller than its input sees mirrored borders in
        evaluation, so that every pixel gets a label; in training its labels are cropped.
      metrics: what evaluation reports.
      size: (height, width) of training examples: random crops, filled up with ignored pixels.
      eval_size: the same for evaluation, whole images filled up; `size` by default.
      mean, std: of intensities scaled to [0, 1], one number or one a channel.
      ignore: the label that neither loss nor metrics count.
      colours: uint8 [num_classes, 3] for pictures.
      pixel_weights: record -> float32 [H, W], the loss weight of each pixel.
      pixel_loss: (logits, labels, valid=, weight=) -> scalar.
    """
    eval_size = eval_size or size
    for name, value in (("size", size), ("eval_size", eval_size)):
        if len(value) != 2 or min(value) < 1:
            raise InputError(f"{name} must be (height, width) in pixels, not {tuple(value)}.")
    colours = visualize.palette(num_classes) if colours is None else colours
    offset, scale = np.asarray(mean, np.float32), np.asarray(std, np.float32)

    def preprocess(
        record: Mapping[str, Any], generator: np.random.Generator, train: bool
    ) -> Example:
        image, label = record["image"], record["label"]
        example: Example = {
            "image": np.float32(image) / np.float32(np.iinfo(image.dtype).max),
            "label": label.astype(np.int32),
        }
        if train and pixel_weights is not None:
            example["weight"] = pixel_weights(record)
        if train:
            return crop_or_fill(example, size, ignore, generator)
        if image.shape[0] > eval_size[0] or image.shape[1] > eval_size[1]:
            raise InputError(
                f"The image {record.get('name', '')} is {image.shape[0]} x {image.shape[1]}, "
                f"larger than the evaluation size of {eval_size[0]} x {eval_size[1]}: raise "
                "eval_size."
            )
        return crop_or_fill(example, eval_size, ignore, generator)

    def standardise(image: jax.Array) -> jax.Array:
        return (image - offset) / scale

    def init(key: jax.Array, batch: Batch) -> Variables:
        _, height, width, channels = batch["image"].shape
        sides = model.input_size(height), model.input_size(width)
        image = jnp.zeros((1, *sides, channels), jnp.float32)
        return jax.jit(lambda k: model.init(k, image, train=False))(key)

    def loss(
        params: Tree, model_state: Tree, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Tree, Scalars]]:
        out, new_state = model.apply(
            {"params": params, **model_state},
            standardise(batch["image"]),
            train=True,
            rngs={"dropout": key},
            mutable=list(model_state),
        )
        logits = out["logits"]
        labels = centre(batch["label"], logits.shape[1:3])
        weight = centre(batch["weight"], logits.shape[1:3]) if "weight" in batch else None
        valid = batch["valid"][:, None, None] & (labels != ignore)
        value = pixel_loss(logits, labels, valid=valid, weight=weight)
        right = jnp.sum((jnp.argmax(logits, -1) == labels) & valid)
        return value, (new_state, {"accuracy": right / jnp.maximum(jnp.sum(valid), 1)})

    def predict(variables: Variables, batch: Batch) -> Preds:
        # What is wanted is the size of the label; an image larger than that brings context along.
        image = standardise(batch["image"])
        wanted = batch["label"].shape[1:3]
        sides = [input_side(model, *pair) for pair in zip(image.shape[1:3], wanted, strict=True)]
        image = mirror_to(centre(image, sides), sides)
        logits = centre(model.apply(variables, image, train=False)["logits"], wanted)
        prob = jax.nn.softmax(logits, axis=-1)
        return {"logits": logits, "prob": prob, "label": jnp.argmax(logits, axis=-1)}

    def valid_pixels(batch: Batch) -> Any:
        return batch["valid"][:, None, None] & (batch["label"] != ignore)

    def stats(preds: Preds, batch: Batch) -> Tree:
        valid = valid_pixels(batch)
        return tuple(metric.stats(preds, batch, valid) for metric in metrics)

    def summarise(evidence: Iterable[Tree]) -> dict[str, float]:
        collected = list(evidence)
        figures: dict[str, float] = {}
        for metric, parts in zip(metrics, zip(*collected, strict=True), strict=True):
            figures |= metric.summarise(parts)
        return figures

    def visualise(preds: Preds, batch: Batch) -> dict[str, np.ndarray]:
        shown = np.asarray(batch["valid"])
        image, labels = np.asarray(batch["image"])[shown], np.asarray(batch["label"])[shown]
        predictions = np.asarray(preds["label"])[shown]
        return {
            "image": visualize.to_rgb(image),
            "truth": visualize.colour_labels(labels, colours),
            "prediction": visualize.colour_labels(predictions, colours),
            "error": visualize.errors(labels, predictions, labels != ignore),
        }

    return Task(preprocess, init, loss, predict, stats, summarise, visualise)


def crop_or_fill(
    example: Example, size: tuple[int, int], ignore: int, generator: np.random.Generator
) -> Example:
    """The example at `size` (height, width): a random crop, or filled up below and to the right.

    What is filled up is mirrored image, ignored label and weight 0.
    """
    height, width = example["image"].shape[:2]
    top = generator.integers(max(height - size[0], 0) + 1)
    left = generator.integers(max(width - size[1], 0) + 1)
    below, right = max(size[0] - height, 0), max(size[1] - width, 0)
    fills = {"label": ignore, "weight": 0.0}

    def fit(name: str, x: np.ndarray) -> np.ndarray:
        x = x[top : top + size[0], left : left + size[1]]
        pads = ((0, below), (0, right), (0, 0))[: x.ndim]
        if name == "image":
            return np.pad(x, pads, mode="symmetric")
        return np.pad(x, pads, constant_values=fills[name])

    return {name: fit(name, x) for name, x in example.items()}


def centre(x: jax.Array, size: Sequence[int]) -> jax.Array:
    """The middle of [B, H, W, ...] at `size` (height, width), as far as it is larger."""
    top, left = (x.shape[1] - size[0]) // 2, (x.shape[2] - size[1]) // 2
    return x[:, max(top, 0) :, max(left, 0) :][:, : size[0], : size[1]]


def input_side(model: Model, available: int, wanted: int) -> int:
    """The largest legal input side within `available` whose output covers `wanted` pixels.

    Where none does, the smallest one that does.
    """
    smallest = model.input_size(wanted)
    legal = (
        n for n in range(available, smallest, -1) if model.input_size(model.output_size(n)) == n
    )
    return next(legal, smallest)


def mirror_to(image: jax.Array, size: Sequence[int]) -> jax.Array:
    """[B, H, W, C] with mirrored borders around it up to `size`."""
    rows, cols = size[0] - image.shape[1], size[1] - image.shape[2]
    pads = ((0, 0), (rows // 2, rows - rows // 2), (cols // 2, cols - cols // 2), (0, 0))
    return jnp.pad(image, pads, mode="reflect")
