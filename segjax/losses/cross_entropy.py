"""Cross-entropy over pixels, with per-pixel weights and a mask that excludes without a trace."""

import chex
import jax
import jax.numpy as jnp

from segjax.losses.masked import excluded_as, masked_mean


def cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    *,
    valid: jax.Array | None = None,
    weight: jax.Array | None = None,
    label_smoothing: float = 0.0,
) -> jax.Array:
    """Softmax cross-entropy in float32, the mean over the valid pixels; exactly 0 without any.

    logits [..., C], labels int [...], valid bool [...], weight [...]. Each pixel's term is
    multiplied by its weight and the sum divided by the number of valid pixels, so that the weighted
    energy of U-Net (Ronneberger et al. 2015, arXiv:1505.04597, equation 1) keeps its scale; torch
    divides by the sum of the weights instead. Smoothing mixes the one-hot target with 1/C (Szegedy
    et al. 2016, arXiv:1512.00567, section 7). A valid label outside [0, C) makes the loss NaN.
    """
    chex.assert_type(labels, int)
    chex.assert_shape(logits, (*labels.shape, None))
    classes = logits.shape[-1]
    logits = excluded_as(0, logits.astype(jnp.float32), None if valid is None else valid[..., None])
    labels = excluded_as(0, labels, valid)
    one_hot = labels[..., None] == jnp.arange(classes)
    log_p = jax.nn.log_softmax(logits)
    terms = -jnp.sum(log_p, -1, where=one_hot)
    if label_smoothing:
        terms = (1 - label_smoothing) * terms - label_smoothing * jnp.mean(log_p, -1)
    terms = jnp.where((labels >= 0) & (labels < classes), terms, jnp.nan)
    return masked_mean(terms, valid, weight)


def binary_cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    *,
    valid: jax.Array | None = None,
    weight: jax.Array | None = None,
) -> jax.Array:
    """Sigmoid cross-entropy in float32, the mean over the valid pixels; exactly 0 without any.

    logits, labels (bool, integer or a probability in [0, 1]), valid and weight have one shape; the
    weight counts as in `cross_entropy`. t softplus(-z) + (1 - t) softplus(z), finite for every z.
    """
    chex.assert_equal_shape([logits, labels])
    z = excluded_as(0, logits.astype(jnp.float32), valid)
    t = excluded_as(0, labels.astype(jnp.float32), valid)
    # max(z, 0) - z t + log(1 + exp(-|z|)) is the same number, but its gradient is wrong at z = 0.
    terms = t * jax.nn.softplus(-z) + (1 - t) * jax.nn.softplus(z)
    return masked_mean(terms, valid, weight)


def class_weights(labels: jax.Array, per_class: jax.Array) -> jax.Array:
    """Weight [...] of each pixel from its class: labels int [...], per_class [C].

    Labels outside [0, C) weigh 0. torch's class-weighted mean is `cross_entropy` with this weight
    divided by the weight's own mean over the valid pixels.
    """
    chex.assert_type(labels, int)
    per_class = jnp.asarray(per_class)
    chex.assert_rank(per_class, 1)
    known = (labels >= 0) & (labels < len(per_class))
    return jnp.where(known, per_class[jnp.where(known, labels, 0)], 0)
