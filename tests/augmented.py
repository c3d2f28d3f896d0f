"""The miniature config with augmentation, and plain SGD, which hides no wrong gradient."""

import optax
from miniature import build as build_miniature
from miniature import get_config

from segjax import augment

__all__ = ["build", "get_config"]


def build(config, facts=None):
    experiment = build_miniature(config, facts)
    distort = augment.compose(
        augment.geometric(augment.flip(0, 1), augment.zoom(0.8, 1.2), augment.crop(32, 32)),
        augment.photometric(brightness=0.3, contrast=0.3),
        augment.gaussian_noise(0.1),
    )
    loss = augment.with_augment(experiment.task.loss, distort)
    return experiment._replace(task=experiment.task._replace(loss=loss), tx=optax.sgd(0.1))
