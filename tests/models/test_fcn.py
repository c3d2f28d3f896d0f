"""FCN against its Caffe geometry, and the alignment of every upsampler."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import Bright, check

from segjax.backbones.alexnet import caffenet
from segjax.backbones.vgg import VGG
from segjax.models.fcn import fcn8s, fcn8s_at_once, fcn16s, fcn32s, fcn_alexnet
from segjax.nn.upsample import Bilinear, Nearest, ResizeConv, TransposedConv
from segjax.ops import convolution
from segjax.weights import authors

WIDTHS = (3, 4, 5, 6, 5)
VGG_FCN = VGG((1, 2, 1, 1, 1), WIDTHS, pool_rounding="ceil", first_padding=100)
ALEX_FCN = caffenet(widths=(4, 6, 4, 6, 4), first_padding=100)
TINY = {
    "fcn32s": functools.partial(fcn32s, 3, backbone=VGG_FCN, hidden=6),
    "fcn16s": functools.partial(fcn16s, 3, backbone=VGG_FCN, hidden=6),
    "fcn8s": functools.partial(fcn8s, 3, backbone=VGG_FCN, hidden=6),
    "fcn_alexnet": functools.partial(fcn_alexnet, 3, backbone=ALEX_FCN, hidden=6),
}


@pytest.mark.parametrize("name", ["fcn32s", "fcn16s"])
def test_the_authors_geometry(name):
    check(name, TINY[name](), authors.FCN)


def test_the_authors_geometry_and_scales():
    check("fcn8s", TINY["fcn8s"](scale_pool4=0.5, scale_pool3=2), authors.FCN)
    assert (fcn8s_at_once(3).scale_pool4, fcn8s_at_once(3).scale_pool3) == (0.01, 0.0001)


def test_the_authors_alexnet():
    keymap = authors.FCN._replace(renames=(("^model/", ""), *authors.FCN.renames))
    check("fcn_alexnet", Bright(TINY["fcn_alexnet"]()), keymap)


def output_size(model, height, width):
    image = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
    init = functools.partial(model.init_with_output, train=False)
    out, _ = jax.eval_shape(init, jax.random.key(0), image)
    return out["logits"].shape[1:3]


@pytest.mark.parametrize("name", TINY)
def test_any_size_comes_back(name, monkeypatch):
    monkeypatch.setattr(convolution, "_fast", False)  # the plain formulations trace faster
    for n in range(1, 50):
        assert output_size(TINY[name](), n, 98 - n) == (n, 98 - n)
    for n in range(1, 33, 5):
        assert output_size(TINY[name](upsample=Nearest), n, 66 - n) == (n, 66 - n)


def traced(model, size):
    """The sides of what each layer gives, but the crops."""

    def run(image):
        _, state = model.init_with_output(
            jax.random.key(0), image, train=False, capture_intermediates=True
        )
        return state["intermediates"]

    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    found: dict[str, Any] = jax.eval_shape(run, image)
    layers = {**found.pop("backbone"), **found}
    return {name: x["__call__"][0] for name, x in layers.items() if isinstance(x, dict)}


def test_the_trace_of_500_pixels():
    layers = traced(TINY["fcn8s"](), 500)
    assert {name: x.shape[1] for name, x in layers.items()} == {
        "conv1_1": 698,
        "conv2_1": 349,  # pool1
        "conv2_2": 349,
        "conv3_1": 175,
        "conv4_1": 88,
        "conv5_1": 44,
        "fc6": 16,  # of 22
        "fc7": 16,
        "Dropout_0": 16,
        "Dropout_1": 16,
        "score_fr": 16,
        "upscore2": 34,
        "score_pool4": 44,
        "upscore_pool4": 70,
        "score_pool3": 88,
        "upscore8": 568,
    }


ALIGNED = [
    *((name, upsample) for name in ("fcn32s", "fcn16s", "fcn8s") for upsample in (None, Bilinear)),
    ("fcn8s", Nearest),
    ("fcn8s", TransposedConv),
    ("fcn8s", ResizeConv),
    ("fcn_alexnet", None),
]


@pytest.mark.parametrize(("name", "upsample"), ALIGNED)
def test_the_network_is_centred(name, upsample):
    # With symmetric kernels, and at sizes whose pools end with the image, a mirrored image gives
    # mirrored logits exactly where no crop is off by a pixel.
    size = (27, 59) if name == "fcn_alexnet" else (26, 58)
    model = TINY[name](**({} if upsample is None else {"upsample": upsample}))
    rng = np.random.default_rng(0)
    image = rng.normal(size=(1, *size, 3)).astype(np.float32)
    shapes = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), image)

    def symmetric(x):
        value = rng.normal(size=x.shape) * np.sqrt(2 / max(np.prod(x.shape[:-1]), 1))
        if x.ndim == 4:
            value = (value + value[::-1] + value[:, ::-1] + value[::-1, ::-1]) / 2
        return value.astype(np.float32)

    variables = jax.tree.map(symmetric, shapes)
    run = jax.jit(lambda image: model.apply(variables, image, train=False)["logits"])
    upright, mirrored = np.asarray(run(image)), np.asarray(run(image[:, ::-1, ::-1]))
    assert upright.shape == (1, *size, 3)
    assert upright.std() > 0
    flipped, largest = mirrored[:, ::-1, ::-1], np.abs(upright).max()
    assert np.abs(flipped - upright).max() < 1e-4 * largest
    assert np.abs(flipped[:, :, :-1] - upright[:, :, 1:]).max() > 1e-3 * largest  # a pixel off


def test_a_finer_network_has_the_names_of_the_coarser():
    def names(model):
        image = jax.ShapeDtypeStruct((1, 9, 9, 3), jnp.float32)
        init = functools.partial(model.init, train=False)
        return set(jax.eval_shape(init, jax.random.key(0), image)["params"])

    n32, n16, n8 = (names(TINY[name]()) for name in ("fcn32s", "fcn16s", "fcn8s"))
    assert n32 - n16 == {"upscore"}
    assert n16 - n8 == {"upscore16"}
    assert n16 - n32 == {"upscore2", "score_pool4", "upscore16"}
    assert n8 - n16 == {"upscore_pool4", "score_pool3", "upscore8"}


def test_names_of_the_release():
    model = fcn8s(21)
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    init = functools.partial(model.init, train=False)
    params = jax.eval_shape(init, jax.random.key(0), image)["params"]
    paths = [f"backbone/{name}/kernel" for name in params.pop("backbone")]
    paths += [f"{name}/kernel" for name in params]
    convs = ("1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3", "4_1", "4_2", "4_3")
    convs = (*convs, "5_1", "5_2", "5_3")
    rest = ("fc6", "fc7", "score_fr", "score_pool3", "score_pool4")
    rest = (*rest, "upscore2", "upscore8", "upscore_pool4")
    wanted = [*(f"conv{i}.weight" for i in convs), *(f"{name}.weight" for name in rest)]
    assert sorted(authors.FCN.name(path) for path in paths) == sorted(wanted)
    assert [name for name in params if "bias" not in params[name]] == [
        name for name in params if name.startswith("upscore")
    ]


def test_it_starts_from_uniform_scores_and_bilinear_upsampling():
    model = TINY["fcn16s"]()
    image = jax.random.normal(jax.random.key(1), (1, 5, 9, 3))
    out, variables = jax.jit(functools.partial(model.init_with_output, train=False))(
        jax.random.key(0), image
    )
    np.testing.assert_array_equal(out["logits"], 0)
    kernel = np.asarray(variables["params"]["upscore2"]["kernel"])
    taps = [0.25, 0.75, 0.75, 0.25]
    np.testing.assert_allclose(kernel[:, :, 1, 1], np.outer(taps, taps))
    np.testing.assert_array_equal(kernel[:, :, 1, 2], 0)
