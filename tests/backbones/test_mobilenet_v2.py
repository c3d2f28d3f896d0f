"""MobileNetV2 against torchvision's."""

import functools

import jax
import jax.numpy as jnp
from parity import check

from segjax.backbones.mobilenet_v2 import Classifier, MobileNetV2
from segjax.weights import torchvision


def test_torchvisions_classifier():
    model = Classifier(MobileNetV2(width_mult=0.25), 10)
    check("mobilenet_v2_torchvision", model, torchvision.MOBILENET_V2)


def test_maps():
    # Table 2: the widths of the last units at strides 2 to 16, and of the last convolution.
    image = jax.ShapeDtypeStruct((1, 65, 97, 3), jnp.float32)
    init = functools.partial(MobileNetV2().init_with_output, train=False)
    out, _ = jax.eval_shape(init, jax.random.key(0), image)
    assert {name: x.shape[1:] for name, x in out.items()} == {
        "c1": (33, 49, 16),
        "c2": (17, 25, 24),
        "c3": (9, 13, 32),
        "c4": (5, 7, 96),
        "c5": (3, 4, 1280),
    }
