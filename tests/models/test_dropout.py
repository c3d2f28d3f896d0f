"""Which networks drop whole maps, and which single values: as the code they follow."""

import functools

import jax
import jax.numpy as jnp
import pytest

from segjax.backbones.resnet import BasicBlock, ResNet
from segjax.models import deeplab_v3, deeplab_v3plus, pspnet


def tiny(**options):
    options = {name: x for name, x in options.items() if name in ("output_stride", "norm", "dtype")}
    return ResNet((1, 1, 1, 1), BasicBlock, width=4, stem=(4,), **options)


@pytest.mark.parametrize(
    ("make", "whole"),
    [  # nn.Dropout2d in semseg and mmseg, nn.Dropout in torchvision and smp
        (pspnet.pspnet, {True}),
        (pspnet.pspnet_mmseg, {True}),
        (deeplab_v3.deeplab_v3_mmseg, {True}),
        (deeplab_v3.deeplab_v3_torchvision, {False}),
        (deeplab_v3plus.deeplab_v3plus_mmseg, {True}),
        (deeplab_v3plus.deeplab_v3plus_smp, {False}),
    ],
)
def test_dropout(make, whole, monkeypatch):
    drawn = []

    def bernoulli(key, p, shape):
        drawn.append(shape)
        return jnp.ones(shape, bool)

    monkeypatch.setattr(jax.random, "bernoulli", bernoulli)
    image = jax.ShapeDtypeStruct((2, 32, 64, 3), jnp.float32)
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    jax.eval_shape(functools.partial(make(tiny, 3).init, train=True), keys, image)
    assert {tuple(shape[1:3]) == (1, 1) for shape in drawn} == whole
