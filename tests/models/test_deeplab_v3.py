"""DeepLab v3 against torchvision, segmentation_models_pytorch and mmsegmentation's layout."""

import functools

import flax.errors
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import mmseg_names
from models.names import fits, parameters
from parity import check

from segjax.backbones import resnet
from segjax.backbones.resnet import (
    ResNet,
    resnet18,
    resnet50,
    resnet50_v1c,
    resnet101,
    resnet101_v1c,
)
from segjax.models.deeplab_v3 import (
    Cascade,
    DeepLabV3,
    deeplab_v3_cascade,
    deeplab_v3_mmseg,
    deeplab_v3_mobilenet_v3,
    deeplab_v3_pytorch,
    deeplab_v3_resnet50,
    deeplab_v3_resnet101,
    deeplab_v3_torchvision,
)
from segjax.nn.aspp import ASPP
from segjax.nn.upsample import Bilinear
from segjax.weights import authors, mmseg, smp, torchvision


def test_torchvisions_network():
    small = functools.partial(ResNet, (1, 1, 2, 1), width=8, stem=(64,))
    outputs = {"logits": "out", "aux": "aux"}
    model = deeplab_v3_torchvision(small, 3)
    check("deeplab_v3_torchvision", model, torchvision.DEEPLAB_V3, outputs)


def test_smps_network():
    context = functools.partial(ASPP, 16, (12, 24, 36), pooled="last", dropout=0.5)
    model = DeepLabV3(5, resnet18(output_stride=8, first_unit="new"), context, convs=1)
    check("deeplab_v3_smp", model, smp.DEEPLAB_V3)


def test_torchvisions_network_on_mobilenet():
    check(
        "deeplab_v3_mobilenet_v3_torchvision",
        deeplab_v3_mobilenet_v3(5),
        torchvision.DEEPLAB_V3_MOBILENET_V3,
        {"logits": "out", "aux": "aux"},
    )


def test_the_network_of_deeplab_pytorch():
    small = functools.partial(ResNet, (1, 1, 2, 3), width=4, stem=(4,))
    model = deeplab_v3_pytorch(small, 3, features=16)
    check("deeplab_v3_pytorch", model, authors.DEEPLAB_V3, rtol=1e-5)


def test_mmsegmentations_names():
    arrays = {
        **mmseg_names.resnet50_v1c(),
        **mmseg_names.conv_module("decode_head.image_pool.1", 2048, 512, 1),
        **mmseg_names.conv_module("decode_head.aspp_modules.0", 2048, 512, 1),
        **mmseg_names.conv_module("decode_head.bottleneck", 5 * 512, 512, 3),
        **mmseg_names.classifier("decode_head.conv_seg", 512, 19),
        **mmseg_names.auxiliary_head(19),
    }
    for i in (1, 2, 3):
        arrays |= mmseg_names.conv_module(f"decode_head.aspp_modules.{i}", 2048, 512, 3)
    fits(deeplab_v3_mmseg(resnet50_v1c, 19), mmseg.DEEPLAB_V3, arrays)


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (deeplab_v3_resnet50(21), 39_048_533),
        (deeplab_v3_resnet101(21, output_stride=8), 58_040_661),
        (deeplab_v3_torchvision(resnet50, 21), 42_004_074),
        (deeplab_v3_torchvision(resnet50, 21, auxiliary=None), 39_638_869),
        (deeplab_v3_torchvision(resnet101, 21), 60_996_202),
        (deeplab_v3_torchvision(resnet101, 21, auxiliary=None), 58_630_997),
        (deeplab_v3_mobilenet_v3(21), 11_029_328),
        (deeplab_v3_mobilenet_v3(21, auxiliary=None), 11_025_477),
        (deeplab_v3_mmseg(resnet50_v1c, 19), 68_113_030),
        (deeplab_v3_mmseg(resnet50_v1c, 19, auxiliary=None), 65_748_339),
        (deeplab_v3_mmseg(resnet101_v1c, 19), 87_105_158),
    ],
)
def test_published_counts(model, count):
    assert parameters(model) == count


