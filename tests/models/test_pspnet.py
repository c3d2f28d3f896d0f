"""PSPNet against the authors' code and mmsegmentation's layout."""

import functools

import jax
import jax.numpy as jnp
import pytest
from models import mmseg_names
from models.names import fits, shapes
from parity import check

from segjax.backbones.resnet import ResNet, resnet50_v1c, resnet101_v1c
from segjax.models.pspnet import PSPNet, pspnet50, pspnet101, pspnet152, pspnet_mmseg
from segjax.weights import authors, mmseg


def test_the_authors_network():
    backbone = ResNet((1, 1, 2, 2), width=4, stem=(4, 4, 8), output_stride=8, first_unit="new")
    outputs = {"logits": "out", "aux": "aux"}
    check("pspnet_semseg", PSPNet(3, backbone, 32), authors.PSPNET, outputs, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "count", "with_auxiliary"),
    [
        (functools.partial(pspnet50, 19), 46_715_347, 49_080_038),
        (functools.partial(pspnet50, 21), 46_716_373, 49_081_578),
        (functools.partial(pspnet50, 150), 46_782_550, 49_180_908),
        (functools.partial(pspnet101, 19), 65_707_475, 68_072_166),
        (functools.partial(pspnet101, 21), 65_708_501, 68_073_706),
        (functools.partial(pspnet101, 150), 65_774_678, 68_173_036),
        (functools.partial(pspnet152, 19), 81_351_123, 83_715_814),
        (functools.partial(pspnet_mmseg, resnet50_v1c, 19), 46_610_803, 48_975_494),
        (functools.partial(pspnet_mmseg, resnet101_v1c, 19), None, 67_967_622),
    ],
)
def test_published_counts(make, count, with_auxiliary):
    params = shapes(make())["params"]
    sizes = {name: sum(x.size for x in jax.tree.leaves(part)) for name, part in params.items()}
    assert sum(sizes.values()) == with_auxiliary
    assert count in (None, with_auxiliary - sizes["aux"])


def test_mmsegmentations_names():
    arrays = {
        **mmseg_names.resnet50_v1c(),
        **mmseg_names.conv_module("decode_head.bottleneck", 4096, 512, 3),
        **mmseg_names.classifier("decode_head.conv_seg", 512, 19),
        **mmseg_names.auxiliary_head(19),
    }
    for i in range(4):
        arrays |= mmseg_names.conv_module(f"decode_head.psp_modules.{i}.1", 2048, 512, 1)
    fits(pspnet_mmseg(resnet50_v1c, 19), mmseg.PSPNET, arrays)
    # A model without the auxiliary head leaves its arrays.
    without = pspnet_mmseg(resnet50_v1c, 19, auxiliary=None)
    fits(without, mmseg.PSPNET, {k: v for k, v in arrays.items() if "auxiliary" not in k})


def test_sizes_at_the_papers_crop():
    # 473 -> 237 -> 119 -> 60, and 4096 channels behind the pyramid.
    model = pspnet50(21)
    image = jax.ShapeDtypeStruct((1, 473, 473, 3), jnp.float32)

    def run(image):
        capture = functools.partial(model.init_with_output, train=False, capture_intermediates=True)
        return capture(jax.random.key(0), image)

    out, variables = jax.eval_shape(run, image)
    seen = variables["intermediates"]
    maps = seen["backbone"]["__call__"][0]
    sizes = [maps[name].shape[1] for name in ("c1", "c2", "c3", "c4", "c5")]
    assert sizes == [237, 119, 60, 60, 60]
    assert seen["pyramid"]["__call__"][0].shape == (1, 60, 60, 4096)
    assert seen["head"]["__call__"][0].shape == (1, 60, 60, 21)
    assert out["logits"].shape == out["aux"].shape == (1, 473, 473, 21)
