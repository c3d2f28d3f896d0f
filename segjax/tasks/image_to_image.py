"""Images from images: colourisation, inpainting, restoration.

The network of a segmentation task with another head and loss: 'logits' are what it draws.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from segjax import fields, visualize
from segjax.core import Batch, Example, Predictor, Preds, Scalars, Task, Tree, Variables
from segjax.losses.regression import l1
from segjax.metrics import Metric, figures_of
from segjax.ops.colour import lab_to_rgb, rgb_to_lab
from segjax.tasks.fit import Model, centre, check_size, fit_to, init_variables


class Pair(NamedTuple):
    """What the network sees and what it shall draw."""

    input: jax.Array  # [B, H, W, C]
    target: jax.Array  # [B, H, W, K]
    weight: jax.Array | None = None  # [B, H, W] of the loss


def colour_image_of(record: Mapping[str, Any]) -> np.ndarray:
    """The image of a record, RGB."""
    image = record["image"]
    return np.repeat(image, 3, -1) if image.shape[-1] == 1 else image


def drawing(
    model: Model,
    *,
    pair: Callable[[Batch, jax.Array], Pair],
    show: Callable[[jax.Array, jax.Array], jax.Array],
    size: tuple[int, int],
    prepare: Callable[[Mapping[str, Any]], np.ndarray] = colour_image_of,
    activation: Callable[[jax.Array], jax.Array] = lambda x: x,
) -> Predictor:
    """What a network draws of any photograph; arguments as of `image_to_image`.

    The maps and the results are 'image', RGB in [0, 1], float32 [B, H, W, 3] and [H, W, 3].
    """

    def apply(variables: Variables, images: jax.Array, margin: int = 0) -> Preds:
        wanted = [n - 2 * margin for n in images.shape[1:3]]
        image = pair({"image": fields.unit(images)}, jax.random.key(0)).input
        logits = model.apply(variables, fit_to(model, image, wanted), train=False)["logits"]
        drawn, seen = activation(centre(logits, wanted)), centre(image, wanted)
        return {"image": show(drawn, seen)}

    def finish(maps: Mapping[str, np.ndarray], record: Mapping[str, Any]) -> dict[str, np.ndarray]:
        image, there = np.asarray(maps["image"]), record["image"].shape[:2]
        if image.shape[:2] != there:
            image = cv2.resize(image, there[::-1], interpolation=cv2.INTER_LINEAR)
        return {"image": image}

    def write(results: Mapping[str, np.ndarray], path: Path) -> None:
        picture = np.rint(255 * np.clip(results["image"], 0, 1)).astype(np.uint8)
        Image.fromarray(picture).save(f"{path}_image.png")

    return Predictor(size, prepare, apply, finish, write)


def image_to_image(
    model: Model,
    *,
    pair: Callable[[Batch, jax.Array], Pair],
    show: Callable[[jax.Array, jax.Array], jax.Array],
    metrics: Sequence[Metric],
    size: tuple[int, int],
    prepare: Callable[[Mapping[str, Any]], np.ndarray] = colour_image_of,
    activation: Callable[[jax.Array], jax.Array] = lambda x: x,
    pixel_loss: Callable[..., jax.Array] = l1,
) -> Task:
    """The task of drawing a target image, learned from photographs alone.

    Args:
      model: its 'logits' are the drawing; see `Model`. A network whose output is smaller than its
        input sees mirrored borders in evaluation; in training its targets are cropped.
      pair: (batch, key) -> `Pair`, on the device. Evaluation gives the same key every time.
      show: (drawing, input) -> RGB float [B, H, W, 3] in [0, 1], both of one size; what is drawn
        and the target alike are shown by it.
      metrics: what evaluation reports of preds['image'] and preds['truth'], both shown so.
      size: (height, width) of the examples: whole images, filled up with mirrored image; an
        augmentation may crop them.
      prepare: record -> the image as the network sees it, RGB, uint8 or uint16.
      activation: from the logits to the range of the target.
      pixel_loss: (drawing, target, valid=, weight=) -> scalar, as in `losses.regression`.
    """
    check_size("size", size)

    def preprocess(
        record: Mapping[str, Any], generator: np.random.Generator, train: bool
    ) -> Example:
        del generator, train  # what is random happens on the device
        return fields.padded({"image": prepare(record)}, size, record.get("name", ""))

    def init(key: jax.Array, batch: Batch) -> Variables:
        return init_variables(model, key, jax.eval_shape(unit_pair, batch, key).input)

    def unit_pair(batch: Batch, key: jax.Array) -> Pair:
        return pair(fields.with_unit_image(batch), key)

    def valid_pixels(batch: Batch) -> Any:
        return batch["valid"][:, None, None] & batch["mask"]

    def loss(
        params: Tree, model_state: Tree, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Tree, Scalars]]:
        pair_key, dropout_key = jax.random.split(key)
        image, target, weight = unit_pair(batch, pair_key)
        out, new_state = model.apply(
            {"params": params, **model_state},
            image,
            train=True,
            rngs={"dropout": dropout_key},
            mutable=list(model_state),
        )
        drawing = activation(out["logits"])
        target, valid = (centre(x, drawing.shape[1:3]) for x in (target, valid_pixels(batch)))
        weight = None if weight is None else centre(weight, drawing.shape[1:3])
        return pixel_loss(drawing, target, valid=valid, weight=weight), (new_state, {})

    def predict(variables: Variables, batch: Batch) -> Preds:
        # What is wanted is the size of the mask; an image larger than that brings context along.
        wanted = batch["mask"].shape[1:3]
        image, target, _ = unit_pair(batch, jax.random.key(0))
        logits = model.apply(variables, fit_to(model, image, wanted), train=False)["logits"]
        drawing, seen = activation(centre(logits, wanted)), centre(image, wanted)
        truth = show(centre(target, wanted), seen)
        return {"drawing": drawing, "image": show(drawing, seen), "truth": truth, "input": seen}

    def stats(preds: Preds, batch: Batch) -> Tree:
        return tuple(metric.stats(preds, batch, valid_pixels(batch)) for metric in metrics)

    def summarise(evidence: Iterable[Tree]) -> dict[str, float]:
        return figures_of(metrics, evidence)

    def visualise(preds: Preds, batch: Batch) -> dict[str, np.ndarray]:
        shown = np.asarray(batch["valid"])
        pictures = {name: np.asarray(preds[name])[shown] for name in ("image", "truth")}
        drawn, truth = (np.rint(255 * np.clip(x, 0, 1)).astype(np.uint8) for x in pictures.values())
        return {
            "input": visualize.to_rgb(np.asarray(preds["input"])[shown]),
            "truth": truth,
            "prediction": drawn,
        }

    return Task(preprocess, init, loss, predict, stats, summarise, visualise)


def colour_from_lightness(batch: Batch, key: jax.Array) -> Pair:
    """Colourisation: from the lightness of the image, L / 100, its colour, (a, b) / 110.

    CIE Lab, in which Zhang et al. 2016 (arXiv:1603.08511), section 2, state the problem. No colour
    of a screen leaves [-1, 1], the range of tanh.
    """
    del key
    lab = rgb_to_lab(batch["image"])
    return Pair(lab[..., :1] / 100, lab[..., 1:] / 110)


def coloured(colour: jax.Array, lightness: jax.Array) -> jax.Array:
    """What `colour_from_lightness` took apart, as RGB."""
    return lab_to_rgb(jnp.concatenate([100 * lightness, 110 * colour], -1))


def image_from_rest(batch: Batch, key: jax.Array, *, hole_weight: float = 6.0) -> Pair:
    """Inpainting: the image, from what is left of it around random holes and a mask of them.

    Holes are mid-grey and weigh 6 times as much in the loss as the rest: Liu et al. 2018
    (arXiv:1804.07723), equation 7.
    """
    image = batch["image"]
    hole = random_holes(key, image.shape[:3])
    rest = jnp.where(hole[..., None], 0.5, image)
    seen = jnp.concatenate([rest, hole[..., None].astype(image.dtype)], -1)
    return Pair(seen, image, jnp.where(hole, hole_weight, 1.0))


def filled(drawing: jax.Array, seen: jax.Array) -> jax.Array:
    """The image with the holes of `image_from_rest` filled by the drawing, the rest as it was."""
    return jnp.where(seen[..., -1:] > 0.5, jnp.clip(drawing, 0, 1), seen[..., :-1])


def random_holes(
    key: jax.Array, shape: Sequence[int], count: int = 4, side: tuple[float, float] = (0.1, 0.35)
) -> jax.Array:
    """bool [B, H, W], True in `count` boxes an image, with sides of that share of the image's.

    Boxes lie within the image and may overlap.
    """
    batch, *size = shape
    draws = jax.random.uniform(key, (2, 2, batch, count, 1))  # [length or start, axis, ...]
    inside = []
    for axis, n in enumerate(size):
        length = n * (side[0] + (side[1] - side[0]) * draws[0, axis])
        start = (n - length) * draws[1, axis]
        pixel = jnp.arange(n) + 0.5
        inside.append((pixel >= start) & (pixel < start + length))  # [B, count, n]
    rows, columns = inside
    return jnp.any(rows[..., :, None] & columns[..., None, :], 1)
