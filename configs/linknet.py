"""LinkNet (Chaurasia and Culurciello 2017) on CamVid, and the two later ones on ResNet-34.

    python -m segjax.main --config=configs/linknet.py --config.manual_dir=camvid
    python -m segjax.main --config=configs/linknet.py --config.manual_dir=camvid \\
        --config.model.variant=linknet34 --config.init_from=resnet34-b627a593.pth:backbone

config.model.variant is linknet18, linknet34 (Shvets et al. 2018) or linknet34_smp. The paper's
CamVid test mIoU is 69.1 on images of 768 x 512. config.model.upsample is the decoders'; the heads,
which make logits of transposed convolutions, keep theirs.
"""

from typing import Any

from ml_collections import ConfigDict

from segjax import recipe
from segjax.backbones.resnet import resnet18, resnet34
from segjax.core import Experiment, Task
from segjax.errors import choose
from segjax.models import linknet

VARIANTS = {
    "linknet18": (linknet.linknet18, resnet18),
    "linknet34": (linknet.linknet34, resnet34),
    "linknet34_smp": (linknet.linknet34_smp, resnet34),
}


def get_config() -> ConfigDict:
    return recipe.get_config(variant="linknet18", width=64)


def model(config: Any, card: dict) -> linknet.LinkNet:
    net, resnet = choose(VARIANTS, config.model.variant, "config.model.variant")
    width = config.model.width
    backbone = resnet(width=width, stem=(width,), **recipe.backbone_options(config))
    return net(len(card["class_names"]), backbone=backbone, **recipe.options(config))


sources, card = recipe.sources, recipe.card


def task(config: Any, card: dict) -> Task:
    return recipe.task(config, card, model(config, card))


def build(config: Any) -> Experiment:
    return recipe.build(config, task)
