"""Feature pyramids against torchvision's, and by hand."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import check

from segjax.backbones.resnet import BasicBlock, ResNet
from segjax.errors import InputError
from segjax.nn.fpn import FPN, PathAggregation, Select
from segjax.nn.initializers import caffe2_xavier
from segjax.nn.layers import BatchNorm
from segjax.nn.upsample import MaxUnpool
from segjax.weights import torchvision


class Detector(nn.Module):
    """A backbone and its neck, as detectors have them."""

    backbone: nn.Module
    neck: nn.Module

    @nn.compact
    def __call__(self, image, *, train):
        return self.neck(self.backbone(image, train=train), train=train)


def test_torchvisions_pyramid_at_an_odd_size():
    # 71 x 99 has maps 18 x 25, 9 x 13, 5 x 7, 3 x 4: no upsampling is by exactly two.
    model = Detector(ResNet((1, 1, 1, 1), BasicBlock), FPN(8))
    levels = {name: name for name in ("p2", "p3", "p4", "p5")}
    check("fpn_torchvision", model, torchvision.RESNET_FPN, levels)


def count(neck, widths=(256, 512, 1024, 2048)):
    maps = {f"c{i}": jnp.zeros((1, 1, 1, width)) for i, width in enumerate(widths, 2)}
    variables = jax.eval_shape(functools.partial(neck.init, train=False), jax.random.key(0), maps)
    return sum(x.size for x in jax.tree.leaves(variables["params"]))


def test_parameters_on_a_resnet50():
    assert count(FPN()) == 3_344_384  # torchvision's FeaturePyramidNetwork
    assert count(PathAggregation()) == 3_344_384 + 6 * (9 * 256 * 256 + 256)


def ones(variables):
    """All kernels one in the middle and zero around it, without biases, for one channel."""

    def fill(x):
        kernel = np.zeros(x.shape, np.float32)
        if x.ndim == 4:
            kernel[x.shape[0] // 2, x.shape[1] // 2] = 1
        return kernel

    return jax.tree.map(fill, variables)


C = {
    "c1": np.full((1, 6, 8, 1), 100, np.float32),
    "c2": np.arange(12, dtype=np.float32).reshape(1, 3, 4, 1),
    "c3": np.asarray([[10, 20], [30, 40]], np.float32).reshape(1, 2, 2, 1),
    "c4": np.asarray([[500]], np.float32).reshape(1, 1, 1, 1),
}


def apply(neck):
    variables = jax.eval_shape(functools.partial(neck.init, train=False), jax.random.key(0), C)
    return {
        name: x[0, ..., 0].tolist()
        for name, x in neck.apply(ones(variables), C, train=False).items()
    }


P = {
    # 500 plus c3; c2 plus that, of which a row of three reads rows 0, 0, 1 of two
    "p2": [[510, 511, 522, 523], [514, 515, 526, 527], [538, 539, 550, 551]],
    "p3": [[510, 520], [530, 540]],
    "p4": [[500]],
}


def test_top_down_by_hand():
    assert apply(FPN(1, levels=(2, 3, 4))) == P
    assert list(apply(FPN(1, levels=(2, 3, 4)))) == ["p2", "p3", "p4"]


def test_top_down_to_the_finest_alone_by_hand():
    assert apply(FPN(1, levels=(2, 3, 4), outputs=(2,))) == {"p2": P["p2"]}


def test_path_aggregation_by_hand():
    # A stride of two takes every second value, since only the middle of the kernel is one.
    assert apply(PathAggregation(functools.partial(FPN, 1, levels=(2, 3, 4)))) == {
        "p2": P["p2"],
        "p3": [[510 + 510, 520 + 522], [530 + 538, 540 + 550]],
        "p4": [[500 + 1020]],
    }


def test_path_aggregation_rectifies_both_convolutions():
    neck = PathAggregation(functools.partial(FPN, 1, levels=(2, 3)))
    init = functools.partial(neck.init, train=False)
    variables = ones(jax.eval_shape(init, jax.random.key(0), C))

    def p3(down, merge):
        variables["params"]["down3"]["kernel"][1, 1] = down
        variables["params"]["merge3"]["kernel"][1, 1] = merge
        return np.asarray(neck.apply(variables, C, train=False)["p3"])[0, ..., 0].tolist()

    assert p3(-1, 1) == [[10, 20], [30, 40]]  # max(-N2, 0) + P3
    assert p3(1, -1) == [[0, 0], [0, 0]]


def test_select_passes_maps_on():
    assert list(apply_select := Select((3, 4))(C, train=False)) == ["p3", "p4"]
    assert apply_select["p3"] is C["c3"]


def test_a_norm_replaces_the_biases():
    neck = FPN(4, levels=(3, 4), norm=BatchNorm)
    init = functools.partial(neck.init, train=False)
    params = jax.eval_shape(init, jax.random.key(0), C)["params"]
    assert set(params) == {
        f"{name}{level}{norm}"
        for name in ("lateral", "output")
        for level in (3, 4)
        for norm in ("", "_norm")
    }
    assert all("bias" not in x for name, x in params.items() if not name.endswith("_norm"))


def test_initial_kernels_are_caffe2s():
    kernel = np.asarray(caffe2_xavier(jax.random.key(0), (3, 3, 20, 30)))
    bound = np.sqrt(3 / 180)
    assert 0.98 * bound < np.abs(kernel).max() <= bound
    np.testing.assert_allclose(kernel.std(), bound / np.sqrt(3), rtol=0.03)


@pytest.mark.parametrize(
    ("neck", "message"),
    [
        (FPN(levels=(2, 4)), r"levels is \(2, 4\); give consecutive levels, finest first"),
        (FPN(levels=(4, 3)), "consecutive"),
        (Select(()), "consecutive"),
        (
            FPN(levels=(2, 3), outputs=(4,)),
            r"outputs is \(4,\); choose some of the levels \(2, 3\)",
        ),
        (FPN(), r"need c5; this backbone gives c1, c2, c3, c4"),
        (FPN(levels=(2, 3), upsample=MaxUnpool), "MaxUnpool needs the switches"),
    ],
)
def test_what_does_not_fit_is_refused(neck, message):
    with pytest.raises(InputError, match=message):
        jax.eval_shape(functools.partial(neck.init, train=False), jax.random.key(0), C)
