import functools
import io
import re
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import miniature
import numpy as np
import pytest
from jax import lax
from rich.console import Console

from segjax import cli, summary
from segjax.analysis.receptive_field import Field
from segjax.analysis.walk import trace
from segjax.backbones import table as backbones_table
from segjax.backbones.table import BACKBONES
from segjax.backbones.vgg import vgg16
from segjax.errors import InputError
from segjax.models import table
from segjax.models.hed import HED
from segjax.models.unet import UNet
from segjax.ops.conv_transpose import conv_transpose


class Stack(nn.Module):
    """3x3 convolutions, (stride, dilation) each, padded to keep the grid."""

    layers: tuple[tuple[int, int], ...]
    padding: str = "SAME"
    features: int = 2

    @nn.compact
    def __call__(self, image, *, train):
        del train
        for stride, dilation in self.layers:
            image = nn.Conv(
                self.features,
                (3, 3),
                stride,
                padding=self.padding,
                kernel_dilation=dilation,
            )(image)
        return {"logits": image}

    @property
    def stride(self):
        steps = 1
        for stride, _ in self.layers:
            steps *= stride
        return steps

    def input_size(self, output):
        return output * self.stride

    def output_size(self, size):
        return size // self.stride


def field(model, shape, wide=0):
    variables = summary.shapes_of(model, shapes(1, *shape))
    forward = functools.partial(summary.logits_of, model)
    return summary.receptive_field(forward, variables, shape, wide)


def shapes(*sizes):
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


def test_receptive_field_in_words():
    assert field(Stack(((2, 1), (1, 2), (2, 1))), (64, 64, 1)) == "15"
    assert field(UNet(2, width=1), (572, 572, 1)) == "188 or 204, by position"
    # 188 is more than 128 rows hold: the higher image does
    same = UNet(2, width=1, padding="same")
    assert field(same, (128, 128, 1), 512) == "188 or 204, by position"
    assert field(same, (128, 128, 1)) == "over 128"
    three = Field(np.eye(9, dtype=bool) | np.eye(9, k=1, dtype=bool))
    assert summary.in_words(three) == "2"


def test_a_network_that_sees_everything_says_so():
    class Mean(nn.Module):
        @nn.compact
        def __call__(self, image, *, train):
            return {"logits": nn.Conv(2, (1, 1))(image - image.mean())}

    assert field(Mean(), (32, 8, 3), 48) == "all of 48"


def test_count_is_the_papers():
    image = jax.ShapeDtypeStruct((1, 572, 572, 1), jnp.float32)
    init = lambda key, x: UNet(num_classes=2).init(key, x, train=False)
    variables = jax.eval_shape(init, jax.random.key(0), image)
    assert summary.count(variables["params"]) == 31_030_658


def printed(*tables):
    screen = io.StringIO()
    Console(file=screen, width=100).print(*tables)
    rows = [re.split("[│┃]", line)[1:-1] for line in screen.getvalue().splitlines()]
    return [[cell.strip() for cell in row] for row in rows if row]


