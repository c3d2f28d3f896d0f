"""The U-Net paper's network and recipe on the ISBI 2012 EM challenge (Ronneberger et al. 2015).

    python -m segjax.main --config=configs/unet_paper.py --config.manual_dir=isbi_em

Unpadded convolutions, tiles of 572 -> 388 pixels with mirrored borders, one tile a batch, SGD with
momentum 0.99, elastic deformation of 10 pixels on a 3 x 3 grid, border weights w0 = 10, sigma = 5.
The paper gives no learning rate, number of steps or dropout rate; ours are marked. It is meant for
a GPU or TPU, and was not trained to its end here; on two CPU cores take configs/unet_isbi.py.
"""

from functools import partial
from typing import Any

from ml_collections import ConfigDict

from segjax import augment
from segjax.augment import Augmentation
from segjax.core import Experiment
from segjax.data.border_weights import border_weights_of
from segjax.models.unet import UNet
from segjax.recipes import networks, semantic


def get_config() -> ConfigDict:
    # remat: recompute activations in the backward pass instead of storing them
    config = semantic.get_config(dataset="isbi_em", width=64, depth=4, remat=False)
    config.border_weight = 10.0
    config.crop = (388, 388)  # of labels: the network sees 572
    config.batch_size = 1
    config.optimizer, config.momentum, config.weight_decay = "sgd", 0.99, 0.0
    config.learning_rate, config.schedule, config.warmup = 1e-3, "constant", 0  # ours
    config.log_every = 50
    config.update({"train": {"steps": 30_000, "eval_every": 1_000}})  # ours
    return config


def model(config: Any, num_classes: int) -> UNet:
    width, depth, remat = config.model.width, config.model.depth, config.model.remat
    return UNet(num_classes, width, depth, remat=remat, **networks.options(config))


def distort(crop: tuple[int, ...]) -> Augmentation:
    window = [augment.crop(*crop), augment.flip(0, 1)]
    return augment.compose(
        augment.geometric(*window, augment.rotate(180.0), augment.elastic(10.0)),
        augment.photometric(brightness=0.1, contrast=0.1),
    )


def build(config: Any, facts: Any = None) -> Experiment:
    weights = partial(border_weights_of, w0=config.border_weight)
    return semantic.build(config, model, facts, pixel_weights=weights, distort=distort)
