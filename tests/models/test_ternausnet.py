"""TernausNet and AlbuNet against their releases, and the published parameter counts."""

import functools

import jax
import jax.numpy as jnp
import pytest
from flax.traverse_util import flatten_dict
from parity import check

from segjax.backbones.resnet import ResNet, resnet34
from segjax.backbones.vgg import VGG
from segjax.errors import InputError
from segjax.models import ternausnet
from segjax.nn.upsample import Bilinear, MaxUnpool
from segjax.weights import authors

WIDTHS = (4, 8, 16, 32, 32)
UNET11 = ((32, 16), (32, 16), (32, 8), (16, 4), (8, 2))
UNET16 = ((32, 16), (32, 16), (32, 16), (16, 4), (8, 2))
ALBUNET = ((32, 16), (32, 16), (32, 16), (16, 4), (8, 8), (8, 2))
vgg11, vgg16 = VGG((1, 1, 2, 2, 2), WIDTHS), VGG((2, 2, 3, 3, 3), WIDTHS)
albu = ternausnet.AlbuEncoder((1, 2, 1, 1), 4)


@pytest.mark.parametrize(
    ("golden", "model", "keymap"),
    [
        (
            "ternausnet11",
            ternausnet.ternausnet11(1, backbone=vgg11, decoder=UNET11),
            authors.TERNAUSNET11,
        ),
        (
            "ternausnet16",
            ternausnet.ternausnet16(3, backbone=vgg16, decoder=UNET16),
            authors.TERNAUSNET16,
        ),
        (
            "ternausnet16_transposed",
            ternausnet.ternausnet16_transposed(3, backbone=vgg16, decoder=UNET16),
            authors.TERNAUSNET16,
        ),
        (
            "ternausnet11_surgical",
            ternausnet.ternausnet11_surgical(3, backbone=vgg11, decoder=UNET11),
            authors.TERNAUSNET16,
        ),
        (
            "albunet",
            ternausnet.albunet34(3, backbone=albu, decoder=ALBUNET),
            authors.ALBUNET34,
        ),
        (
            "albunet_transposed",
            ternausnet.albunet34_transposed(3, backbone=albu, decoder=ALBUNET),
            authors.ALBUNET34,
        ),
    ],
)
def test_the_release(golden, model, keymap):
    check(f"{golden}_authors", model, keymap, rtol=1e-5)


def shapes(model, height=64, width=128):
    image = jax.ShapeDtypeStruct((3, height, width, 3), jnp.float32)
    init = functools.partial(model.init_with_output, train=False)
    out, variables = jax.eval_shape(init, jax.random.key(0), image)
    assert out["logits"].shape == (3, height, width, model.num_classes)
    return flatten_dict(variables["params"], sep="/")


@pytest.mark.parametrize(
    ("make", "parameters"),
    [
        (ternausnet.ternausnet16_transposed, 32_202_337),
        (ternausnet.ternausnet11_surgical, 25_364_513),
        # The released network holds all of torchvision's ResNet-34, its 512 x 1000 classifier too.
        (ternausnet.albunet34, 35_117_897 - (512 + 1) * 1000),
        (ternausnet.albunet34_transposed, 38_128_457 - (512 + 1) * 1000),
    ],
)
def test_parameters(make, parameters):
    assert sum(x.size for x in shapes(make(1)).values()) == parameters


def test_the_decoder_of_unet11():
    # in -> middle -> features of each block, as in the paper's figure 1 and its released code.
    params = shapes(ternausnet.ternausnet11(1))
    blocks = {
        name: params[f"{name}/conv/conv/kernel"].shape[2:] + params[f"{name}/up/kernel"].shape[3:]
        for name in ("center", "dec5", "dec4", "dec3", "dec2")
    }
    assert blocks == {
        "center": (512, 512, 256),
        "dec5": (768, 512, 256),
        "dec4": (768, 512, 128),
        "dec3": (384, 256, 64),
        "dec2": (192, 128, 32),
    }
    assert params["dec1/conv/kernel"].shape == (3, 3, 96, 32)
    assert params["final/kernel"].shape == (1, 1, 32, 1)


def test_the_keys_of_unet11():
    names = {authors.TERNAUSNET11.name(path) for path in shapes(ternausnet.ternausnet11(1))}
    layers = ["conv1", "conv2", "conv3s", "conv3", "conv4s", "conv4", "conv5s", "conv5"]
    for block in ("center", "dec5", "dec4", "dec3", "dec2"):
        layers += [f"{block}.block.0.conv", f"{block}.block.1"]
    layers += ["dec1.conv", "final"]
    assert names == {f"{layer}.{leaf}" for layer in layers for leaf in ("weight", "bias")}


def test_the_surgical_unets_have_the_names_of_unet16():
    model = ternausnet.ternausnet11_surgical(1)
    names = {authors.TERNAUSNET16.name(path) for path in shapes(model)}
    depths = {"conv1": [0], "conv2": [0], "conv3": [0, 2], "conv4": [0, 2], "conv5": [0, 2]}
    wanted = {f"{conv}.{i}" for conv, at in depths.items() for i in at}
    assert {name.rpartition(".")[0] for name in names if name.startswith("conv")} == wanted


def test_albunets_encoder_has_the_variables_of_resnet():
    # so that the weights of a classifier fill it
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    trees = [
        jax.eval_shape(functools.partial(x.init, train=False), jax.random.key(0), image)
        for x in (ternausnet.AlbuEncoder(), resnet34())
    ]
    assert trees[0] == trees[1]


def test_max_unpooling_needs_the_features_of_the_skips():
    unpooled = functools.partial(ternausnet.ternausnet11, 3, upsample=MaxUnpool)
    with pytest.raises(InputError, match="does not fit switches"):
        shapes(unpooled())
    # twice the paper's features in every block
    shapes(unpooled(decoder=((512, 512), (512, 512), (512, 256), (256, 128), (128, 64))))


def test_another_backbone():
    model = ternausnet.albunet34(3, backbone=ResNet((1, 1, 1, 1), width=4), upsample=Bilinear)
    shapes(model)


@pytest.mark.parametrize(("make", "step"), [("ternausnet11", 32), ("albunet34", 64)])
def test_another_size_is_refused(make, step):
    model = getattr(ternausnet, make)(3)
    with pytest.raises(InputError, match=f"side of 48 is no multiple of {step}"):
        shapes(model, 64, 48)
    assert model.input_size(65) == (96 if step == 32 else 128)
    assert model.output_size(128) == 128
