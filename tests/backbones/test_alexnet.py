"""AlexNet against torchvision's; Caffe's is compared in tests/models/test_fcn.py."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from parity import check

from segjax.backbones.alexnet import AlexNet, Classifier, alexnet_torchvision, caffenet
from segjax.errors import InputError
from segjax.ops.local_response import local_response_norm
from segjax.ops.pooling import max_pool
from segjax.weights import torchvision


def initialised(model, image):
    init = functools.partial(model.init, train=False)
    return jax.jit(init)(jax.random.key(0), image)


def test_torchvisions_features():
    check(
        "alexnet_torchvision",
        alexnet_torchvision(),
        torchvision.ALEXNET,
        {"c4": "c4", "c5": "c5"},
    )


def test_torchvisions_names():
    backbone = ("conv1", "conv2", "conv3", "conv4", "conv5")
    paths = [f"backbone/{name}/bias" for name in backbone] + ["fc6/bias", "fc7/bias", "fc8/bias"]
    assert [torchvision.ALEXNET.name(path) for path in paths] == [
        *(f"features.{i}.bias" for i in (0, 3, 6, 8, 10)),
        *(f"classifier.{i}.bias" for i in (1, 4, 6)),
    ]


@pytest.mark.parametrize(("make", "size"), [(AlexNet, 227), (alexnet_torchvision, 224)])
def test_sizes(make, size):
    model = Classifier(make())
    image = jax.ShapeDtypeStruct((1, size, size + 32, 3), jnp.float32)

    def run(image):
        out, state = model.init_with_output(
            jax.random.key(0), image, train=False, capture_intermediates=True
        )
        return out, state["intermediates"]["backbone"]["__call__"][0]

    out, maps = jax.eval_shape(run, image)
    # Krizhevsky et al. 2012, figure 2: 55, 27 and 13, then 6 after the last pool.
    assert {name: x.shape[1] for name, x in maps.items()} == {"c2": 55, "c3": 27, "c4": 13, "c5": 6}
    assert out["scores"].shape == (1, 1, 2, 1000)
    assert out["logits"].shape == (1, 1000)


@pytest.mark.parametrize("make", [AlexNet, caffenet])
def test_order_of_normalisation_and_pool(make):
    model = make(widths=(4, 6, 4, 4, 4))
    image = 100 * jax.random.normal(jax.random.key(1), (1, 67, 75, 3))
    variables = initialised(model, image)
    maps = jax.jit(functools.partial(model.apply, train=False))(variables, image)
    x = maps["c2"]
    if make is AlexNet:  # Krizhevsky et al. 2012, section 3.5
        x = max_pool(local_response_norm(x), (3, 3), (2, 2), ceil_mode=True)
    else:
        x = local_response_norm(max_pool(x, (3, 3), (2, 2), ceil_mode=True))
    layer = variables["params"]["conv2"]
    y = lax.conv_general_dilated(
        x,
        layer["kernel"],
        (1, 1),
        ((2, 2), (2, 2)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=2,
    )
    wanted = jax.nn.relu(y + layer["bias"])
    np.testing.assert_allclose(maps["c3"], wanted, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("dropout", "is_random"), [("before", False), ("after", True)])
def test_place_of_dropout(dropout, is_random):
    backbone = alexnet_torchvision(widths=(4, 4, 4, 4, 4))
    model = Classifier(backbone, num_classes=3, hidden=16, dropout=dropout)
    image = jnp.ones((1, 224, 224, 3))
    variables = initialised(model, image)

    @functools.partial(jax.jit, static_argnames="train")
    def logits(variables, train):
        rngs = {"dropout": jax.random.key(2)}
        return model.apply(variables, image, train=train, rngs=rngs)["logits"]

    assert not np.allclose(logits(variables, train=True), logits(variables, train=False))
    # Whatever is dropped before it, fc7 gives ones.
    variables["params"]["fc7"] = {"kernel": jnp.zeros((1, 1, 16, 16)), "bias": jnp.ones(16)}
    same = np.allclose(logits(variables, train=True), logits(variables, train=False))
    assert same != is_random


def test_the_classifier_refuses_small_images():
    init = functools.partial(Classifier(AlexNet()).init, train=False)
    image = jax.ShapeDtypeStruct((1, 227, 190, 3), jnp.float32)
    with pytest.raises(InputError, match="needs 6 x 6 features and got 6 x 5"):
        jax.eval_shape(init, jax.random.key(0), image)
