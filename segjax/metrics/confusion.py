"""Figures of semantic segmentation from one confusion matrix over the whole split."""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np

from segjax.errors import InputError
from segjax.metrics.metric import Metric


def confusion_matrix(
    labels: jax.Array,
    predictions: jax.Array,
    num_classes: int,
    valid: jax.Array | None = None,
) -> jax.Array:
    """Counts pixels by true class (row) and predicted class (column), int32 [C, C].

    Labels and predictions are integers of one shape, valid bool of the same. A pixel does not count
    where valid is False, nor where its label or its prediction lies outside [0, num_classes).
    Long, Shelhamer and Darrell 2015 (arXiv:1411.4038), section 5.
    """
    chex.assert_type([labels, predictions], int)
    chex.assert_equal_shape([labels, predictions, *([] if valid is None else [valid])])
    counted = (labels >= 0) & (labels < num_classes)
    counted &= (predictions >= 0) & (predictions < num_classes)
    if valid is not None:
        counted &= valid
    cells = num_classes * num_classes
    # uint8 labels would wrap in the product, and the index `cells` is out of range: dropped.
    cell = labels.astype(jnp.int32) * num_classes + predictions.astype(jnp.int32)
    cell = jnp.where(counted, cell, cells)
    counts = jnp.zeros(cells, jnp.int32).at[cell.ravel()].add(1, mode="drop")
    return counts.reshape(num_classes, num_classes)


def figures(matrix: np.ndarray, class_names: Sequence[str] | None = None) -> dict[str, float]:
    """Names and figures of a confusion matrix [C, C] (true class, predicted class), on the host.

    'pixel_accuracy'; 'mean_accuracy' over the classes in the truth; 'iou/<class>', 'dice/<class>',
    'miou' and 'mean_dice', where a class neither true nor predicted anywhere is NaN and no part of
    the mean; 'fw_iou', the IoU weighted by the true frequency. Figures of nothing are NaN. Raises
    InputError where the names do not match. Long, Shelhamer and Darrell 2015, section 5.
    """
    matrix = np.asarray(matrix)
    num_classes = len(matrix)
    names = list(class_names) if class_names is not None else [str(c) for c in range(num_classes)]
    if len(names) != num_classes:
        raise InputError(
            f"class_names has {len(names)} names for {num_classes} classes; give one per class."
        )
    hits = np.diag(matrix).astype(np.float64)
    true, predicted = matrix.sum(1), matrix.sum(0)
    iou = _ratio(hits, true + predicted - hits)
    dice = _ratio(2 * hits, true + predicted)
    return {
        "miou": _mean(iou),
        "pixel_accuracy": float(_ratio(hits.sum(), true.sum())),
        "mean_accuracy": _mean(_ratio(hits, true)),
        "fw_iou": float(_ratio(np.sum(true * np.nan_to_num(iou)), true.sum())),
        "mean_dice": _mean(dice),
        **{f"iou/{name}": float(value) for name, value in zip(names, iou, strict=True)},
        **{f"dice/{name}": float(value) for name, value in zip(names, dice, strict=True)},
    }


def _ratio(part, whole):
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def _mean(per_class):
    known = per_class[~np.isnan(per_class)]
    return float(known.mean()) if known.size else float("nan")


def confusion(num_classes: int, class_names: Sequence[str] | None = None) -> Metric:
    """The `figures` of preds['label'] against batch['label'], integer [B, H, W] or [B, D, H, W]."""

    def stats(preds, batch, valid):
        chex.assert_rank([preds["label"], batch["label"], valid], {3, 4})
        return confusion_matrix(batch["label"], preds["label"], num_classes, valid)

    def summarise(evidence):
        total = np.zeros((num_classes, num_classes), np.int64)
        for matrix in evidence:
            total += matrix
        return figures(total, class_names)

    nothing = np.zeros((num_classes, num_classes), np.int64)
    return Metric(tuple(figures(nothing, class_names)), stats, summarise)
