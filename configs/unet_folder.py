"""U-Net on your own images: a folder with images/, masks/ and, if you like, classes.txt.

    python -m segjax.data.check --config=configs/unet_folder.py --config.root=my_data
    python -m segjax.main --config=configs/unet_folder.py --config.root=my_data --workdir=runs/mine

Images and masks are paired by name; a fifth of them, chosen by a hash of the name, validates,
unless there are train/ and val/ folders. Training sees random crops of `crop`, evaluation whole
images of at most `eval_size`. docs/data.md tells which files can be read. config.model.variant is
transposed or bilinear, milesial/Pytorch-UNet's two: what halves the channels on the way up.
"""

from typing import Any

from ml_collections import ConfigDict

from segjax import recipe
from segjax.core import Experiment, Task
from segjax.errors import choose
from segjax.models.unet import PADDED, UNet


def get_config() -> ConfigDict:
    config = recipe.get_config(variant="transposed", width=16, dropout=0.2)
    config.dataset = "folder"
    config.batch_size = 4
    config.crop = (256, 256)
    config.eval_size = (512, 512)
    config.learning_rate = 2e-3
    return config


def model(config: Any, card: dict) -> UNet:
    make = choose(PADDED, config.model.variant, "config.model.variant")
    return make(
        len(card["class_names"]),
        width=config.model.width,
        dropout=config.model.dropout,
        **recipe.options(config),
    )


sources, card = recipe.sources, recipe.card


def task(config: Any, card: dict) -> Task:
    return recipe.task(config, card, model(config, card))


def build(config: Any) -> Experiment:
    return recipe.build(config, task)
