"""MobileNetV3 against torchvision's, and the maps that its segmentation networks take."""

import functools

import jax
import jax.numpy as jnp
import pytest
from parity import check

from segjax.backbones.mobilenet_v3 import Classifier, mobilenet_v3_large, mobilenet_v3_small
from segjax.errors import InputError
from segjax.weights import torchvision


def test_torchvisions_large_classifier_dilated():
    # The head sees the last map alone; the maps at lower strides are compared for themselves.
    name, keymap = "mobilenet_v3_large_torchvision", torchvision.MOBILENET_V3_LARGE
    model = mobilenet_v3_large(width_mult=0.25, output_stride=16)
    check(name, model, keymap, {f"c{i}": f"c{i}" for i in range(1, 6)})
    check(name, Classifier(model, 1280 // 4, 10), keymap, {"logits": "logits"})


def test_torchvisions_small_classifier():
    model = Classifier(mobilenet_v3_small(width_mult=0.25), 1024 // 4, 10)
    check("mobilenet_v3_small_torchvision", model, torchvision.MOBILENET_V3_SMALL)


def features(model, height, width):
    image = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
    init = functools.partial(model.init_with_output, train=False)
    out, _ = jax.eval_shape(init, jax.random.key(0), image)
    return {name: x.shape[1:] for name, x in out.items()}


@pytest.mark.parametrize(
    ("make", "options", "channels"),
    [
        # torchvision's taps: the stem and the first unit at a stride (tables 1 and 2).
        (mobilenet_v3_large, {}, (16, 24, 40, 80, 960)),
        (mobilenet_v3_large, {"tap": "last"}, (16, 24, 40, 112, 960)),
        (mobilenet_v3_small, {}, (16, 16, 24, 40, 576)),
        (mobilenet_v3_small, {"tap": "last"}, (16, 16, 24, 48, 576)),
    ],
)
def test_maps(make, options, channels):
    sizes = [(33, 49), (17, 25), (9, 13), (5, 7), (3, 4)]
    found = features(make(**options), 65, 97)
    assert list(found) == ["c1", "c2", "c3", "c4", "c5"]
    assert list(found.values()) == [(*hw, c) for hw, c in zip(sizes, channels, strict=True)]


def test_dilation_keeps_the_last_stage_at_stride_16():
    assert features(mobilenet_v3_large(output_stride=16), 65, 97)["c5"] == (5, 7, 960)


def test_another_output_stride_is_refused():
    with pytest.raises(InputError, match="output_stride is 8; the choices are 16 and 32"):
        features(mobilenet_v3_large(output_stride=8), 64, 64)
