"""SegNet and SegNet-Basic against torch with max_unpool2d, and the sizes of the paper."""

import jax
import jax.numpy as jnp
import pytest
from parity import Bright, check

from segjax.backbones.vgg import VGG
from segjax.errors import InputError
from segjax.models.segnet import SegNet, SegNetBasic, segnet
from segjax.nn.layers import BatchNorm
from segjax.weights import authors

BACKBONE = VGG((2, 1, 2), (4, 6, 5), pool_rounding="ceil", norm=BatchNorm)


def test_unpooling_at_odd_sizes():
    check("segnet", SegNet(3, BACKBONE), authors.SEGNET)


def test_basic():
    keymap = authors.SEGNET._replace(renames=(("^model/", ""), *authors.SEGNET.renames))
    check("segnet_basic", Bright(SegNetBasic(3, width=4, depth=2)), keymap)


def outputs(model, height, width):
    """The logits' shape, the layers' shapes and the parameters."""

    def run(image):
        out, state = model.init_with_output(
            jax.random.key(0), image, train=False, capture_intermediates=True
        )
        return out["logits"], state["intermediates"], state["params"]

    return jax.eval_shape(run, jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32))


def test_the_sizes_of_camvid():
    logits, layers, _ = outputs(segnet(11), 360, 480)
    assert logits.shape == (1, 360, 480, 11)
    maps = layers["backbone"]["__call__"][0]
    assert {name: x.shape[1:] for name, x in maps.items() if name.startswith("c")} == {
        "c0": (360, 480, 64),
        "c1": (180, 240, 128),
        "c2": (90, 120, 256),
        "c3": (45, 60, 512),
        "c4": (23, 30, 512),
        "c5": (12, 15, 512),
    }
    widths = {name: x["__call__"][0].shape for name, x in layers.items() if name.endswith("_D")}
    assert {name[4:-2]: (shape[1], shape[3]) for name, shape in widths.items()} == {
        "5_3": (23, 512),
        "5_2": (23, 512),
        "5_1": (23, 512),
        "4_3": (45, 512),
        "4_2": (45, 512),
        "4_1": (45, 256),
        "3_3": (90, 256),
        "3_2": (90, 256),
        "3_1": (90, 128),
        "2_2": (180, 128),
        "2_1": (180, 64),
        "1_2": (360, 64),
        "1_1": (360, 11),
    }


@pytest.mark.parametrize("name", ["segnet", "basic"])
def test_any_size_comes_back(name):
    model = {"segnet": SegNet(3, BACKBONE), "basic": SegNetBasic(3, width=2, depth=3)}[name]
    for n in range(5, 13):  # three pools: all remainders, from the smallest on
        assert outputs(model, n, 25 - n)[0].shape == (1, n, 25 - n, 3)
        assert model.input_size(n) == model.output_size(n) == n
    assert model.input_size(1) == 5
    with pytest.raises(InputError, match="4 x 9 pixels: the smallest legal side is 5"):
        outputs(model, 4, 9)


def test_parameters_for_21_classes():
    params = outputs(segnet(21), 32, 32)[2]
    assert sum(x.size for x in jax.tree.leaves(params)) == 29_455_125


def test_names_of_the_release():
    params = outputs(segnet(11), 32, 32)[2]
    layers = [f"{stage}_{i}" for stage, n in enumerate((2, 2, 3, 3, 3), 1) for i in range(1, n + 1)]
    convs = [f"conv{i}" for i in layers] + [f"conv{i}_D" for i in layers]
    wanted = [*convs, *(f"{name}_bn" for name in convs if name != "conv1_1_D")]
    paths = [f"backbone/{name}/bias" for name in params.pop("backbone")]
    paths += [f"{name}/bias" for name in params]
    assert sorted(authors.SEGNET.name(path) for path in paths) == sorted(
        f"{name}.bias" for name in wanted
    )


def test_names_of_basic():
    params = outputs(SegNetBasic(11), 32, 32)[2]
    convs = [f"{kind}{i}" for kind in ("conv", "conv_decode") for i in range(1, 5)]
    wanted = [*convs, *(f"{name}_bn" for name in convs), "conv_classifier"]
    assert sorted(authors.SEGNET.name(f"{path}/bias") for path in params) == sorted(
        f"{name}.bias" for name in wanted
    )
