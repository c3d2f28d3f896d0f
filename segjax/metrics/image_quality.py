"""How close predicted images come to the true ones: PSNR and SSIM, the mean over images."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np

from segjax.errors import InputError
from segjax.metrics.metric import Metric

WINDOW, SIGMA, K1, K2 = 11, 1.5, 0.01, 0.03  # of SSIM


def squared_error(image: jax.Array, truth: jax.Array, valid: jax.Array) -> jax.Array:
    """Mean squared error of each image, float32 [B]: over channels and valid pixels, or NaN.

    Images float [B, H, W, C], valid bool [B, H, W].
    """
    image, truth = _masked(image, truth, valid)
    terms = jnp.mean(jnp.square(image - truth), -1)
    return _mean_where(terms, valid)


def structural_similarity(image: jax.Array, truth: jax.Array, valid: jax.Array) -> jax.Array:
    """SSIM of each image, float32 [B]: over channels and windows of valid pixels alone, or NaN.

    Images float [B, H, W, C] in [0, 1], valid bool [B, H, W]. Windows of 11 x 11 pixels lie within
    the image and are weighted by a Gaussian of standard deviation 1.5; variances are those of the
    window, not of a sample. Colours count as C grey images. Wang et al. 2004 (IEEE TIP 13(4)),
    section III.B. Raises `InputError` for images smaller than a window.
    """
    image, truth = _masked(image, truth, valid)
    if min(image.shape[1:3]) < WINDOW:
        raise InputError(
            f"SSIM needs images of at least {WINDOW} x {WINDOW} pixels, not "
            f"{image.shape[1]} x {image.shape[2]}."
        )
    distance = np.arange(WINDOW) - WINDOW // 2
    bell = np.exp(-np.square(distance) / (2 * SIGMA**2))
    bell /= bell.sum()

    def local_mean(x):
        return _over_windows(bell.tolist(), x)

    c1, c2 = K1**2, K2**2  # of a dynamic range of 1
    mean, true_mean = local_mean(image), local_mean(truth)
    variance = local_mean(image * image) - mean**2
    true_variance = local_mean(truth * truth) - true_mean**2
    covariance = local_mean(image * truth) - mean * true_mean
    luminance = (2 * mean * true_mean + c1) / (mean**2 + true_mean**2 + c1)
    structure = (2 * covariance + c2) / (variance + true_variance + c2)
    return _mean_where(jnp.mean(luminance * structure, -1), _whole_windows(valid))


def psnr() -> Metric:
    """'psnr': peak signal-to-noise ratio in dB of preds['image'] against preds['truth'].

    Both float [B, H, W, C] in [0, 1]. 10 log10(1 / mean squared error) of each image with a valid
    pixel, and its mean over them: infinite as soon as one image is equal to its truth.
    """

    def stats(preds, batch, valid):
        del batch
        error = squared_error(preds["image"], preds["truth"], valid)
        return {"value": error, "counted": jnp.any(valid, (1, 2))}

    def summarise(evidence):
        errors = _known(evidence)
        with np.errstate(divide="ignore"):
            return {"psnr": _mean(-10 * np.log10(errors))}

    return Metric(("psnr",), stats, summarise)


def ssim() -> Metric:
    """'ssim': `structural_similarity` of preds['image'] to preds['truth'], the mean over images.

    An image without a window of valid pixels does not count.
    """

    def stats(preds, batch, valid):
        del batch
        value = structural_similarity(preds["image"], preds["truth"], valid)
        return {"value": value, "counted": jnp.any(_whole_windows(valid), (1, 2))}

    def summarise(evidence):
        return {"ssim": _mean(_known(evidence))}

    return Metric(("ssim",), stats, summarise)


def _masked(image, truth, valid):
    chex.assert_rank([image, truth], 4)
    chex.assert_equal_shape([image, truth])
    chex.assert_shape(valid, image.shape[:3])
    return (jnp.where(valid[..., None], x.astype(jnp.float32), 0) for x in (image, truth))


def _mean_where(terms, counted):
    """The mean of each [H, W] over what counts, NaN where nothing does."""
    count = jnp.sum(counted, (1, 2), dtype=jnp.int32)
    total = jnp.sum(terms, (1, 2), where=counted)
    return jnp.where(count > 0, total / jnp.maximum(count, 1), jnp.nan)


def _whole_windows(valid):
    """Which windows hold valid pixels alone, bool [B, H - 10, W - 10]."""
    return _over_windows([1] * WINDOW, valid.astype(jnp.int32)) == WINDOW**2


def _over_windows(weights, x):
    """The weighted sum over every window that lies within [B, H, W, ...]."""
    # Sums of shifted images, not a convolution: exact on every accelerator, and XLA fuses them.
    for axis in (1, 2):
        size = x.shape[axis] - len(weights) + 1
        parts = [
            weight * jax.lax.slice_in_dim(x, i, i + size, axis=axis)
            for i, weight in enumerate(weights)
        ]
        x = sum(parts[1:], parts[0])
    return x


def _known(evidence):
    """The figures of all images of a split that count."""
    counted = [np.asarray(x["value"], np.float64)[np.asarray(x["counted"])] for x in evidence]
    return np.concatenate(counted)


def _mean(values):
    return float(values.mean()) if values.size else math.nan
