"""Augmentations one after the other, and losses of augmented batches."""

from collections.abc import Callable
from typing import Any

import jax

Augmentation = Callable[[jax.Array, dict[str, Any]], dict[str, Any]]


def compose(*augmentations: Augmentation) -> Augmentation:
    """One augmentation that applies `augmentations` from left to right, each with its own key."""

    def augment(key: jax.Array, batch: dict[str, Any]) -> dict[str, Any]:
        for each, part in zip(
            augmentations, jax.random.split(key, len(augmentations)), strict=True
        ):
            batch = each(part, batch)
        return batch

    return augment if augmentations else lambda key, batch: batch


def with_augment(loss: Callable, augment: Augmentation) -> Callable:
    """The loss function of augmented batches.

    `loss(params, model_state, batch, key)` becomes a function of the same arguments which gives
    `augment` one half of the key and `loss` the other.
    """

    def augmented_loss(params: Any, model_state: Any, batch: Any, key: jax.Array) -> Any:
        augment_key, loss_key = jax.random.split(key)
        return loss(params, model_state, augment(augment_key, batch), loss_key)

    return augmented_loss
