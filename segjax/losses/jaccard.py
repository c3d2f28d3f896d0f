"""The soft Jaccard index, and its logarithm with cross-entropy as TernausNet is trained."""

import chex
import jax
import jax.numpy as jnp

from segjax.losses.cross_entropy import binary_cross_entropy, cross_entropy


def soft_jaccard(
    probability: jax.Array,
    target: jax.Array,
    *,
    valid: jax.Array | None = None,
    axis: int | tuple[int, ...] | None = None,
    epsilon: float = 1e-15,
) -> jax.Array:
    """J = (I + epsilon) / (S - I + epsilon) with I = sum(p t) and S = sum(p) + sum(t), in float32.

    probability, target (bool, integer or a probability) and valid have one shape. The sums are over
    `axis`, of the whole batch unless given; J is exactly 1 where nothing is valid. Rahman and Wang
    2016; TernausNet's paper (arXiv:1801.05746) has the mean of a ratio per pixel, its code this
    ratio of sums.
    """
    chex.assert_equal_shape([x for x in (probability, target, valid) if x is not None])
    p, t = probability.astype(jnp.float32), target.astype(jnp.float32)
    if valid is not None:
        p, t = jnp.where(valid, p, 0), jnp.where(valid, t, 0)
    intersection = jnp.sum(p * t, axis)
    return (intersection + epsilon) / (jnp.sum(p, axis) + jnp.sum(t, axis) - intersection + epsilon)


def binary_cross_entropy_log_jaccard(
    logits: jax.Array,
    labels: jax.Array,
    *,
    valid: jax.Array | None = None,
    jaccard_weight: float = 0.3,
) -> jax.Array:
    """(1 - w) * binary cross-entropy - w * log J over the whole batch; exactly 0 without any pixel.

    logits, labels and valid as in `binary_cross_entropy`. w = jaccard_weight is 0.3 in TernausNet's
    training script, 0.5 in its loss; arXiv:1801.05746.
    """
    entropy = binary_cross_entropy(logits, labels, valid=valid)
    z = logits.astype(jnp.float32)
    z = z if valid is None else jnp.where(valid, z, 0)
    jaccard = soft_jaccard(jax.nn.sigmoid(z), labels, valid=valid)
    return (1 - jaccard_weight) * entropy - jaccard_weight * jnp.log(jaccard)


def cross_entropy_log_jaccard(
    logits: jax.Array,
    labels: jax.Array,
    *,
    valid: jax.Array | None = None,
    weight: jax.Array | None = None,
    jaccard_weight: float = 0.3,
) -> jax.Array:
    """(1 - w) * cross-entropy - w * sum over the classes of log J; exactly 0 without any pixel.

    logits [..., C], labels int [...], valid and weight, of the entropy alone, as in
    `cross_entropy`. Every class, the background included, adds a term over the whole batch; that of
    a class without a pixel is large, about log(1e15 * sum(p)). As released with Shvets et al. 2018,
    arXiv:1803.01207.
    """
    entropy = cross_entropy(logits, labels, valid=valid, weight=weight)
    z = logits.astype(jnp.float32)
    target = labels[..., None] == jnp.arange(z.shape[-1])
    if valid is not None:
        z = jnp.where(valid[..., None], z, 0)
        valid = jnp.broadcast_to(valid[..., None], z.shape)
    classes = soft_jaccard(jax.nn.softmax(z), target, valid=valid, axis=tuple(range(labels.ndim)))
    return (1 - jaccard_weight) * entropy - jaccard_weight * jnp.sum(jnp.log(classes))
