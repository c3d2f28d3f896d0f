"""Every backbone here, as a classifier, with the parameter count that is published for it."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn

from segjax.backbones import (
    alexnet,
    efficientnet,
    hrnet,
    mobilenet_v2,
    mobilenet_v3,
    resnet,
    vgg,
)
from segjax.nn.upsample import Nearest


class Entry(NamedTuple):
    """A published network."""

    make: Callable[[], nn.Module]
    input: tuple[int, ...]  # (height, width, channels) it was published for
    parameters: int
    paper: str
    source: str  # of the count
    uncounted: str = ""  # pattern of the parameters' paths that the source leaves out
    unused: int = 0  # parameters that the source counts but its network never uses


def _resnet(make, parameters):
    classifier = functools.partial(resnet.Classifier, make())
    return Entry(classifier, (224, 224, 3), parameters, "He et al. 2015", "torchvision")


def _vgg(make, parameters):
    classifier = functools.partial(vgg.Classifier, make())
    return Entry(
        classifier, (224, 224, 3), parameters, "Simonyan and Zisserman 2014", "torchvision"
    )


def _hrnet(make, parameters):
    trunk = make(upsample=Nearest)
    classifier = functools.partial(hrnet.Classifier, trunk)
    return Entry(classifier, (224, 224, 3), parameters, "Wang et al. 2019", "timm")


BACKBONES = {
    "resnet18": _resnet(resnet.resnet18, 11_689_512),
    "resnet34": _resnet(resnet.resnet34, 21_797_672),
    "resnet50": _resnet(resnet.resnet50, 25_557_032),
    "resnet101": _resnet(resnet.resnet101, 44_549_160),
    "resnet152": _resnet(resnet.resnet152, 60_192_808),
    "alexnet": Entry(
        functools.partial(alexnet.Classifier, alexnet.AlexNet()),
        (227, 227, 3),
        60_965_224,
        "Krizhevsky et al. 2012",
        "the Caffe release",
    ),
    "alexnet_torchvision": Entry(
        functools.partial(alexnet.Classifier, alexnet.alexnet_torchvision(), dropout="before"),
        (224, 224, 3),
        61_100_840,
        "Krizhevsky 2014",
        "torchvision",
    ),
    "vgg11": _vgg(vgg.vgg11, 132_863_336),
    "vgg13": _vgg(vgg.vgg13, 133_047_848),
    "vgg16": _vgg(vgg.vgg16, 138_357_544),
    "vgg19": _vgg(vgg.vgg19, 143_667_240),
    "vgg11_bn": _vgg(vgg.vgg11_bn, 132_868_840),
    "vgg13_bn": _vgg(vgg.vgg13_bn, 133_053_736),
    "vgg16_bn": _vgg(vgg.vgg16_bn, 138_365_992),
    "vgg19_bn": _vgg(vgg.vgg19_bn, 143_678_248),
    "mobilenet_v2": Entry(
        lambda: mobilenet_v2.Classifier(mobilenet_v2.MobileNetV2()),
        (224, 224, 3),
        3_504_872,
        "Sandler et al. 2018",
        "torchvision",
    ),
    "mobilenet_v3_large": Entry(
        lambda: mobilenet_v3.Classifier(mobilenet_v3.mobilenet_v3_large(), 1280),
        (224, 224, 3),
        5_483_032,
        "Howard et al. 2019",
        "torchvision",
    ),
    "mobilenet_v3_small": Entry(
        lambda: mobilenet_v3.Classifier(mobilenet_v3.mobilenet_v3_small(), 1024),
        (224, 224, 3),
        2_542_856,
        "Howard et al. 2019",
        "torchvision",
    ),
    "efficientnet_b0": Entry(
        lambda: efficientnet.Classifier(efficientnet.efficientnet_b0()),
        (224, 224, 3),
        5_288_548,
        "Tan and Le 2019",
        "torchvision",
    ),
    "efficientnet_b4": Entry(
        lambda: efficientnet.Classifier(efficientnet.efficientnet_b4(), dropout=0.4),
        (380, 380, 3),
        19_341_616,
        "Tan and Le 2019",
        "torchvision",
    ),
    "hrnet_w18": _hrnet(hrnet.hrnet_w18, 21_299_004),
    "hrnet_w32": _hrnet(hrnet.hrnet_w32, 41_232_680),
    "hrnet_w40": _hrnet(hrnet.hrnet_w40, 57_557_160),
    "hrnet_w48": _hrnet(hrnet.hrnet_w48, 77_469_864),
    "hrnet_w18_small_v1": _hrnet(hrnet.hrnet_w18_small_v1, 13_187_464),
    "hrnet_w18_small_v2": _hrnet(hrnet.hrnet_w18_small_v2, 15_597_464),
}
"""Classifiers whose features the networks above use."""
