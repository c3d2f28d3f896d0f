"""ResNet against torchvision's, and the places where implementations differ."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import check

from segjax.backbones.resnet import BasicBlock, Classifier, PreActBottleneck, ResNet, resnet50
from segjax.errors import InputError
from segjax.nn.layers import FrozenBatchNorm
from segjax.weights import torchvision


def test_torchvisions_classifier():
    check(
        "resnet_torchvision",
        Classifier(ResNet((1, 2, 2, 2), output_stride=8), 10),
        torchvision.RESNET,
    )


def features(model, height, width):
    image = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
    init = functools.partial(model.init_with_output, train=False)
    out, variables = jax.eval_shape(init, jax.random.key(0), image)
    return {name: x.shape[1:3] for name, x in out.items()}, variables


@pytest.mark.parametrize(
    ("output_stride", "c4", "c5"),
    [(8, (9, 13), (9, 13)), (16, (5, 7), (5, 7)), (32, (5, 7), (3, 4))],
)
def test_output_stride(output_stride, c4, c5):
    sizes, _ = features(resnet50(output_stride=output_stride), 65, 97)
    assert sizes == {"c1": (33, 49), "c2": (17, 25), "c3": (9, 13), "c4": c4, "c5": c5}


def test_ceil_pooling_adds_a_row_to_even_stems():
    # 66 -> 33 -> pooled 17 either way; 68 -> 34 -> 17 (floor) or 18 (ceil).
    small = functools.partial(ResNet, (1, 1, 1, 1), width=4, stem=(4,))
    assert features(small(), 68, 66)[0]["c2"] == (17, 17)
    assert features(small(pool_rounding="ceil"), 68, 66)[0]["c2"] == (18, 17)


def dilations(monkeypatch, **options):
    """The dilations of the 3x3 convolutions of the last two stages, in order."""
    seen = {}
    from segjax.backbones import resnet

    original = resnet.Conv

    def spy(features, size, *, kernel_dilation, name, **rest):
        if size == (3, 3):
            seen.setdefault(kernel_dilation, 0)
            seen[kernel_dilation] += 1
        return original(features, size, kernel_dilation=kernel_dilation, name=name, **rest)

    monkeypatch.setattr(resnet, "Conv", spy)
    features(ResNet((1, 1, 3, 3), width=4, stem=(4,), **options), 33, 33)
    return seen


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        # The first unit of a stage keeps the rate before it (torchvision, mmseg) ...
        ({"output_stride": 8}, {1: 3, 2: 3, 4: 2}),
        # ... or takes its own (DeepLab's TensorFlow code, Caffe, semseg).
        ({"output_stride": 8, "first_unit": "new"}, {1: 2, 2: 3, 4: 3}),
        # DeepLab v3, section 3.1.1: rate 2 times (1, 2, 4) at output stride 16.
        (
            {"output_stride": 16, "first_unit": "new", "multi_grid": (1, 2, 4)},
            {1: 5, 2: 1, 4: 1, 8: 1},
        ),
    ],
)
def test_dilations(monkeypatch, options, wanted):
    assert dilations(monkeypatch, **options) == wanted


def test_the_stride_may_be_in_the_first_convolution():
    # At a stride in the 1x1 the 3x3 sees the small map: their outputs differ, their shapes do not.
    a, b = (ResNet((1, 1, 1, 1), width=4, stem=(4,), stride_in=s) for s in ("3x3", "1x1"))
    image = jax.random.normal(jax.random.key(1), (1, 33, 47, 3))
    variables = jax.jit(functools.partial(a.init, train=False))(jax.random.key(0), image)
    c5 = [jax.jit(functools.partial(m.apply, train=False))(variables, image)["c5"] for m in (a, b)]
    assert c5[0].shape == c5[1].shape
    assert not np.allclose(*c5)


def test_preactivation():
    # He et al. 2016: the last unit is followed by one more normalisation and ReLU, and a unit
    # whose convolutions are zero is the identity, whatever its input's sign.
    model = ResNet((1, 2, 1, 1), PreActBottleneck, width=4, stem=(4,))
    image = jax.random.normal(jax.random.key(1), (1, 32, 48, 3))
    variables = jax.jit(functools.partial(model.init, train=False))(jax.random.key(0), image)
    params = variables["params"]
    assert "bn_last" in params
    unit = params["layer2_1"]
    unit["conv3"]["kernel"] = jnp.zeros_like(unit["conv3"]["kernel"])
    out = jax.jit(functools.partial(model.apply, train=False))(variables, image)
    shorter = ResNet((1, 1, 1, 1), PreActBottleneck, width=4, stem=(4,))
    without = {
        kind: {name: x for name, x in tree.items() if name != "layer2_1"}
        for kind, tree in variables.items()
    }
    same = jax.jit(functools.partial(shorter.apply, train=False))(without, image)
    np.testing.assert_allclose(out["c5"], same["c5"], rtol=1e-5, atol=1e-5)
    assert float(out["c3"].min()) < 0 <= float(out["c5"].min())


def test_frozen_batch_norm_has_nothing_to_train():
    model = ResNet((1, 1, 1, 1), BasicBlock, width=4, stem=(4,), norm=FrozenBatchNorm)
    _, variables = features(model, 32, 32)
    assert all("kernel" in layer for unit in variables["params"].values() for layer in leaves(unit))
    assert {"scale", "bias", "mean", "var"} == set(variables["batch_stats"]["bn1"])


def leaves(tree):
    return [tree] if "kernel" in tree else [x for inner in tree.values() for x in leaves(inner)]


def test_another_output_stride_is_refused():
    with pytest.raises(InputError, match="output_stride is 4; the choices are 8, 16, 32"):
        features(resnet50(output_stride=4), 64, 64)