def test_tables_of_the_miniature():
    module, config = cli.load_config(miniature.SOURCE)
    experiment = cli.build(module, config)
    model = experiment.model
    image = jax.ShapeDtypeStruct((1, 48, 48, 1), jnp.float32)
    memory = summary.train_memory(experiment.task, image, 8)
    layers, costs = summary.tables(model, image, memory, batch_size=8, depth=2)
    _, *rows = printed(layers)
    assert [row[0] for row in rows if "/" not in row[0]] == [
        *("down0", "bottom", "Dropout_0", "up0", "merge0", "head")
    ]
    shapes = {name: (shape, int(count.replace(",", ""))) for name, shape, count in rows}
    # 3x3: 1 -> 4 -> 4, a gain and a bias for each norm; 4 -> 8 -> 8; 8 -> 4 (1x1); 8 -> 4 -> 4
    assert shapes["down0"] == ("48 x 48 x 4", 9 * 4 + 9 * 16 + 2 * 8)
    assert shapes["down0/conv2"] == ("48 x 48 x 4", 9 * 16)
    assert shapes["bottom"] == ("24 x 24 x 8", 9 * 32 + 9 * 64 + 2 * 16)
    assert shapes["up0"] == ("48 x 48 x 4", 36)
    assert shapes["merge0"] == ("48 x 48 x 4", 9 * 32 + 9 * 16 + 2 * 8)
    assert shapes["head"] == ("48 x 48 x 2", 10)

    facts = dict(printed(costs))
    assert facts["input"] == "48 x 48 x 1"
    assert facts["parameters"] == "1,586"
    assert facts["stride of the deepest map"] == "2"
    # 2 + 1 + 2 rows at the top see 3 or 4 at the bottom, which grow to 2 (3 + 4) + 4 and 2 more
    assert facts["receptive field"] == "18, rows of the image"
    assert summary.measured_field(model, 1) == "18 rows"
    assert facts["legal sizes"] == "multiples of 2"
    mebibytes = int(facts["training memory, batch 8"].removesuffix(" MiB"))
    # at least the inputs of the 3x3 convolutions and of the head, which the gradient reads again
    least = 8 * 4 * (48 * 48 * (1 + 4 + 8 + 4 + 4) + 24 * 24 * (4 + 8)) / 2**20
    assert least < mebibytes < 10 * least


def products(function, *arguments):
    return summary.products(jax.make_jaxpr(function)(*arguments).jaxpr)


def test_flops_are_twice_the_products():
    model = Stack(((1, 1), (1, 1)), padding="VALID", features=8)
    image = shapes(3, 34, 66, 3)
    variables = summary.shapes_of(model, image)
    found = products(functools.partial(summary.logits_of, model), variables, image)
    assert found == 2 * 3 * 9 * 8 * (32 * 64 * 3 + 30 * 62 * 8)
    x = jnp.ones((2, 8, 6, 4))
    depthwise = functools.partial(
        lax.conv_general_dilated,
        window_strides=(2, 1),
        padding="VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=4,
    )
    assert products(depthwise, x, jnp.ones((2, 3, 1, 8))) == 2 * 2 * 4 * 4 * 8 * 6
    batched = functools.partial(jnp.einsum, "bij,bkj->bik")
    assert products(batched, jnp.ones((3, 5, 7)), jnp.ones((3, 2, 7))) == 2 * 3 * 5 * 7 * 2
    # a transposed convolution multiplies each input by the whole kernel
    up = lambda x, w: conv_transpose(x, w, (2, 2))
    found = summary.products(trace(up, x, jnp.ones((2, 2, 4, 3))).jaxpr)
    assert found == 2 * x.size * 4 * 3


def test_flops_of_loops_and_branches():
    x, w = jnp.ones((4, 4)), jnp.ones((4, 4))
    once = 2 * 4**3
    looped = lambda x, w: lax.fori_loop(0, 5, lambda i, x: x @ w, x)
    assert products(looped, x, w) == 5 * once
    chosen = lambda x, w: lax.cond(x[0, 0] > 0, lambda: x @ w @ w, lambda: x @ w)
    assert products(chosen, x, w) == 2 * once
    assert products(jax.checkpoint(lambda x, w: jax.jit(jnp.matmul)(x, w)), x, w) == once
    endless = lambda x, w: lax.while_loop(lambda x: x[0, 0] > 0, lambda x: x @ w, x)
    with pytest.raises(InputError, match="unknown length"):
        products(endless, x, w)


@pytest.mark.parametrize(
    ("name", "giga"),  # multiply-adds of one 224 x 224 image, by torchvision's weight tables
    [
        ("alexnet_torchvision", 0.71),
        ("vgg16", 15.47),
        ("resnet18", 1.81),
        ("resnet50", 4.09),
        ("mobilenet_v2", 0.30),
    ],
)
def test_flops_of_backbones(name, giga):
    model = BACKBONES[name].make()
    image = shapes(1, 224, 224, 3)
    forward = functools.partial(summary.logits_of, model)
    found = summary.products(trace(forward, summary.shapes_of(model, image), image).jaxpr)
    assert found / 2e9 == pytest.approx(giga, abs=0.006)


