"""Images from images: colourisation, inpainting, restoration.

The network of a segmentation task with another head and loss: 'logits' are what it draws.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from segjax import visualize
from segjax.core import Batch, Example, Preds, Scalars, Task, Tree, Variables
from segjax.losses.regression import l1
from segjax.metrics import Metric, figures_of
from segjax.ops.colour import lab_to_rgb, rgb_to_lab
from segjax.tasks.fit import (
    Model,
    centre,
    check_size,
    check_whole,
    crop_or_fill,
    fit_to,
    init_variables,
)

IGNORE = 255


class Pair(NamedTuple):
    """What the network sees and what it shall draw."""

    input: jax.Array  # [B, H, W, C]
    target: jax.Array  # [B, H, W, K]
    weight: jax.Array | None = None  # [B, H, W] of the loss


def image_to_image(
    model: Model,
    *,
    pair: Callable[[Batch, jax.Array], Pair],
    show: Callable[[jax.Array, jax.Array], jax.Array],
    metrics: Sequence[Metric],
    size: tuple[int, int],
    eval_size: tuple[int, int] | None = None,
    activation: Callable[[jax.Array], jax.Array] = lambda x: x,
    pixel_loss: Callable[..., jax.Array] = l1,
) -> Task:
    """The task of drawing a target image, learned from photographs alone.

    The 'image' of a record becomes an RGB image in [0, 1], the 'label' of an example 0 where it is
    image and 255, which does not count, where it is filled up.

    Args:
      model: its 'logits' are the drawing; see `Model`. A network whose output is smaller than its
        input sees mirrored borders in evaluation; in training its targets are cropped.
      pair: (batch, key) -> `Pair`, on the device. Evaluation gives the same key every time.
      show: (drawing, input) -> RGB float [B, H, W, 3] in [0, 1], both of one size; what is drawn
        and the target alike are shown by it.
      metrics: what evaluation reports of preds['image'] and preds['truth'], both shown so.
      size: (height, width) of training examples: random crops, filled up with mirrored image.
      eval_size: the same for evaluation, whole images filled up; `size` by default.
      activation: from the logits to the range of the target.
      pixel_loss: (drawing, target, valid=, weight=) -> scalar, as in `losses.regression`.
    """
    eval_size = eval_size or size
    check_size("size", size)
    check_size("eval_size", eval_size)

    def preprocess(
        record: Mapping[str, Any], generator: np.random.Generator, train: bool
    ) -> Example:
        image = record["image"]
        if image.shape[-1] == 1:
            image = np.repeat(image, 3, -1)
        example: Example = {
            "image": np.float32(image) / np.float32(np.iinfo(image.dtype).max),
            "label": np.zeros(image.shape[:2], np.int32),
        }
        if train:
            return crop_or_fill(example, size, IGNORE, generator)
        check_whole(image.shape, eval_size, record.get("name", ""))
        return crop_or_fill(example, eval_size, IGNORE, generator)

    def init(key: jax.Array, batch: Batch) -> Variables:
        return init_variables(model, key, jax.eval_shape(pair, batch, key).input)

    def valid_pixels(batch: Batch) -> Any:
        return batch["valid"][:, None, None] & (batch["label"] != IGNORE)

    def loss(
        params: Tree, model_state: Tree, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Tree, Scalars]]:
        pair_key, dropout_key = jax.random.split(key)
        image, target, weight = pair(batch, pair_key)
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
        # What is wanted is the size of the label; an image larger than that brings context along.
        wanted = batch["label"].shape[1:3]
        image, target, _ = pair(batch, jax.random.key(0))
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
