"""LinkNet against its three implementations, and their published parameter counts."""

import functools

import jax
import jax.numpy as jnp
import pytest
from flax.traverse_util import flatten_dict
from parity import check

from segjax.backbones.resnet import BasicBlock, ResNet
from segjax.errors import InputError
from segjax.models.linknet import FullConvHead, UnpaddedHead, linknet18, linknet34, linknet34_smp
from segjax.nn.upsample import UPSAMPLERS
from segjax.weights import authors, smp
from segjax.weights.keymap import KeyMap

narrow = functools.partial(ResNet, (1, 1, 1, 1), BasicBlock, width=8, stem=(8,))

# The paper's network in the golden file has the decoders and the encoder named as LinkNet-34's.
PAPER = KeyMap(
    (
        *authors.LINKNET34.renames,
        (r"^head/(up\d|conv)(/conv)?$", r"\1"),
        ("^head/norm1$", "norm1"),
        ("^head/conv/norm$", "norm2"),
    ),
    transposed=r"/up\d?/kernel$",
    unused="num_batches_tracked$",
)


def test_the_lua_release():
    head = functools.partial(FullConvHead, features=4)
    check("linknet_paper", linknet18(3, backbone=narrow(), head=head), PAPER)


def test_the_surgical_release():
    backbone = ResNet((1, 2, 1, 1), BasicBlock, width=4, stem=(4,))
    model = linknet34(3, backbone=backbone, features=4)
    check("linknet_authors", model, authors.LINKNET34, rtol=1e-5)


def test_segmentation_models():
    backbone = ResNet((1, 1, 1, 1), BasicBlock)
    check("linknet_smp", linknet34_smp(3, backbone=backbone), smp.LINKNET)


def shapes(model, height=32, width=64):
    image = jax.ShapeDtypeStruct((3, height, width, 3), jnp.float32)
    init = functools.partial(model.init_with_output, train=False)
    out, variables = jax.eval_shape(init, jax.random.key(0), image)
    return out["logits"].shape, flatten_dict(variables["params"], sep="/")


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        (linknet18(11), 11_535_659),  # CamVid
        (linknet18(19), 11_536_691),  # Cityscapes
        (linknet34(1), 21_794_721),
        (linknet34_smp(1), 21_771_937),
    ],
)
def test_parameters_and_size(model, parameters):
    size, params = shapes(model)
    assert size == (3, 32, 64, model.num_classes)
    assert sum(x.size for x in params.values()) == parameters


def test_the_keys_of_the_surgical_release():
    # Names and shapes as in models.py of the release, for two classes.
    wanted = {
        "finaldeconv1.weight": (64, 32, 3, 3),
        "finaldeconv1.bias": (32,),
        "finalconv2.weight": (32, 32, 3, 3),
        "finalconv2.bias": (32,),
        "finalconv3.weight": (2, 32, 2, 2),
        "finalconv3.bias": (2,),
    }
    for i, (m, n) in enumerate([(64, 64), (128, 64), (256, 128), (512, 256)], 1):
        name, q = f"decoder{i}", m // 4
        layers = {"conv1": (q, m, 1, 1), "deconv2": (q, q, 4, 4), "conv3": (n, q, 1, 1)}
        for layer, norm in (("conv1", "norm1"), ("deconv2", "norm2"), ("conv3", "norm3")):
            wanted[f"{name}.{layer}.weight"] = layers[layer]
            bias = (layers[layer][0],)
            wanted[f"{name}.{layer}.bias"] = bias
            wanted |= {f"{name}.{norm}.weight": bias, f"{name}.{norm}.bias": bias}
    _, params = shapes(linknet34(2))
    found = {}
    for path, x in params.items():
        transposed = path.endswith("/up/kernel")
        order = (2, 3, 0, 1) if transposed else (3, 2, 0, 1)
        shape = tuple(x.shape[i] for i in order) if len(x.shape) == 4 else x.shape
        found[authors.LINKNET34.name(path)] = shape
    theirs = ("first", "encoder")
    assert {k: v for k, v in found.items() if not k.startswith(theirs)} == wanted
    assert {k.split(".")[0] for k in found if k.startswith(theirs)} == {
        "firstconv",
        "firstbn",
        *(f"encoder{i}" for i in (1, 2, 3, 4)),
    }


@pytest.mark.parametrize("name", [name for name in UPSAMPLERS if name != "max_unpool"])
def test_the_heads_take_other_upsamplers(name):
    up = UPSAMPLERS[name]
    head = functools.partial(FullConvHead, upsample=up, upsample_logits=up)
    assert shapes(linknet18(3, backbone=narrow(), head=head))[0] == (3, 32, 64, 3)
    if name != "sub_pixel":  # makes no odd sizes
        head = functools.partial(UnpaddedHead, upsample=up)
        assert shapes(linknet34(3, backbone=narrow(), head=head))[0] == (3, 32, 64, 3)


def test_max_unpooling_needs_switches():
    with pytest.raises(InputError, match="needs the switches"):
        shapes(linknet18(3, backbone=narrow(), upsample=UPSAMPLERS["max_unpool"]))


def test_another_size_is_refused():
    with pytest.raises(InputError, match="side of 33 is no multiple of 32"):
        shapes(linknet18(3), 33, 64)
    assert linknet18(3).input_size(33) == 64
    assert linknet18(3).output_size(64) == 64
