"""Semantic segmentation: one class for every pixel of an image, or voxel of a volume."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from segjax import visualize
from segjax.core import Batch, Example, Preds, Scalars, Task, Tree, Variables
from segjax.errors import choose
from segjax.losses.cross_entropy import cross_entropy
from segjax.metrics import Metric, figures_of
from segjax.tasks.fit import (
    Model,
    centre,
    check_size,
    check_whole,
    coarse,
    crop_or_fill,
    fit_to,
    init_variables,
)


def semantic(
    model: Model,
    num_classes: int,
    *,
    metrics: Sequence[Metric],
    size: tuple[int, ...],
    eval_size: tuple[int, ...] | None = None,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
    order: Sequence[int] | None = None,
    ignore: int = 255,
    colours: np.ndarray | None = None,
    pixel_weights: Callable[[Mapping[str, Any]], np.ndarray] | None = None,
    pixel_loss: Callable[..., jax.Array] = cross_entropy,
    auxiliary: Mapping[str, float] = {},
) -> Task:
    """The task of labelling each pixel with one of `num_classes`.

    Args:
      model: see `Model`. A network whose output is smaller than its input sees mirrored borders in
        evaluation, so that every pixel gets a label; in training its labels are cropped.
      metrics: what evaluation reports.
      size: (height, width) of training examples: random crops, filled up with ignored pixels.
        (depth, height, width) for volumes, images [B, D, H, W, C] and labels [B, D, H, W].
      eval_size: the same for evaluation, whole images filled up; `size` by default.
      mean, std: of intensities scaled to [0, 1], one number or one a channel.
      order: of the channels as the network takes them, which mean and std follow: (2, 1, 0) is BGR.
      ignore: the label that neither loss nor metrics count.
      colours: uint8 [num_classes, 3] for pictures.
      pixel_weights: record -> float32 [H, W], the loss weight of each pixel.
      pixel_loss: (logits, labels, valid=, weight=) -> scalar.
      auxiliary: name of a further output of the model, logits as well -> weight of the same loss
        on it. Reported as NAME_loss. Coarser logits meet the labels in the middle of their pixels.
    """
    eval_size = eval_size or size
    check_size("size", size, (2, 3))
    check_size("eval_size", eval_size, (len(size),))
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
        check_whole(image.shape, eval_size, record.get("name", ""))
        return crop_or_fill(example, eval_size, ignore, generator)

    def standardise(image: jax.Array) -> jax.Array:
        return ((image if order is None else image[..., jnp.asarray(order)]) - offset) / scale

    def init(key: jax.Array, batch: Batch) -> Variables:
        return init_variables(model, key, batch["image"])

    def valid_pixels(valid: Any, labels: Any) -> Any:
        return valid.reshape(-1, *(1,) * len(size)) & (labels != ignore)

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
        labels = centre(batch["label"], logits.shape[1:-1])
        weight = centre(batch["weight"], logits.shape[1:-1]) if "weight" in batch else None
        valid = valid_pixels(batch["valid"], labels)
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
        # What is wanted is the size of the label; an image larger than that brings context along.
        wanted = batch["label"].shape[1:]
        image = fit_to(model, standardise(batch["image"]), wanted)
        logits = centre(model.apply(variables, image, train=False)["logits"], wanted)
        prob = jax.nn.softmax(logits, axis=-1)
        return {"logits": logits, "prob": prob, "label": jnp.argmax(logits, axis=-1)}

    def stats(preds: Preds, batch: Batch) -> Tree:
        valid = valid_pixels(batch["valid"], batch["label"])
        return tuple(metric.stats(preds, batch, valid) for metric in metrics)

    def summarise(evidence: Iterable[Tree]) -> dict[str, float]:
        return figures_of(metrics, evidence)

    def visualise(preds: Preds, batch: Batch) -> dict[str, np.ndarray]:
        shown = np.asarray(batch["valid"])
        image, labels = np.asarray(batch["image"])[shown], np.asarray(batch["label"])[shown]
        predictions = np.asarray(preds["label"])[shown]
        if len(size) == 3:  # the middle slice of a volume
            image, labels, predictions = (
                x[:, x.shape[1] // 2] for x in (image, labels, predictions)
            )
        return {
            "image": visualize.to_rgb(image),
            "truth": visualize.colour_labels(labels, colours),
            "prediction": visualize.colour_labels(predictions, colours),
            "error": visualize.errors(labels, predictions, labels != ignore),
        }

    return Task(preprocess, init, loss, predict, stats, summarise, visualise)
