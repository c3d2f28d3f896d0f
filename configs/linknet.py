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

from segjax.backbones.resnet import resnet18, resnet34
from segjax.core import Experiment
from segjax.errors import choose
from segjax.models import linknet
from segjax.recipes import networks, semantic

VARIANTS = {
    "linknet18": (linknet.linknet18, resnet18),
    "linknet34": (linknet.linknet34, resnet34),
    "linknet34_smp": (linknet.linknet34_smp, resnet34),
}


def get_config() -> ConfigDict:
    return semantic.get_config(variant="linknet18", width=64)


def model(config: Any, num_classes: int) -> linknet.LinkNet:
    net, resnet = choose(VARIANTS, config.model.variant, "config.model.variant")
    width = config.model.width
    backbone = resnet(width=width, stem=(width,), **networks.backbone_options(config))
    return net(num_classes, backbone=backbone, **networks.options(config))


def build(config: Any, facts: Any = None) -> Experiment:
    return semantic.build(config, model, facts)
