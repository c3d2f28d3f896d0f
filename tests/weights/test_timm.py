"""timm's classifiers: recognised by their names, as a whole and as backbones, and equal."""

import functools

import jax
import numpy as np
import pytest
from parity import GOLDEN, check, state_dict

from segjax.backbones import mobilenet_v2, mobilenet_v3, resnet, vgg
from segjax.backbones.resnet import PreActBottleneck, ResNet
from segjax.nn.layers import BatchNorm
from segjax.weights.families import FAMILIES, recognise
from segjax.weights.keymap import fill, flatten


def recognised(name, model, under=""):
    """The family of a golden file's checkpoint, as the model recognises it and is filled by it."""
    golden = np.load(GOLDEN / f"{name}.npz")
    init = functools.partial(model.init, train=False)
    variables = jax.eval_shape(init, jax.random.key(0), golden["image"])
    family = recognise(variables, state_dict(golden), under)
    filled, kept = fill(variables, state_dict(golden), FAMILIES[family], under=under)
    assert not kept
    return family, flatten(filled)


def test_the_features_of_a_vgg():
    model = vgg.VGG((1, 1, 2, 2, 2), (3, 4, 5, 6, 7))
    family, _ = recognised("vgg_timm", model)
    assert family == "torchvision VGG11"
    check("vgg_timm", model, FAMILIES[family], {"c5": "c5"})


@pytest.mark.parametrize(
    ("name", "wanted", "model"),
    [
        (
            "resnet_v1c_timm",
            "timm RESNET_V1C",
            resnet.Classifier(ResNet((1, 2, 2, 2), width=8, stem=(4, 4, 8)), 10),
        ),
        (
            "resnet_v2_timm",
            "timm RESNET_V2",
            resnet.Classifier(ResNet((1, 2, 2, 2), PreActBottleneck, width=8, stem=(8,)), 10),
        ),
        (
            "mobilenetv2_100_timm",
            "timm MOBILENET_V2",
            mobilenet_v2.Classifier(mobilenet_v2.MobileNetV2(), 10),
        ),
        (
            "mobilenetv3_large_100_timm",
            "timm MOBILENET_V3_LARGE",
            mobilenet_v3.Classifier(mobilenet_v3.mobilenet_v3_large(norm=BatchNorm), 1280, 10),
        ),
        (
            "mobilenetv3_small_100_timm",
            "timm MOBILENET_V3_SMALL",
            mobilenet_v3.Classifier(mobilenet_v3.mobilenet_v3_small(norm=BatchNorm), 1024, 10),
        ),
    ],
)
def test_classifiers(name, wanted, model):
    family, whole = recognised(name, model)
    assert family == wanted
    check(name, model, FAMILIES[family])
    family, part = recognised(name, model, "backbone")
    assert family == wanted
    for path, x in part.items():
        if "/backbone/" in path:
            np.testing.assert_array_equal(x, whole[path])
