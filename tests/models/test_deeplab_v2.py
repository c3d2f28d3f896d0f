"""DeepLab v2 against its port to PyTorch, and its scales."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models.names import parameters
from parity import check

from segjax.backbones.resnet import ResNet
from segjax.backbones.vgg import VGG
from segjax.models.deeplab_v2 import (
    DeepLabV2,
    SummedASPP,
    SummedClassifiers,
    deeplab_v2,
    deeplab_v2_vgg16,
)
from segjax.nn.upsample import Bilinear
from segjax.weights import authors
from segjax.weights.keymap import KeyMap

small = functools.partial(
    ResNet,
    (1, 1, 2, 1),
    width=4,
    stem=(4,),
    output_stride=8,
    first_unit="new",
    stride_in="1x1",
    pool_rounding="ceil",
)


class Strided(nn.Module):
    """A network that returns each `step`-th row and column alone."""

    net: nn.Module
    step: int

    @nn.compact
    def __call__(self, image, *, train):
        out = self.net(image, train=train)
        return {name: x[:, :: self.step, :: self.step] for name, x in out.items()}


@pytest.mark.parametrize(
    ("golden", "rates", "step"),
    [
        ("deeplab_v2_port", (6, 12, 18, 24), 1),
        ("deeplab_v2_port_321", (6, 12, 18, 24), 4),
        ("deeplab_v2_port_rates", (3, 6, 9, 12), 1),
    ],
)
def test_the_port(golden, rates, step):
    # It resizes by half pixels and by factors, where the paper's Caffe code aligns corners.
    aspp = functools.partial(SummedASPP, rates=rates)
    net = DeepLabV2(2, small(), aspp, convention="half-pixel", upsample=Bilinear)
    keymap = authors.DEEPLAB_V2._replace(renames=(("^net/", ""), *authors.DEEPLAB_V2.renames))
    outputs = {"logits": "out", "scale_0.75": "scale_0.75"}
    check(golden, Strided(net, step), keymap, outputs, rtol=1e-5)


def test_vgg_at_an_even_size():
    backbone = VGG(
        (1, 1, 1, 1, 1), (3, 4, 4, 5, 6), pool_size=3, pool_rounding="ceil", output_stride=8
    )
    aspp = functools.partial(SummedClassifiers, rates=(2, 3), hidden=5)
    keymap = KeyMap((("^(backbone|aspp)/", ""),))
    check("deeplab_v2_vgg16", DeepLabV2(3, backbone, aspp, scales=(1,)), keymap)


def test_parameters_of_both_networks():
    # VGG-16's 13 convolutions have 14,714,688 parameters; each branch 512 -> 1024 -> 1024 -> 21.
    branch = (9 * 512 + 1) * 1024 + (1024 + 1) * 1024 + (1024 + 1) * 21
    assert parameters(deeplab_v2_vgg16(21)) == 14_714_688 + 4 * branch
    assert parameters(deeplab_v2(21)) == 44_048_532


@pytest.mark.parametrize(
    ("convention", "side", "sides"),
    [
        ("corner-aligned", 321, [321, 241, 161]),  # as in the Caffe release
        ("half-pixel", 320, [320, 240, 160]),
    ],
)
def test_scales_of_the_image(convention, side, sides):
    model = deeplab_v2(21, convention=convention)
    assert [model.scaled(side, scale) for scale in model.scales] == sides


def test_maps_at_the_papers_crop():
    # 321 -> 161 -> 81 -> 41, and 31 and 21 at the lower scales.
    model = deeplab_v2(21)

    def run(image):
        capture = functools.partial(model.init_with_output, train=False, capture_intermediates=True)
        return capture(jax.random.key(0), image)

    out, variables = jax.eval_shape(run, jax.ShapeDtypeStruct((1, 321, 321, 3), jnp.float32))
    maps = variables["intermediates"]["aspp"]["__call__"]
    assert [x.shape for x in maps] == [(1, n, n, 21) for n in (41, 31, 21)]
    assert {key: x.shape for key, x in out.items()} == dict.fromkeys(
        ("logits", "scale_1", "scale_0.75", "scale_0.5"), (1, 321, 321, 21)
    )


@pytest.mark.parametrize(
    ("side", "wanted"), [(321, 41), (240, 31), (180, 24), (480, 61), (360, 46)]
)
def test_vggs_maps_reach_the_edge(side, wanted):
    backbone = deeplab_v2_vgg16(21).backbone
    image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    init = functools.partial(backbone.init_with_output, train=False)
    maps, _ = jax.eval_shape(init, jax.random.key(0), image)
    assert maps["c5"].shape == (1, wanted, wanted, 512)


def test_vggs_branches_drop_units_in_training_alone():
    module = SummedClassifiers(2, rates=(1, 2), hidden=64, dropout=0.5)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 3, 4, 5)), jnp.float32)
    variables = module.init(jax.random.key(0), x, train=False)
    assert variables["params"].keys() == {f"fc{n}_{i}" for n in (6, 7, 8) for i in (1, 2)}
    rng = {"dropout": jax.random.key(1)}
    still, again = (module.apply(variables, x, train=False, rngs=rng) for _ in range(2))
    np.testing.assert_array_equal(still, again)
    assert not np.allclose(still, module.apply(variables, x, train=True, rngs=rng))
