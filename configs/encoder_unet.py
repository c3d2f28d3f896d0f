"""U-Net with a classifier's backbone as its encoder, on CamVid.

    python -m segjax.main --config=configs/encoder_unet.py --config.manual_dir=camvid
    python -m segjax.main --config=configs/encoder_unet.py --config.manual_dir=camvid \\
        --config.init_from=resnet34-b627a593.pth:backbone
    python -m segjax.main --config=configs/encoder_unet.py --config.manual_dir=camvid \\
        --config.model.backbone=efficientnet_b0

config.model.backbone is one of those below; config.model.width scales the decoder, whose five
blocks have 16, 8, 4, 2 and 1 times that many channels.
"""

import functools
from typing import Any

from ml_collections import ConfigDict

from segjax.backbones import vgg
from segjax.backbones.efficientnet import efficientnet_b0, efficientnet_b4
from segjax.backbones.hrnet import HRNet
from segjax.backbones.mobilenet_v3 import mobilenet_v3_large, mobilenet_v3_small
from segjax.backbones.resnet import resnet50_v1c, resnet101_v1c, resnet152
from segjax.core import Experiment
from segjax.errors import choose
from segjax.models import encoder_unet
from segjax.models.encoder_unet import EncoderUNet
from segjax.recipes import networks, semantic

# EfficientNets come in two paddings: segmentation-models' and timm's `tf_` weights want the first
# two, torchvision's the next two.
NETWORKS = {
    "resnet18": encoder_unet.unet_resnet18,
    "resnet34": encoder_unet.unet_resnet34,
    "resnet50": encoder_unet.unet_resnet50,
    "resnet101": encoder_unet.unet_resnet101,
    "resnet152": functools.partial(EncoderUNet, backbone=resnet152()),
    "resnet50_v1c": functools.partial(EncoderUNet, backbone=resnet50_v1c()),
    "resnet101_v1c": functools.partial(EncoderUNet, backbone=resnet101_v1c()),
    "efficientnet_b0": encoder_unet.unet_efficientnet_b0,
    "efficientnet_b4": encoder_unet.unet_efficientnet_b4,
    "efficientnet_b0_torchvision": functools.partial(EncoderUNet, backbone=efficientnet_b0()),
    "efficientnet_b4_torchvision": functools.partial(EncoderUNet, backbone=efficientnet_b4()),
    "mobilenet_v2": encoder_unet.unet_mobilenet_v2,
    "mobilenet_v3_large": functools.partial(EncoderUNet, backbone=mobilenet_v3_large(tap="last")),
    "mobilenet_v3_small": functools.partial(EncoderUNet, backbone=mobilenet_v3_small(tap="last")),
    "hrnet_w18": functools.partial(EncoderUNet, backbone=HRNet(18)),
    "hrnet_w32": functools.partial(EncoderUNet, backbone=HRNet(32)),
    "hrnet_w48": functools.partial(EncoderUNet, backbone=HRNet(48)),
}
VGGS = {
    "vgg11": vgg.vgg11,
    "vgg11_bn": vgg.vgg11_bn,
    "vgg13": vgg.vgg13,
    "vgg13_bn": vgg.vgg13_bn,
    "vgg16": vgg.vgg16,
    "vgg16_bn": vgg.vgg16_bn,
    "vgg19": vgg.vgg19,
    "vgg19_bn": vgg.vgg19_bn,
}
NETWORKS |= {
    name: functools.partial(EncoderUNet, backbone=make(), centre=2) for name, make in VGGS.items()
}


def get_config() -> ConfigDict:
    return semantic.get_config(backbone="resnet34", width=16)


def model(config: Any, num_classes: int) -> EncoderUNet:
    network = choose(NETWORKS, config.model.backbone, "config.model.backbone")
    widths = tuple(config.model.width * n for n in (16, 8, 4, 2, 1))
    net = network(num_classes, widths=widths, **networks.options(config))
    return net.clone(backbone=networks.prepared(net.backbone, config))


def build(config: Any, facts: Any = None) -> Experiment:
    return semantic.build(config, model, facts)
