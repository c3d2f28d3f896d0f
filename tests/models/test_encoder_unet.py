"""The U-Net with an encoder against segmentation-models' with each kind of encoder."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import GOLDEN, check, state_dict

from segjax.backbones import vgg
from segjax.backbones.efficientnet import EfficientNet, TFNorm
from segjax.backbones.mobilenet_v2 import MobileNetV2
from segjax.backbones.mobilenet_v3 import mobilenet_v3_large
from segjax.backbones.resnet import resnet18
from segjax.backbones.vgg import VGG, vgg11_bn
from segjax.errors import InputError
from segjax.models import encoder_unet
from segjax.models.encoder_unet import EncoderUNet
from segjax.nn.layers import BatchNorm
from segjax.nn.upsample import MaxUnpool
from segjax.weights import smp
from segjax.weights.families import FAMILIES, recognise
from segjax.weights.keymap import fill

NARROW = EfficientNet(width_mult=0.5, norm=TFNorm, taps=(("c1", 0), ("c4", 9)))


@pytest.mark.parametrize(
    ("name", "backbone", "centre", "keymap"),
    [
        ("resnet18", resnet18(), 0, smp.UNET_RESNET),
        ("efficientnet-b0", NARROW.clone(padding=224), 0, smp.UNET_EFFICIENTNET_B0),
        ("efficientnet-b4", NARROW.clone(padding=380), 0, smp.UNET_EFFICIENTNET_B0),
        ("mobilenet_v2", MobileNetV2(), 0, smp.UNET_MOBILENET_V2),
        ("vgg11_bn", vgg11_bn(), 2, smp.UNET_VGG11_BN),
    ],
)
def test_segmentation_models(name, backbone, centre, keymap):
    model = EncoderUNet(3, backbone, (8, 8, 8, 8, 4), centre)
    check(f"encoder_unet_{name}_smp", model, keymap)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize(
    ("depth", "units"), [(13, (2, 2, 2, 2, 2)), (16, (2, 2, 3, 3, 3)), (19, (2, 2, 4, 4, 4))]
)
def test_segmentation_models_on_deeper_vggs(depth, units, norm):
    backbone = VGG(units, (4, 8, 16, 32, 32), norm=BatchNorm if norm else None)
    name = f"vgg{depth}_bn" if norm else f"vgg{depth}"
    model = EncoderUNet(3, backbone, (8, 8, 8, 8, 4), 2)
    check(f"encoder_unet_{name}_smp", model, FAMILIES[f"smp UNET_{name.upper()}"], rtol=1e-5)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("vgg11_bn", "vgg19"), ("vgg11_bn", "vgg13"), ("vgg13", "vgg19"), ("vgg16_bn", "vgg16_bn")],
)
def test_a_file_of_another_network_is_recognised_as_what_it_is(ours, theirs):
    """So that the refusal is of the file's own names."""
    model = EncoderUNet(1, getattr(vgg, ours)(), centre=2)
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    variables = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), image)
    tensors = state_dict(np.load(GOLDEN / f"encoder_unet_{theirs}_smp.npz"))
    assert recognise(variables, tensors) == f"smp UNET_{theirs.upper()}"


def test_attention_in_the_decoder_is_refused_in_one_sentence():
    golden = json.loads(str(np.load(GOLDEN / "encoder_unet_scse_smp.npz")["shapes"]))
    tensors = {name: np.broadcast_to(np.float32(0), shape) for name, shape in golden.items()}
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    init = functools.partial(encoder_unet.unet_resnet18(1).init, train=False)
    variables = jax.eval_shape(init, jax.random.key(0), image)
    assert recognise(variables, tensors) == "smp UNET_RESNET"
    with pytest.raises(InputError, match=r"^Its decoder has scSE attention .* as in :backbone.$"):
        fill(variables, tensors, smp.UNET_RESNET)
    assert fill(variables, tensors, smp.UNET_RESNET, under="backbone")
    plain = {name: x for name, x in tensors.items() if "attention" not in name}
    assert fill(variables, plain, smp.UNET_RESNET)


def test_the_names_of_the_deepest_network():
    golden = json.loads(str(np.load(GOLDEN / "encoder_unet_names_smp.npz")["shapes"]))
    tensors = {name: np.broadcast_to(np.float32(0), shape) for name, shape in golden.items()}
    model = encoder_unet.unet_efficientnet_b4(1)
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    init = functools.partial(model.init, train=False)
    variables = jax.eval_shape(init, jax.random.key(0), image)
    _, kept = fill(variables, tensors, smp.UNET_EFFICIENTNET_B4)  # all of it, or an error
    assert not kept


def shapes(model, height=64, width=32):
    image = jax.ShapeDtypeStruct((3, height, width, 3), jnp.float32)
    init = functools.partial(model.init_with_output, train=False)
    out, variables = jax.eval_shape(init, jax.random.key(0), image)
    count = sum(x.size for x in jax.tree.leaves(variables["params"]))
    return out["logits"].shape, count


@pytest.mark.parametrize(
    ("name", "count"),
    # segmentation-models', which counts the last convolution of the EfficientNets too
    [
        ("unet_vgg16_bn", 23_756_689),
        ("unet_efficientnet_b0", 6_251_469 - 1280 * (320 + 2)),
        ("unet_efficientnet_b4", 20_225_689 - 1792 * (448 + 2)),
    ],
)
def test_parameters(name, count):
    assert shapes(getattr(encoder_unet, name)(1)) == ((3, 64, 32, 1), count)


def test_any_backbone_with_five_strides():
    model = EncoderUNet(2, mobilenet_v3_large(tap="last"))
    assert shapes(model, 32, 96)[0] == (3, 32, 96, 2)


def test_unpooling_follows_the_encoders_switches():
    # A switch is of one channel: what comes from below must have those of the encoder's stage.
    vgg = VGG((1, 1, 1, 1, 1), (4, 6, 8, 8, 8))
    widths = (8, 8, 6, 4, 5)
    model = EncoderUNet(3, vgg, widths, upsample=MaxUnpool)
    assert shapes(model)[0] == (3, 64, 32, 3)
    with pytest.raises(InputError, match="does not fit switches of shape"):
        shapes(EncoderUNet(3, vgg, (16, 8, 6, 4, 5), upsample=MaxUnpool))
    with pytest.raises(InputError, match="needs the switches of its paired max-pool"):
        shapes(EncoderUNet(3, resnet18(), upsample=MaxUnpool))


@pytest.mark.parametrize(("height", "width"), [(33, 64), (64, 48)])
def test_other_sizes_are_refused(height, width):
    with pytest.raises(InputError, match=r"is no multiple of 32; the nearest legal side is"):
        shapes(encoder_unet.unet_resnet18(1), height, width)
    model = encoder_unet.unet_resnet18(1)
    assert model.input_size(33) == 64
    assert model.output_size(64) == 64
