"""DeepLab-LargeFOV against torch, and its sizes."""

import functools

import jax
import jax.numpy as jnp
import pytest
from parity import check

from segjax.backbones.vgg import VGG
from segjax.errors import InputError
from segjax.models.deeplab_v1 import DeepLabV1, deeplab_v1
from segjax.nn.upsample import Nearest, TransposedConv
from segjax.weights import authors

BACKBONE = VGG((1, 1, 1, 1, 1), (3, 4, 4, 5, 6), pool_size=3, output_stride=8)
ROUNDING_UP = BACKBONE.clone(pool_rounding="ceil")


@pytest.mark.parametrize("golden", ["deeplab_v1", "deeplab_v1_even"])
def test_the_authors_network(golden):
    check(golden, DeepLabV1(3, ROUNDING_UP, hidden=5, dilation=3), authors.DEEPLAB_V1)


def traced(model, height, width):
    def run(image):
        _, state = model.init_with_output(
            jax.random.key(0), image, train=False, capture_intermediates=True
        )
        return state["intermediates"]

    return jax.eval_shape(run, jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32))


def test_the_papers_crop():
    layers = traced(deeplab_v1(21), 321, 321)
    assert layers["fc6"]["__call__"][0].shape == (1, 41, 41, 1024)
    assert layers["fc8"]["__call__"][0].shape == (1, 41, 41, 21)
    assert layers["__call__"][0]["logits"].shape == (1, 321, 321, 21)


def test_maps_of_even_sizes_reach_the_edge():
    # Caffe: ceil((n - 1) / 2) + 1 for each 3x3 pool of stride 2, padded by 1; three of them.
    for height, width, wanted in ((240, 180, (31, 24)), (480, 360, (61, 46))):
        layers = traced(deeplab_v1(21), height, width)
        assert layers["fc8"]["__call__"][0].shape == (1, *wanted, 21)
        assert layers["__call__"][0]["logits"].shape == (1, height, width, 21)


@pytest.mark.parametrize("backbone", [BACKBONE, ROUNDING_UP])
def test_any_size_comes_back(backbone):
    model = functools.partial(DeepLabV1, 3, backbone, hidden=5)
    for n in (1, 8, 17, 30):
        for upsampler in ({}, {"upsample": Nearest}):
            layers = traced(model(**upsampler), n, 50 - n)
            assert layers["__call__"][0]["logits"].shape == (1, n, 50 - n, 3)
    assert model().input_size(30) == model().output_size(30) == 30


def test_transposed_convolution_needs_multiples_of_the_stride():
    model = DeepLabV1(3, BACKBONE, hidden=5, upsample=TransposedConv)
    assert traced(model, 24, 32)["__call__"][0]["logits"].shape == (1, 24, 32, 3)
    with pytest.raises(InputError, match="sides are multiples of the output stride"):
        traced(model, 25, 32)
    with pytest.raises(InputError, match="DeepLab v1 can .* unless the backbone's pool_rounding"):
        traced(model.clone(backbone=ROUNDING_UP), 24, 32)
    padded = functools.partial(TransposedConv, kernel_size=15, padding=7)  # 8 (n - 1) + 1
    model = model.clone(backbone=ROUNDING_UP, upsample=padded)
    assert [model.input_size(n) for n in (24, 25, 26)] == [25, 25, 33]
    assert traced(model, 25, 33)["__call__"][0]["logits"].shape == (1, 25, 33, 3)
