"""Metrics as map and reduce: evidence of a batch on the device, figures of a split on the host."""

from segjax.metrics.boundary import boundary_band, boundary_iou
from segjax.metrics.confusion import confusion, confusion_matrix
from segjax.metrics.em import em_scores, v_info, v_rand
from segjax.metrics.image_quality import psnr, squared_error, ssim, structural_similarity
from segjax.metrics.metric import Metric, figures_of

__all__ = [
    "Metric",
    "boundary_band",
    "boundary_iou",
    "confusion",
    "confusion_matrix",
    "em_scores",
    "figures_of",
    "psnr",
    "squared_error",
    "ssim",
    "structural_similarity",
    "v_info",
    "v_rand",
]