def test_cascade_copies_the_last_block():
    # ResNet-101's last block has 3 units of 512; its copies read 2048 channels, by identities.
    unit = 2048 * 512 + 2 * 512 + 9 * 512**2 + 2 * 512 + 512 * 2048 + 2 * 2048
    backbone = 44_549_160 - 2049 * 1000
    assert parameters(deeplab_v3_cascade(resnet101, 21)) == backbone + 9 * unit + 2049 * 21


@pytest.mark.parametrize(
    ("output_stride", "rates"),
    [
        # Multi-grid (1, 2, 1) on rates 2 (block 4) and 4, 8, 16 (figure 3b); 13 units before them.
        (16, {1: 13, 2: 2, 4: 1 + 2, 8: 1 + 2, 16: 1 + 2, 32: 1}),
        (8, {1: 7, 2: 6, 4: 2, 8: 1 + 2, 16: 1 + 2, 32: 1 + 2, 64: 1}),
    ],
)
def test_rates_of_the_cascade(monkeypatch, output_stride, rates):
    model = deeplab_v3_cascade(resnet50, 21, output_stride=output_stride)
    assert dilations(monkeypatch, model) == rates


@pytest.mark.parametrize(
    ("output_stride", "rates"),
    [(16, {1: 13, 2: 1, 4: 1, 8: 1}), (8, {1: 7, 2: 6, 4: 1, 8: 1, 16: 1})],
)
def test_multi_grid_of_the_paper(monkeypatch, output_stride, rates):
    # (1, 2, 4) times the last block's rate, section 4.2; all units of a block take the new rate.
    model = deeplab_v3_resnet50(21, output_stride=output_stride)
    assert dilations(monkeypatch, model) == rates


def dilations(monkeypatch, model):
    """How many 3x3 convolutions of units dilate by how much."""
    seen = {}
    original = resnet.Conv

    def spy(features, size, *, kernel_dilation, name, **rest):
        if size == (3, 3):
            seen[kernel_dilation] = seen.get(kernel_dilation, 0) + 1
        return original(features, size, kernel_dilation=kernel_dilation, name=name, **rest)

    monkeypatch.setattr(resnet, "Conv", spy)
    parameters(model)
    return seen


def test_going_deeper_without_dilation():
    # Figure 3(a): a stride in every block, down to 1/256 of 513 pixels, and back in one step.
    context = functools.partial(Cascade, rates=(1, 1, 1), strides=(2, 2, 2), multi_grid=(1, 1, 1))
    sizes, factors = [], []

    class Up(Bilinear):
        def __post_init__(self):
            factors.append(self.factor)
            super().__post_init__()

    model = DeepLabV3(21, resnet50(), context, upsample=Up)

    def run(image):
        capture = functools.partial(model.init_with_output, train=False, capture_intermediates=True)
        return capture(jax.random.key(0), image)

    out, variables = jax.eval_shape(run, jax.ShapeDtypeStruct((1, 513, 513, 3), jnp.float32))
    seen = variables["intermediates"]["context"]
    sizes = [seen[f"block{n}_2"]["__call__"][0].shape[1] for n in (5, 6, 7)]
    assert sizes == [9, 5, 3]
    assert set(factors) == {256}
    assert out["logits"].shape == (1, 513, 513, 21)


def test_image_pooling_may_come_first_or_last():
    # The same network, once the rows of the last kernel that read the mean move with it.
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 5, 6)), jnp.float32)
    first, last = (ASPP(3, (1, 2), pooled=place, dropout=0.0) for place in ("first", "last"))
    variables = jax.jit(functools.partial(first.init, train=False))(jax.random.key(0), x)
    kernel = variables["params"]["fuse_first"]["conv"]["kernel"]
    moved = jax.tree.map(lambda leaf: leaf, variables)
    for tree in moved.values():
        tree["fuse_last"] = tree.pop("fuse_first")
    moved["params"]["fuse_last"]["conv"]["kernel"] = jnp.roll(kernel, -3, axis=2)
    outs = [
        jax.jit(functools.partial(m.apply, train=False))(v, x)
        for m, v in ((first, variables), (last, moved))
    ]
    np.testing.assert_allclose(*outs, rtol=1e-5, atol=1e-5)
    with pytest.raises(flax.errors.ScopeParamNotFoundError):  # one never passes for the other
        last.apply(variables, x, train=False)