class Pyramid(nn.Module):
    """Pooled to single pixels and to a grid of fixed size beside a map of stride 4."""

    @nn.compact
    def __call__(self, image, *, train):
        x = nn.Conv(2, (3, 3), 2)(image)
        x = nn.max_pool(x, (2, 2), (2, 2))
        pooled = nn.Conv(2, (1, 1))(x.mean((1, 2), keepdims=True))
        grid = nn.Conv(2, (1, 1))(jax.image.resize(x, (1, 3, 3, 2), "linear"))
        return {"logits": x + pooled + jax.image.resize(grid, x.shape, "nearest")}


@pytest.mark.parametrize(
    ("model", "shape", "stride"),
    [
        (Pyramid(), (64, 32, 1), "4"),
        (UNet(2, width=1), (572, 572, 1), "16"),  # 28 rows at the bottom of 572, unpadded
        (UNet(2, width=1, padding="same", depth=5), (96, 64, 1), "32"),
        (Stack(((2, 1), (1, 1), (3, 1))), (72, 72, 1), "6"),
        (HED(1, vgg16((1, 1, 1, 1, 1))), (64, 64, 3), "16"),  # its VGG pools once more, for nothing
    ],
)
def test_deepest_stride(model, shape, stride):
    variables = summary.shapes_of(model, shapes(1, *shape))
    forward = functools.partial(summary.logits_of, model)
    assert summary.deepest_stride(forward, variables, shape, 480) == stride


class Sides(NamedTuple):
    """A model as far as its legal sides go."""

    legal: tuple[int, ...]

    def input_size(self, output):
        return next((n for n in self.legal if n >= output), 0)

    def output_size(self, size):
        return size


@pytest.mark.parametrize(
    ("legal", "words"),
    [
        (range(1, 200), "any"),
        (range(33, 200), "any, from 33"),
        (range(32, 200, 32), "multiples of 32"),
        (range(64, 200, 32), "multiples of 32, from 64"),
        (range(9, 200, 8), "8k + 1, from 9"),
        ((64,), "64 only"),
        ((3, 4, 9), "irregular"),
        ((500,), "none below 200"),
    ],
)
def test_legal_sizes_in_words(legal, words):
    assert summary.legal_sizes(Sides(tuple(legal)), 200) == words


def test_legal_sizes_of_the_unet():
    # 16k + 60 for the 8 and more rows at the bottom that leave an output: from 188 on
    assert summary.legal_sizes(UNet(2)) == "16k + 12, from 188"
    assert summary.legal_sizes(UNet(2, padding="same")) == "multiples of 16"


def test_all_as_markdown(monkeypatch, capsys):
    wrong = BACKBONES["resnet18"]._replace(parameters=11_689_513)
    monkeypatch.setattr(table, "MODELS", {"unet": table.MODELS["unet"]})
    monkeypatch.setattr(backbones_table, "BACKBONES", {"resnet18": wrong})
    assert summary.compare() == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "|" in line]
    assert rows[2] == [
        *("unet", "31,030,658", "31,030,658", "yes", "572 x 572 x 1", "301", "16"),
        *("188 or 204, by position", "16k + 12, from 188", "Ronneberger et al. 2015"),
        "layer table of the paper",
    ]
    assert rows[5] == [
        *("resnet18", "11,689,512", "11,689,513", "NO", "224 x 224 x 3", "3.63", "32"),
        *("435", "", "He et al. 2015", "torchvision"),
    ]


def test_legal_sides():
    assert [n for n in range(500, 600) if summary.is_legal(UNet(2), n)][:3] == [508, 524, 540]
    assert summary.is_legal(UNet(2), 572)
    assert [n for n in range(1, 40) if summary.is_legal(UNet(2, padding="same"), n)] == [16, 32]
