"""Losses: functions of arrays, a validity mask and weights, differentiable, in float32."""

from segjax.losses.cross_entropy import binary_cross_entropy, class_weights, cross_entropy
from segjax.losses.jaccard import (
    binary_cross_entropy_log_jaccard,
    cross_entropy_log_jaccard,
    soft_jaccard,
)
from segjax.losses.masked import excluded_as, masked_mean
from segjax.losses.regression import l1, l2

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_log_jaccard",
    "class_weights",
    "cross_entropy",
    "cross_entropy_log_jaccard",
    "excluded_as",
    "l1",
    "l2",
    "masked_mean",
    "soft_jaccard",
]
