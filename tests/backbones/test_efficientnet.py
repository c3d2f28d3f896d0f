"""EfficientNet against torchvision's and timm's, its scaling and its padding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import check

from segjax.backbones import efficientnet
from segjax.backbones.efficientnet import Classifier, EfficientNet, Stage, TFNorm
from segjax.weights import timm, torchvision


def test_torchvisions_classifier():
    model = Classifier(EfficientNet(width_mult=0.25, depth_mult=1.1), 10)
    check("efficientnet_torchvision", model, torchvision.EFFICIENTNET)


def test_timms_tensorflow_classifier():
    model = Classifier(EfficientNet(width_mult=0.25, padding="same", norm=TFNorm), 10)
    check("efficientnet_timm", model, timm.EFFICIENTNET)


def shapes(model, height, width):
    image = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
    init = functools.partial(model.init_with_output, train=False)
    out, variables = jax.eval_shape(init, jax.random.key(0), image)
    count = sum(x.size for x in jax.tree.leaves(variables["params"]))
    return {name: x.shape[1:] for name, x in out.items()}, count


@pytest.mark.parametrize(
    ("name", "count"),
    # torchvision's
    [
        ("efficientnet_b1", 7_794_184),
        ("efficientnet_b2", 9_109_994),
        ("efficientnet_b3", 12_233_232),
        ("efficientnet_b7", 66_347_960),
    ],
)
def test_the_scaling_rule(name, count):
    assert shapes(Classifier(getattr(efficientnet, name)()), 64, 64)[1] == count


@pytest.mark.parametrize("padding", ["symmetric", "same", 224])
def test_maps(padding):
    found, _ = shapes(EfficientNet(padding=padding), 64, 96)
    assert found == {
        "c1": (32, 48, 16),
        "c2": (16, 24, 24),
        "c3": (8, 12, 40),
        "c4": (4, 6, 112),
        "c5": (2, 3, 320),
    }


def test_taps_name_other_units():
    found, _ = shapes(EfficientNet(taps=(("c1", 0), ("c4", 8))), 64, 96)
    assert found["c1"] == (32, 48, 32)  # the stem
    assert found["c4"] == (4, 6, 80)  # 1 + 2 + 2 + 3 units: the last of the fourth stage


def test_same_padding_of_a_fixed_side():
    # A side of 380 is 95 before the stride to 1/8: with an odd side, a 5x5 filter pads alike on
    # both ends (2, 2), with an even one (1, 2). Tensorflow's rule; 64 is even to the end.
    small = EfficientNet((Stage(1, 3, 1, 8, 1), Stage(1, 3, 2, 8, 1), Stage(1, 5, 2, 8, 1)))
    image = jax.random.normal(jax.random.key(1), (1, 64, 32, 3))
    variables = jax.jit(functools.partial(small.init, train=False))(jax.random.key(0), image)

    def c3(padding):
        model = small.clone(padding=padding)
        return jax.jit(functools.partial(model.apply, train=False))(variables, image)["c3"]

    np.testing.assert_allclose(c3(64), c3("same"), atol=1e-6)
    np.testing.assert_allclose(c3(224), c3("same"), atol=1e-6)
    assert not np.allclose(c3(380), c3("same"), atol=1e-3)
    assert not np.allclose(c3("symmetric"), c3("same"), atol=1e-3)
