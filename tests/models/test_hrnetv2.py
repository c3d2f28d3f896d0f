"""HRNetV2 and OCR against the authors' heads on timm's trunk, and the counts of their code."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import check

from segjax.backbones.hrnet import HRNet
from segjax.errors import InputError
from segjax.models import hrnet, ocr
from segjax.models.hrnet import HRNetV2
from segjax.models.ocr import OCR
from segjax.nn.initializers import normal
from segjax.nn.upsample import Bilinear, SubPixel
from segjax.ops import resize
from segjax.weights import authors

small = functools.partial(HRNet, 4, stage1=(2, 8), modules=(1, 2, 1), units=1)


def shapes(model, *size, batch=1):
    image = jax.ShapeDtypeStruct((batch, *size, 3), jnp.float32)
    init = functools.partial(model.init_with_output, train=False)
    return jax.eval_shape(init, jax.random.key(0), image)


def count(model):
    _, variables = shapes(model, 64, 96)
    return sum(x.size for x in jax.tree.leaves(variables["params"]))


def test_the_authors_head_at_an_odd_size():
    check("hrnet_seg", HRNetV2(5, small()), authors.HRNET_SEG, rtol=1e-5)


def test_ocr_corner_aligned_at_an_odd_size():
    upsample = functools.partial(Bilinear, convention="corner-aligned")
    model = OCR(
        3,
        small(upsample=upsample),
        features=16,
        key_features=8,
        upsample=upsample,
        resize=functools.partial(resize.bilinear, convention="corner-aligned"),
    )
    outputs = {"logits": "logits", "aux": "aux"}
    check("hrnet_ocr", model, authors.HRNET_OCR, outputs, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "classes", "parameters"),
    [
        (hrnet.hrnet_w18, 21, 9_641_119 + 542),
        (hrnet.hrnet_w48, 150, 65_953_830),
    ],
)
def test_other_class_counts(make, classes, parameters):
    assert count(make(classes)) == parameters


def test_ocr_on_ade20k():
    # Xie et al. 2021 (SegFormer), table of ADE20K: OCRNet on HRNet-W48 has 70.5M.
    assert round(count(ocr.hrnet_w48_ocr(150)) / 1e6, 1) == 70.5


@pytest.mark.parametrize("size", [(65, 97), (33, 40)])
@pytest.mark.parametrize("make", [HRNetV2, OCR])
def test_any_size(make, size):
    out, _ = shapes(make(5, small()), *size, batch=3)
    assert {x.shape for x in out.values()} == {(3, *size, 5)}
    assert {x.dtype for x in out.values()} == {np.dtype("float32")}


def test_the_head_keeps_the_width_of_the_four_branches():
    _, variables = shapes(hrnet.hrnet_w48(19), 512, 1024)
    assert variables["params"]["last_layer_conv"]["kernel"].shape == (1, 1, 720, 720)
    assert variables["params"]["head"]["kernel"].shape == (1, 1, 720, 19)


def test_the_head_starts_narrow():
    kernel = np.asarray(normal(0.001)(jax.random.key(0), (1, 1, 300, 200)))
    np.testing.assert_allclose([kernel.mean(), kernel.std()], [0, 0.001], atol=2e-5)


def test_half_precision_gives_logits_in_single():
    model = HRNetV2(5, small(dtype=jnp.bfloat16), dtype=jnp.bfloat16)
    out, variables = shapes(model, 64, 96)
    assert out["logits"].dtype == jnp.float32
    assert {x.dtype for x in jax.tree.leaves(variables)} == {np.dtype("float32")}


def test_an_upsampler_that_needs_even_sizes_says_so():
    with pytest.raises(InputError, match="SubPixel by 2 cannot take 9x13 to 17x25"):
        shapes(HRNetV2(5, small(), upsample=SubPixel), 65, 97)
