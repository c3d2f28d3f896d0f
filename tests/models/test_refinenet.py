"""RefineNet against the PyTorch port, and the published parameter counts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import check

from segjax.backbones.resnet import ResNet, resnet101
from segjax.models import refinenet
from segjax.models.refinenet import ChainedResidualPooling, RefineNet, ResidualConvUnit
from segjax.nn.layers import FrozenBatchNorm
from segjax.nn.upsample import Bilinear
from segjax.weights import authors

narrow = functools.partial(ResNet, (1, 1, 1, 1), width=4, stem=(4,))


def test_the_port():
    check("refinenet_full", RefineNet(3, narrow(), features=16), authors.REFINENET, rtol=1e-5)


def test_the_light_weight_port():
    model = refinenet.refinenet_lw50(3, backbone=narrow(), features=16)
    check("refinenet_light", model, authors.REFINENET, rtol=1e-5)


def variables(model, height=64, width=96):
    image = jax.ShapeDtypeStruct((3, height, width, 3), jnp.float32)
    init = functools.partial(model.init_with_output, train=False)
    out, variables = jax.eval_shape(init, jax.random.key(0), image)
    assert out["logits"].shape == (3, height, width, model.num_classes)
    return variables


def count(model):
    return sum(x.size for x in jax.tree.leaves(variables(model)["params"]))


@pytest.mark.parametrize(
    ("classes", "parameters"),
    [
        (19, 118_047_827),  # Cityscapes
        (40, 118_096_232),  # NYUDv2
        (60, 118_142_332),  # PASCAL Context
        (150, 118_349_782),  # ADE20K
    ],
)
def test_parameters_of_refinenet101(classes, parameters):
    assert count(refinenet.refinenet101(classes)) == parameters


@pytest.mark.parametrize(
    ("make", "millions"),
    [
        (refinenet.refinenet_lw50, 27),
        (refinenet.refinenet_lw101, 46),
        (refinenet.refinenet_lw152, 62),
    ],
)
def test_parameters_of_light_weight_refinenet(make, millions):
    assert round(count(make(21)) / 1e6) == millions


def test_a_frozen_backbone_trains_no_normalisation():
    # ResNet-101 has 52,672 normalised channels, each with a scale and a bias.
    model = RefineNet(21, resnet101(norm=FrozenBatchNorm))
    assert count(model) == 118_052_437 - 2 * 52_672


def test_the_shape_trace(monkeypatch):
    # 400 x 400: 100 (256), 50 (512), 25 (1024) and 13 (2048) from the backbone, 100 x 100 scores.
    seen = []
    original = refinenet.Refine.__call__

    def spy(self, x, deeper):
        out = original(self, x, deeper)
        seen.append((x.shape[1:], out.shape[1:]))
        return out

    monkeypatch.setattr(refinenet.Refine, "__call__", spy)
    variables(refinenet.refinenet50(21), 400, 400)
    assert seen == [
        ((13, 13, 2048), (13, 13, 512)),
        ((25, 25, 1024), (25, 25, 256)),
        ((50, 50, 512), (50, 50, 256)),
        ((100, 100, 256), (100, 100, 256)),
    ]


def test_residual_unit_starts_with_relu_and_keeps_its_input():
    # -1 everywhere: ReLU gives 0, so only the first bias, 1, reaches the second kernel, 2.
    unit = ResidualConvUnit()
    kernel = np.zeros((3, 3, 1, 1), np.float32)
    kernel[1, 1] = 2
    params = {"conv1": {"kernel": kernel, "bias": np.ones(1)}, "conv2": {"kernel": kernel}}
    out = unit.apply({"params": params}, -jnp.ones((1, 3, 4, 1)))
    np.testing.assert_array_equal(out, np.ones((1, 3, 4, 1)))


@pytest.mark.parametrize(("order", "elsewhere"), [("pool-conv", -1), ("conv-pool", 0)])
def test_the_order_of_chained_pooling(order, elsewhere):
    # One 1 (and a -7, for the ReLU) in 5 x 5, the first convolution -1 and the others 0: pooling
    # first spreads the 1, negating first leaves its place the only one below 0.
    x = np.zeros((1, 5, 5, 1), np.float32)
    x[0, 2, 2] = 1
    relu = x.copy()
    x[0, 0, 0] = -7
    pool = ChainedResidualPooling(1, order)
    params = {f"conv{i}": {"kernel": np.full((1, 1, 1, 1), -float(i == 1))} for i in (1, 2, 3, 4)}
    out = pool.apply({"params": params}, jnp.asarray(x))
    np.testing.assert_array_equal(out, relu + elsewhere)


def test_dropout_is_on_the_two_deepest_maps_and_before_the_logits(monkeypatch):
    seen = []

    def spy(self, x):
        seen.append((self.rate, self.deterministic, x.shape[1:]))
        return x

    monkeypatch.setattr(refinenet.nn.Dropout, "__call__", spy)
    variables(RefineNet(3, narrow(), features=8))
    assert seen == [(0.5, True, (2, 3, 128)), (0.5, True, (4, 6, 64)), (0.5, True, (16, 24, 8))]


def test_new_layers_start_with_standard_deviation_001():
    init = jax.jit(ResidualConvUnit().init)
    params = init(jax.random.key(0), jnp.zeros((1, 4, 4, 32)))["params"]
    np.testing.assert_allclose(np.std(params["conv1"]["kernel"]), 0.01, rtol=0.05)


def test_any_size_and_no_smaller_one():
    variables(RefineNet(3, narrow(), upsample=Bilinear), 33, 50)
    assert RefineNet(3).input_size(33) == RefineNet(3).output_size(33) == 33
