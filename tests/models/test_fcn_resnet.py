"""FCN on a dilated ResNet against torchvision's."""

import functools

import jax
import jax.numpy as jnp
import pytest
from models.names import parameters
from parity import check

from segjax.backbones.resnet import ResNet
from segjax.models.fcn_resnet import FCNResNet, fcn_resnet50, fcn_resnet101
from segjax.weights import torchvision


def test_torchvisions_network():
    model = FCNResNet(3, ResNet((1, 1, 2, 1), width=8, stem=(64,), output_stride=8))
    outputs = {"logits": "out", "aux": "aux"}
    check("fcn_resnet_torchvision", model, torchvision.FCN, outputs)


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (fcn_resnet50(21), 35_322_218),
        (fcn_resnet50(21, auxiliary=None), 32_957_013),
        (fcn_resnet101(21), 54_314_346),
        (fcn_resnet101(21, auxiliary=None), 51_949_141),
    ],
)
def test_torchvisions_counts(model, count):
    assert parameters(model) == count


def test_bfloat16_gives_float32_logits_and_parameters():
    model = fcn_resnet50(21, dtype=jnp.bfloat16)
    image = jax.ShapeDtypeStruct((3, 65, 97, 3), jnp.float32)
    init = functools.partial(model.init_with_output, train=False)
    out, variables = jax.eval_shape(init, jax.random.key(0), image)
    assert {x.shape for x in out.values()} == {(3, 65, 97, 21)}
    assert {x.dtype for x in jax.tree.leaves((out, variables))} == {jnp.dtype(jnp.float32)}
