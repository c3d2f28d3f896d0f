"""The miniature config with augmentation, and plain SGD, which hides no wrong gradient."""

import optax
from miniature import build as build_miniature
from miniature import card, get_config, model, sources, task

from segjax.data import augment

__all__ = ["build", "card", "get_config", "model", "sources", "task"]


def build(config):
    experiment = build_miniature(config)
    distort = augment.compose(
        augment.flip(horizontal=True, vertical=True),
        augment.photometric(brightness=0.3, contrast=0.3),
        augment.gaussian_noise(0.1),
    )
    loss = augment.with_augment(experiment.task.loss, distort)
    return experiment._replace(task=experiment.task._replace(loss=loss), tx=optax.sgd(0.1))
