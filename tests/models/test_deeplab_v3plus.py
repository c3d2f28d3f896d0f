"""DeepLab v3+ against segmentation_models_pytorch and mmsegmentation's layout."""

import functools

import jax
import jax.numpy as jnp
import pytest
from models import mmseg_names
from models.names import fits, parameters
from parity import check

from segjax.backbones.resnet import ResNet, resnet18, resnet50_v1c, resnet101_v1c
from segjax.models.deeplab_v3plus import (
    deeplab_v3plus_mmseg,
    deeplab_v3plus_pytorch,
    deeplab_v3plus_resnet50,
    deeplab_v3plus_resnet101,
    deeplab_v3plus_smp,
)
from segjax.weights import authors, mmseg, smp


def test_smps_network():
    model = deeplab_v3plus_smp(resnet18, 5, features=16)
    check("deeplab_v3plus_smp", model, smp.DEEPLAB_V3PLUS)


def test_the_network_of_deeplab_pytorch():
    small = functools.partial(ResNet, (1, 1, 2, 3), width=4, stem=(4,))
    model = deeplab_v3plus_pytorch(small, 3, output_stride=8, features=16, low_features=3)
    check("deeplab_v3plus_pytorch", model, authors.DEEPLAB_V3PLUS, rtol=1e-5)


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (deeplab_v3plus_resnet50(21), 40_352_181),
        (deeplab_v3plus_resnet101(21, output_stride=8), 59_344_309),
        (deeplab_v3plus_mmseg(resnet50_v1c, 19), 43_589_878),
        (deeplab_v3plus_mmseg(resnet50_v1c, 19, auxiliary=None), 41_225_187),
        (deeplab_v3plus_mmseg(resnet101_v1c, 19), 62_582_006),
        # smp.DeepLabV3Plus("resnet18", classes=5)
        (deeplab_v3plus_smp(resnet18, 5), 12_330_325),
    ],
)
def test_published_counts(model, count):
    assert parameters(model) == count


def test_mmsegmentations_names():
    arrays = {
        **mmseg_names.resnet50_v1c(),
        **mmseg_names.conv_module("decode_head.image_pool.1", 2048, 512, 1),
        **mmseg_names.conv_module("decode_head.aspp_modules.0", 2048, 512, 1),
        **mmseg_names.conv_module("decode_head.bottleneck", 5 * 512, 512, 3),
        **mmseg_names.conv_module("decode_head.c1_bottleneck", 256, 48, 1),
        **mmseg_names.separable("decode_head.sep_bottleneck.0", 512 + 48, 512),
        **mmseg_names.separable("decode_head.sep_bottleneck.1", 512, 512),
        **mmseg_names.classifier("decode_head.conv_seg", 512, 19),
        **mmseg_names.auxiliary_head(19),
    }
    for i in (1, 2, 3):
        arrays |= mmseg_names.separable(f"decode_head.aspp_modules.{i}", 2048, 512)
    fits(deeplab_v3plus_mmseg(resnet50_v1c, 19), mmseg.DEEPLAB_V3PLUS, arrays)


@pytest.mark.parametrize(("output_stride", "deep"), [(16, 33), (8, 65)])
def test_sizes_at_the_papers_crop(output_stride, deep):
    # 513 -> 257 -> 129 (low level, 256 channels) -> 65 -> 33 -> ASPP, back to 129 and 513.
    model = deeplab_v3plus_resnet50(21, output_stride=output_stride)

    def run(image):
        capture = functools.partial(model.init_with_output, train=False, capture_intermediates=True)
        return capture(jax.random.key(0), image)

    out, variables = jax.eval_shape(run, jax.ShapeDtypeStruct((1, 513, 513, 3), jnp.float32))
    seen = {
        name: x["__call__"][0].shape[1:]
        for name, x in variables["intermediates"].items()
        if name not in ("backbone", "__call__")
    }
    assert variables["intermediates"]["backbone"]["__call__"][0]["c2"].shape[1:] == (129, 129, 256)
    assert seen["aspp"] == (deep, deep, 256)
    assert seen["up0"] == (129, 129, 256)
    assert seen["low"] == (129, 129, 48)
    assert seen["decoder0"] == seen["decoder1"] == (129, 129, 256)
    assert out["logits"].shape == (1, 513, 513, 21)
