import io
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import miniature
import pytest
from rich.console import Console

from segjax import cli, summary
from segjax.models.unet import UNet


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


@pytest.mark.parametrize(
    ("layers", "rows"),  # r <- r + (K - 1) D j, j <- j S
    [
        (((1, 1),), 3),
        (((1, 1), (1, 1)), 5),
        (((1, 2),), 5),
        (((1, 1), (2, 1), (1, 1)), 9),
        (((1, 1), (1, 2)), 7),
        (((2, 1), (1, 2), (2, 1)), 15),
    ],
)
def test_receptive_field_of_a_stack(layers, rows):
    words = summary.receptive_field(Stack(layers), channels=1, side=64)
    assert words.startswith(f"{rows} rows")


def unet_rows(pixel, depth):
    """The rows that the U-Net's output at `pixel` sees, by following intervals down and up."""

    def encoder(level, low, high):
        low, high = low - 2, high + 2  # two 3x3 convolutions
        return (low, high) if level == 0 else encoder(level - 1, 2 * low, 2 * high + 1)

    def decoder(level, low, high):
        if level == depth:
            return encoder(depth, low, high)
        low, high = low - 2, high + 2
        skip, below = encoder(level, low, high), decoder(level + 1, low // 2, high // 2)
        return min(skip[0], below[0]), max(skip[1], below[1])

    low, high = decoder(0, pixel, pixel)
    return high - low + 1


def test_receptive_field_of_the_unet():
    assert unet_rows(256, 4) == 188
    words = summary.receptive_field(UNet(2, width=1, padding="same"), channels=1)
    assert words.startswith("188 rows")
    # Unpadded, 516 -> 332 rows: output row 166 is row 258 of the input.
    assert unet_rows(258, 4) == 204
    words = summary.receptive_field(UNet(2, width=1), channels=1)
    assert words.startswith("204 rows")


def test_a_network_that_sees_everything_says_so():
    class Mean(nn.Module):
        @nn.compact
        def __call__(self, image, *, train):
            return {"logits": nn.Conv(2, (1, 1))(image - image.mean())}

        def input_size(self, output):
            return output

        def output_size(self, size):
            return size

    words = summary.receptive_field(Mean(), channels=3, side=32)
    assert words == "the whole image, or at least 32 rows"


def test_bisect_finds_every_place():
    for size in (1, 2, 7, 64):
        for place in range(size):
            assert summary.bisect(lambda n, place=place: n < place, size) == place


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
    _, config = cli.load_config(miniature.SOURCE)
    card = miniature.card(config)
    model, task = miniature.model(config, card), miniature.task(config, card)
    image = jax.ShapeDtypeStruct((1, 48, 48, 1), jnp.float32)
    layers, costs = summary.tables(model, image, task, batch_size=8, depth=2)
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
    assert facts["output stride"] == "1"
    assert facts["deepest map"] == "24 x 24 x 8"
    assert facts["receptive field"].startswith(f"{unet_rows(256, 1)} rows")
    mebibytes = int(facts["training memory, batch 8"].removesuffix(" MiB"))
    # at least the inputs of the 3x3 convolutions and of the head, which the gradient reads again
    least = 8 * 4 * (48 * 48 * (1 + 4 + 8 + 4 + 4) + 24 * 24 * (4 + 8)) / 2**20
    assert least < mebibytes < 10 * least


def test_flops_are_twice_the_products():
    model = Stack(((1, 1), (1, 1)), padding="VALID", features=8)
    forward = jax.jit(lambda v, x: model.apply(v, x, train=False))
    image = jax.ShapeDtypeStruct((1, 34, 66, 3), jnp.float32)
    variables = jax.eval_shape(lambda k, x: model.init(k, x, train=False), jax.random.key(0), image)
    analysis = forward.lower(variables, image).cost_analysis() or {}
    products = 9 * 8 * (32 * 64 * 3 + 30 * 62 * 8)
    assert analysis["flops"] == pytest.approx(2 * products, rel=0.03)  # and the biases


def test_legal_sides():
    assert [n for n in range(500, 600) if summary.is_legal(UNet(2), n)][:3] == [508, 524, 540]
    assert summary.is_legal(UNet(2), 572)
    assert [n for n in range(1, 40) if summary.is_legal(UNet(2, padding="same"), n)] == [16, 32]
