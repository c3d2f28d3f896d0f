"""Semantic FPN against segmentation-models-pytorch's, and the pyramids of the FPN paper."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import check

from segjax.backbones.hrnet import HRNet
from segjax.backbones.resnet import BasicBlock, ResNet, resnet18, resnet34, resnet50
from segjax.errors import InputError
from segjax.models import fpn
from segjax.models.fpn import PYRAMIDS, ImagePyramid, SemanticFPN
from segjax.nn.fpn import FPN, Select
from segjax.nn.layers import Conv, GroupNorm
from segjax.weights import smp

small = functools.partial(ResNet, (1, 1, 1, 1), BasicBlock, width=4, stem=(4,))
norm = functools.partial(GroupNorm, num_groups=2)


def shapes(model, *size, batch=1):
    image = jax.ShapeDtypeStruct((batch, *size, 3), jnp.float32)
    init = functools.partial(model.init_with_output, train=False)
    return jax.eval_shape(init, jax.random.key(0), image)


def count(tree):
    return sum(x.size for x in jax.tree.leaves(tree))


def test_smps_fpn():
    check("fpn_smp", fpn.smp_fpn(5, ResNet((2, 2, 2, 2), BasicBlock)), smp.FPN)


@pytest.mark.parametrize(
    ("backbone", "classes", "parameters"),
    [(resnet18, 1, 13_047_233), (resnet34, 21, 23_157_973), (resnet50, 19, 26_118_355)],
)
def test_smps_counts(backbone, classes, parameters):
    _, variables = shapes(fpn.smp_fpn(classes, backbone()), 64, 96)
    assert count(variables["params"]) == parameters


def test_the_branch_is_what_panoptic_fpn_adds_to_mask_rcnn():
    # detectron2: 45,973,990 with it, 44,343,216 without
    _, variables = shapes(fpn.semantic_fpn(54, small()), 64, 96)
    branch = {name: x for name, x in variables["params"].items() if name[0] in "ph"}
    assert set(variables["params"]) == {"backbone", "neck", *branch}
    assert count(branch) == 45_973_990 - 44_343_216


def test_ade20k():
    # Wang et al. 2021 (PVT), table of semantic segmentation: ResNet50 with Semantic FPN has 28.5M.
    _, variables = shapes(fpn.semantic_fpn(150, resnet50()), 64, 96)
    assert round(count(variables["params"]) / 1e6, 1) == 28.5


@pytest.mark.parametrize(
    ("name", "levels"),
    [
        ("image_pyramid", ["p5", "p6", "p7"]),
        ("single_map", ["p5"]),
        ("hierarchy", ["p2", "p3", "p4", "p5"]),
        ("fpn", ["p2", "p3", "p4", "p5"]),
        ("top_down", ["p2"]),
        ("panet", ["p2", "p3", "p4", "p5"]),
    ],
)
def test_every_pyramid_predicts_at_its_levels(name, levels):
    model = PYRAMIDS[name](5, backbone=small(), width=4, norm=norm)
    out, variables = shapes(model, 65, 97, batch=3)
    assert set(out) == {"logits", *levels}
    assert {x.shape for x in out.values()} == {(3, 65, 97, 5)}
    assert {x.dtype for x in out.values()} == {np.dtype("float32")}
    # the same backbone under all of them
    _, alone = shapes(small(), 65, 97)
    assert jax.tree.map(jnp.shape, variables["params"]["backbone"]) == jax.tree.map(
        jnp.shape, alone["params"]
    )
    # levels at 1/8, 1/16, 1/32, ... are doubled 1, 2, 3, ... times, by as many convolutions
    convs = {x: sum(path.startswith(f"{x}_") for path in variables["params"]) for x in levels}
    assert convs == {x: max(int(x[1:]) - 2, 1) for x in levels}


def test_logits_are_the_levels_predictions_added():
    # The classifier is linear: the levels' logits sum to the fused ones and three more biases.
    model = fpn.semantic_fpn(5, small(), width=4, norm=norm)
    image = np.random.default_rng(0).normal(size=(1, 40, 56, 3)).astype(np.float32)
    variables = jax.jit(functools.partial(model.init, train=False))(jax.random.key(0), image)
    bias = jnp.arange(5.0)
    variables["params"]["head"]["bias"] = bias
    out = jax.jit(functools.partial(model.apply, train=False))(variables, image)
    total = sum(out[f"p{level}"] for level in (2, 3, 4, 5)) - 3 * bias
    np.testing.assert_allclose(out["logits"], total, atol=1e-4)
    assert np.abs(out["p5"] - out["p2"]).max() > 0.1


class Patches(nn.Module):
    """A backbone of one convolution."""

    @nn.compact
    def __call__(self, image, *, train):
        patches = Conv(2, (8, 8), strides=8, padding=0, use_bias=False, name="patches")
        return {"c4": image, "c5": patches(image)}


def test_the_image_pyramid_sees_halves_of_the_image():
    image = np.random.default_rng(0).normal(size=(1, 64, 96, 3)).astype(np.float32)
    model = ImagePyramid(Patches(), halvings=2)
    maps, variables = model.init_with_output(jax.random.key(0), image, train=False)
    assert list(maps) == ["c4", "c5", "c6", "c7"]
    patches = variables["params"]["patches"]["kernel"]  # the backbone's own names
    for level, scale in (("c5", 1), ("c6", 2), ("c7", 4)):
        means = image.reshape(1, 64 // scale, scale, 96 // scale, scale, 3).mean((2, 4))
        blocks = means.reshape(1, 8 // scale, 8, 12 // scale, 8, 3)
        wanted = np.einsum("biyjxc,yxcd->bijd", blocks, patches)
        np.testing.assert_allclose(maps[level], wanted, atol=1e-4)


def test_on_an_hrnet():
    backbone = HRNet(2, stage1=(1, 2), modules=(1, 1, 1), units=1, stem=4)
    out, _ = shapes(SemanticFPN(5, backbone, functools.partial(FPN, 4), width=4, norm=norm), 65, 97)
    assert out["logits"].shape == (1, 65, 97, 5)


def test_a_level_finer_than_the_head_is_refused():
    with pytest.raises(InputError, match="The neck gives p1, finer than the head's 1/4"):
        shapes(SemanticFPN(5, small(), functools.partial(Select, (1, 2))), 64, 96)


def test_dropout_takes_whole_maps():
    model = fpn.single_map(5, small(), width=4, norm=norm, dropout=0.5)
    image = np.random.default_rng(0).normal(size=(2, 32, 64, 3)).astype(np.float32)
    variables = jax.jit(functools.partial(model.init, train=False))(jax.random.key(0), image)

    @jax.jit
    def run(key):
        out, _ = model.apply(
            variables, image, train=True, rngs={"dropout": key}, mutable=["batch_stats"]
        )
        return out

    out = run(jax.random.key(1))
    # Each map of the sum is kept, doubled, or gone: a linear classifier of four maps, of which
    # the undropped prediction 'p5' is the sum. Find 0 or 2 for each by least squares.
    kernel = np.asarray(variables["params"]["head"]["kernel"])[0, 0]  # [4, 5]
    for before, after in zip(np.asarray(out["p5"]), np.asarray(out["logits"]), strict=True):
        maps = np.linalg.lstsq(kernel.T, before.reshape(-1, 5).T, rcond=None)[0]
        kept = np.linalg.lstsq(kernel.T, after.reshape(-1, 5).T, rcond=None)[0]
        for a, b in zip(maps, kept, strict=True):
            scale = (a @ b) / (a @ a) if (a @ a) > 1e-8 else 0.0
            assert min(abs(scale), abs(scale - 2)) < 1e-3
