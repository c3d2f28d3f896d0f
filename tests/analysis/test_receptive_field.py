import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from segjax.analysis.receptive_field import Field, analytic, measured
from segjax.backbones import resnet
from segjax.errors import InputError
from segjax.models.unet import UNet
from segjax.nn import upsample
from segjax.ops import convolution, pixel_shuffle, pooling, resize
from segjax.ops.conv_transpose import conv_transpose


def conv(x, kernel_size=3, stride=1, dilation=1, features=2, groups=1, padding=None):
    """A convolution of weights that depend on nothing but the shape, all of one sign."""
    weights = np.random.default_rng(0).uniform(
        0.5, 1, (kernel_size, kernel_size, x.shape[-1] // groups, features)
    )
    pad = dilation * (kernel_size - 1) // 2 if padding is None else padding
    return convolution.conv_general_dilated(
        x,
        jnp.asarray(weights, x.dtype),
        (stride, stride),
        [(pad, pad)] * 2,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=convolution.NHWC,
        feature_group_count=groups,
    )


def chain(*layers):
    """A stack of (kernel, stride, dilation)."""

    def function(variables, x):
        del variables
        for kernel_size, stride, dilation in layers:
            x = conv(x, kernel_size, stride, dilation)
        return x

    return function


def changed(function, shape, draws=3):
    """bool [output rows, rows]: which outputs change where a row of the image does. The oracle.

    One image at a time by one program: what does not depend on the row comes out bit by bit.
    """
    generator = np.random.default_rng(1)
    apply = jax.jit(functools.partial(function, {}))
    support = 0
    for _ in range(draws):
        image = generator.normal(size=shape).astype(np.float32)
        before, columns = np.asarray(apply(image)), []
        for row in range(shape[1]):
            other = image.copy()
            other[:, row] = 4 * generator.normal(size=other[:, row].shape)
            differs = np.asarray(apply(other)) != before
            columns.append(differs.any((0, *range(2, differs.ndim))))
        support |= np.stack(columns, 1)
    return support


def shapes(*sizes):
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


@pytest.mark.parametrize(
    ("layers", "rows", "stride"),  # the worked cases: r <- r + (K - 1) D j, j <- j S
    [
        ([(3, 1, 1), (3, 1, 1)], 5, 1),
        ([(3, 1, 2)], 5, 1),
        ([(3, 1, 1), (3, 2, 1), (3, 1, 1)], 9, 2),
        ([(3, 1, 1), (3, 1, 2)], 7, 1),
        ([(3, 2, 1), (3, 1, 2), (3, 2, 1)], 15, 4),
        ([(7, 2, 1), (1, 1, 1), (5, 3, 2)], 23, 6),
    ],
)
def test_worked_chains(layers, rows, stride):
    field = analytic(chain(*layers), {}, shapes(1, 64, 64, 1))
    assert set(field.sizes) == {rows}
    assert field.size == rows
    p, q = field.period
    assert q == p * stride
    row = field.inner[len(field.inner) // 2]
    seen = measured(chain(*layers), {}, (1, 64, 24, 1), [row])
    np.testing.assert_array_equal(seen, field.support[[row]])


def test_dilation_leaves_holes():
    field = analytic(chain((3, 1, 2)), {}, shapes(1, 16, 8, 1))
    assert np.flatnonzero(field.support[7]).tolist() == [5, 7, 9]
    assert field.low[7] == 5
    assert field.high[7] == 9
    assert field.inner.tolist() == list(range(2, 14))  # the ends cut off rows 0, 1, 14 and 15


def vgg16(through):
    """The convolutional part, as (kernel, stride) pairs, pools as max-pools; fc6 is 7x7."""

    def function(variables, x):
        for units in (2, 2, 3, 3, 3):
            for _ in range(units):
                x = nn.relu(conv(x))
            x = pooling.max_pool(x, (2, 2))
        return conv(x, 7, padding=0) if through == "fc6" else x

    return function


@pytest.mark.parametrize(("through", "rows"), [("pool5", 212), ("fc6", 404)])
def test_vgg16(through, rows):
    # Simonyan and Zisserman 2015; FCN's figures for them: field 404, stride 32
    function = vgg16(through)
    field = analytic(function, {}, shapes(1, 672, 224, 1))
    assert set(field.sizes) == {rows}
    assert field.period == (1, 32)
    row = field.inner[len(field.inner) // 2]
    seen = measured(function, {}, (1, 672, 224, 1), [row])
    np.testing.assert_array_equal(seen, field.support[[row]])


def unet(**options):
    model = UNet(2, width=2, **options)

    def function(variables, image):
        return model.apply(variables, image, train=False)["logits"]

    return model, function


def unet_rows(row, padding):
    """First and last row that the output of the paper's U-Net at `row` sees, by hand."""
    # Unpadded, what the skips lose at the top: half of 568 - 392, 280 - 200, 136 - 104, 64 - 56.
    before, after, crops = (2, 2, (0,) * 4) if padding == "same" else (0, 4, (88, 40, 16, 4))

    def encoder(level, low, high):
        low, high = low - before, high + after  # two 3x3 convolutions
        return (low, high) if level == 0 else encoder(level - 1, 2 * low, 2 * high + 1)

    def decoder(level, low, high):
        if level == 4:
            return encoder(4, low, high)
        low, high = low - before, high + after
        skip = encoder(level, low + crops[level], high + crops[level])
        below = decoder(level + 1, low // 2, high // 2)
        return min(skip[0], below[0]), max(skip[1], below[1])

    return decoder(0, row, row)


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_unet_by_position(padding):
    model, function = unet(padding=padding)
    side = model.input_size(300)
    image = shapes(1, side, side, 1)
    init = functools.partial(model.init, train=False)
    field = analytic(function, jax.eval_shape(init, jax.random.key(0), image), image)
    assert len(field.inner) > 100
    by_hand = np.array([unet_rows(row, padding) for row in field.inner])
    np.testing.assert_array_equal(by_hand, np.stack([field.low, field.high], 1)[field.inner])
    assert set(field.sizes) == {188, 204}
    assert field.period == (16, 16)


def test_gradient_of_the_unet_is_188_or_204_rows():
    model, function = unet(padding="same", depth=4)
    shape = (1, 320, 32, 1)
    init = functools.partial(model.init, train=False)
    variables = jax.jit(init)(jax.random.key(3), jnp.zeros(shape))
    field = analytic(function, variables, shapes(*shape))
    sizes = (field.high - field.low + 1).tolist()
    rows = [next(i for i in range(144, 176) if sizes[i] == size) for size in (188, 204)]
    seen = measured(function, variables, shape, rows, draws=4)
    assert seen.sum(1).tolist() == [188, 204]
    np.testing.assert_array_equal(seen, field.support[rows])


def test_gradient_of_the_unet_agrees():
    model, function = unet(padding="same", depth=2)
    image = jnp.zeros((1, 80, 16, 1))
    variables = jax.jit(functools.partial(model.init, train=False))(jax.random.key(3), image)
    field = analytic(function, variables, image)
    assert set(field.sizes) == {44}  # at the bottom 4 rows -> 8 -> 16 -> 20 -> 40 -> 44
    rows = [36, 38, 39, 40, 43]
    seen = measured(function, variables, image.shape, rows, draws=4)
    np.testing.assert_array_equal(seen, field.support[rows])


def test_unet_bottleneck():
    def function(variables, x):
        for level in range(5):
            x = conv(conv(pooling.max_pool(x, (2, 2)) if level else x))
        return x

    assert set(analytic(function, {}, shapes(1, 512, 512, 1)).sizes) == {140}


@pytest.mark.parametrize(
    ("output_stride", "first_unit", "rows"),
    [
        # Araujo et al. 2019 give 483 with the stride in the first 1x1; in the 3x3 it is 427.
        (32, "previous", 427),
        (16, "previous", 427),
        (8, "previous", 427),
        (16, "new", 427 + 2 * 16),  # the first 3x3 of the stage sees twice as far: 2 more at 1/16
        (8, "new", 427 + 2 * 8 + 4 * 8),
    ],
)
def test_resnet50(output_stride, first_unit, rows):
    model = resnet.resnet50(width=4, output_stride=output_stride, first_unit=first_unit)
    image = shapes(1, 1024, 64, 3)
    init = functools.partial(model.init, train=False)
    variables = jax.eval_shape(init, jax.random.key(0), image)
    field = analytic(lambda v, x: model.apply(v, x, train=False)["c5"], variables, image)
    assert set(field.sizes) == {rows}
    assert field.period == (1, output_stride)


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_gradient_of_resnet50_agrees(output_stride):
    model = resnet.resnet50(width=4, output_stride=output_stride)
    init = functools.partial(model.init, train=False)
    variables = jax.jit(init)(jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    function = lambda v, x: model.apply(v, x, train=False)["c5"]
    shape = (1, 768, 64, 3)
    field = analytic(function, variables, shapes(*shape))
    row = int(field.inner[len(field.inner) // 2])
    seen = measured(function, variables, shape, [row], draws=2)
    assert seen.sum() == 427
    np.testing.assert_array_equal(seen, field.support[[row]])


def test_resnet50_with_the_stride_in_the_first_convolution():
    model = resnet.resnet50(width=4, stride_in="1x1")
    image = shapes(1, 1024, 64, 3)
    init = functools.partial(model.init, train=False)
    variables = jax.eval_shape(init, jax.random.key(0), image)
    field = analytic(lambda v, x: model.apply(v, x, train=False)["c5"], variables, image)
    assert set(field.sizes) == {483}
    # its gaps: a strided 1x1 leaves out every other row
    assert not field.support[field.inner].all(1).any()


def attention(x):
    rows = x.mean(2)  # [B, H, C]
    scores = rows @ rows.swapaxes(1, 2)
    return (jax.nn.softmax(scores) @ rows)[:, :, None]


def windows(x, size=4):
    """Shifted windows of rows: nothing crosses a window."""
    x = jnp.roll(x, -2, 1)
    b, h, w, c = x.shape
    rows = x.reshape(b * (h // size), size, w * c)
    mixed = jnp.einsum("bij,bjk->bik", jax.nn.softmax(rows @ rows.swapaxes(1, 2)), rows)
    return jnp.roll(mixed.reshape(b, h, w, c), 2, 1)


def scanned(x):
    def step(carry, row):
        carry = jnp.where(carry > 0, carry, 0) + row
        return carry, carry

    return jnp.moveaxis(lax.scan(step, jnp.zeros(x[:, 0].shape), jnp.moveaxis(x, 1, 0))[1], 0, 1)


def grown(x):
    def body(state):
        i, x = state
        return i + 1, x + jnp.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0)))[:, :-1]

    return lax.while_loop(lambda state: state[0] < 40, body, (0, x))[1]


def unpooled(x):
    y, switches = pooling.max_pool_with_switches(x)
    return pooling.max_unpool(y, switches)


def adaptive(x, bins=5):
    """Mean over bins from floor(i n / bins) to ceil((i + 1) n / bins), as a constant matrix."""
    n = x.shape[1]
    starts, stops = np.arange(bins) * n // bins, -(-np.arange(1, bins + 1) * n // bins)
    rows = np.arange(n)
    matrix = (rows >= starts[:, None]) & (rows < stops[:, None])
    return jnp.einsum("on,bnwc->bowc", (matrix / matrix.sum(1, keepdims=True)).astype("f"), x)


kernel = np.random.default_rng(2).normal(size=(5, 5, 2, 2)).astype(np.float32)
CASES = {
    "transposed 2/2": lambda x: conv_transpose(x, kernel[:2, :2], (2, 2)),
    "transposed 3/2": lambda x: conv_transpose(x, kernel[:3, :3], (2, 2), ((1, 1), (1, 1)), (1, 1)),
    "transposed 4/2": lambda x: conv_transpose(x, kernel[:4, :4], (2, 2), ((1, 1), (1, 1))),
    "transposed 5/3": lambda x: conv_transpose(x, kernel, (3, 3)),
    "transposed, dilated": lambda x: conv_transpose(x, kernel[:2, :2], (2, 2), dilation=(3, 3)),
    "nearest": lambda x: resize.nearest(x, (24, 12)),
    "nearest, odd": lambda x: resize.nearest(x, (19, 9), "half-pixel"),
    "bilinear": lambda x: resize.bilinear(x, (24, 12)),
    "bilinear, corners": lambda x: resize.bilinear(x, (23, 11), "corner-aligned"),
    "bilinear, down": lambda x: resize.bilinear(x, (7, 5), "legacy"),
    "jax.image": lambda x: jax.image.resize(x, (1, 24, 6, 2), "bicubic"),
    "bed of nails": lambda x: conv(resize.bed_of_nails(x, 2)),
    "sub-pixel": lambda x: pixel_shuffle.depth_to_space(conv(x, features=8), 2),
    "space to depth": lambda x: conv(pixel_shuffle.space_to_depth(x, 2)),
    "and back": lambda x: pixel_shuffle.depth_to_space(pixel_shuffle.space_to_depth(x, 2), 2),
    "max-pool 3/2": lambda x: pooling.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1))),
    "max-pool 6": lambda x: pooling.max_pool(x, (6, 6), (3, 3), ceil_mode=True),
    "average-pool": lambda x: pooling.avg_pool(x, (3, 2), (2, 2), ((1, 1), (0, 0))),
    "unpool": unpooled,
    "unpool, convolution": lambda x: conv(unpooled(x)),
    "adaptive": adaptive,
    "squeeze and excite": lambda x: x * nn.sigmoid(x.mean((1, 2), keepdims=True)),
    "global maximum": lambda x: x.max((1, 2), keepdims=True),
    "grouped": lambda x: conv(x, groups=2, features=4, dilation=3),
    "rows as channels": lambda x: conv(
        pixel_shuffle.space_to_depth(x[..., :1], 2), 1, features=4, groups=4
    ),
    "attention": attention,
    "windows": windows,
    "flip": lambda x: jnp.flip(x, 1) + x,
    "difference": lambda x: x[:, 2:] - x[:, :-2],
    "reflect": lambda x: jnp.pad(x, ((0, 0), (3, 3), (0, 0), (0, 0)), "reflect"),
    "edge": lambda x: jnp.pad(x, ((0, 0), (2, 4), (0, 0), (0, 0)), "edge"),
    "interleaved": lambda x: jnp.stack([x, 2 * jnp.roll(x, 3, 1)], 2).reshape(1, 24, 6, 2),
    "joined": lambda x: jnp.concatenate([x[:, 5:], conv(x), x[:, :2]], 1),
    "tiled": lambda x: jnp.tile(x, (1, 2, 1, 1)),
    "split": lambda x: jnp.split(x, [3, 7], 1)[1] + x[:, :4],
    "taken": lambda x: x[:, np.array([[3, 1], [0, -1], [7, 7]])].sum(2),
    "taken apart": lambda x: x[0, np.array([4, 2, 9]), np.array([0, 5, 1])][None],
    "taken, filled": lambda x: jnp.take(x, np.array([2, 40, 5]), 1, mode="fill", fill_value=0),
    "along": lambda x: jnp.take_along_axis(x, np.arange(12)[::-1, None, None][None] // 2, 1),
    "placed": lambda x: jnp.zeros((1, 20, 6, 2)).at[:, 1::2].set(x[:, :10]),
    "added": lambda x: jnp.zeros((1, 5, 6, 2)).at[:, np.arange(12) % 5].add(x),
    "one row": lambda x: x.at[:, 3].add(x[:, 8]),
    "updated": lambda x: lax.dynamic_update_slice(jnp.zeros((1, 20, 6, 2)), x, (0, 5, 0, 0)),
    "sliced": lambda x: lax.dynamic_slice_in_dim(x, jnp.asarray(9), 5, 1),
    "running sum": lambda x: lax.cumsum(x, 1),
    "running maximum": lambda x: lax.cummax(x, 1, reverse=True),
    "sorted": lambda x: jnp.sort(x, 1),
    "sorted channels": lambda x: jnp.sort(x, -1),
    "largest": lambda x: lax.top_k(x, 1)[0],
    "masked": lambda x: x * (np.arange(12) % 3 > 0)[:, None, None],
    "chosen": lambda x: jnp.where((np.arange(12) < 5)[:, None, None], x, jnp.flip(x, 1)),
    "branches": lambda x: lax.cond(x[0, 2, 0, 0] > 0, lambda x: x, lambda x: conv(x), x),
    "scan": scanned,
    "while": grown,
    "loop": lambda x: lax.fori_loop(0, 3, lambda i, x: conv(x), x),
    "remat": lambda x: jax.checkpoint(lambda x: nn.relu(conv(conv(x))))(x),
    "vmap": lambda x: jax.vmap(lambda x: conv(x[None])[0])(x),
}


@pytest.mark.parametrize("name", CASES)
def test_operations_against_changed_rows(name):
    function = lambda variables, x: CASES[name](x)
    field = analytic(function, {}, shapes(1, 12, 6, 2))
    np.testing.assert_array_equal(field.support, changed(function, (1, 12, 6, 2)))


def test_what_the_image_decides_may_be_anywhere():
    def row_of_its_own(variables, x):
        return lax.dynamic_slice_in_dim(x, jnp.int32(jnp.abs(x[0, 0, 0, 0])), 5, 1)

    def warped(variables, x):
        return jnp.take(x, jnp.int32(jnp.abs(x[0, 1:3, 0, 0])), 1, mode="clip")

    assert analytic(row_of_its_own, {}, shapes(1, 12, 6, 2)).support.all()
    assert analytic(warped, {}, shapes(1, 12, 6, 2)).support.all()


def test_unpooling_has_no_gradient_where_it_decides():
    function = lambda variables, x: unpooled(x)
    seen = measured(function, {}, (1, 12, 6, 2), [5, 6], draws=5)
    assert [np.flatnonzero(row).tolist() for row in seen] == [[5], [6]]
    support = analytic(function, {}, shapes(1, 12, 6, 2)).support
    assert np.flatnonzero(support[5]).tolist() == [4, 5]


def test_an_operation_without_a_rule_is_named():
    function = lambda variables, x: jnp.abs(jnp.fft.fft(x, axis=1))
    with pytest.raises(InputError, match="'fft'"):
        analytic(function, {}, shapes(1, 12, 6, 2))
    # what does not depend on the image needs no rule
    free = lambda variables, x: x + jnp.abs(jnp.fft.fft(variables))
    support = analytic(free, jnp.ones((6, 2)), shapes(1, 12, 6, 2)).support
    np.testing.assert_array_equal(support, np.eye(12, dtype=bool))


def test_columns_and_depth():
    function = lambda variables, x: jnp.tanh(x[:, :, 1:-1] + x[:, :, :-2])
    support = analytic(function, {}, shapes(2, 5, 9, 1), axis=2, output_axis=2).support
    assert support.shape == (7, 9)
    assert [np.flatnonzero(row).tolist() for row in support[:2]] == [[0, 1], [1, 2]]
    function = lambda variables, x: lax.conv_general_dilated(
        x,
        jnp.ones((3, 1, 5, 1, 1)),
        (2, 1, 1),
        "VALID",
        dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
    )
    field = analytic(function, {}, shapes(1, 31, 4, 20, 1))
    assert (field.size, field.period) == (3, (1, 2))
    assert analytic(function, {}, shapes(1, 9, 4, 20, 1), axis=3, output_axis=3).size == 5


def test_one_row_for_a_classifier():
    function = lambda variables, x: x[:, 2:5].mean((1, 2)) @ jnp.ones((2, 3))
    support = analytic(function, {}, shapes(1, 12, 6, 2), output_axis=None).support
    assert np.flatnonzero(support[0]).tolist() == [2, 3, 4]


def test_a_field_that_meets_the_ends_has_no_size():
    field = analytic(lambda variables, x: x - x.mean(), {}, shapes(1, 12, 6, 2))
    assert field.whole
    assert field.period == (0, 0)
    with pytest.raises(InputError, match="12 rows"):
        field.size  # noqa: B018
    short = Field(np.eye(3, dtype=bool))
    assert (short.size, short.period, short.whole) == (1, (1, 1), False)


def test_tracing_leaves_the_formulations_alone():
    x = jnp.ones((1, 6, 6, 2))
    function = jax.jit(lambda variables, x: conv_transpose(x, kernel[:3, :3], (2, 2)))
    field = analytic(function, {}, x)
    assert field.support.sum(1).tolist() == [1, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 1]
    # jax.jit keeps what it traced: neither side may see the other's
    assert "custom_vjp" in str(jax.make_jaxpr(function)({}, x))
    assert analytic(function, {}, x).support.sum() == field.support.sum()
    convolution.use_fast(False)
    try:
        analytic(function, {}, x)
        assert not convolution._fast
    finally:
        convolution.use_fast(True)


@pytest.mark.parametrize("name", upsample.UPSAMPLERS)
def test_every_upsampler(name):
    module = upsample.UPSAMPLERS[name](features=2)

    def function(variables, x):
        y, switches = pooling.max_pool_with_switches(x)
        return module.apply(variables, y, switches=switches)

    image = jnp.zeros((1, 12, 6, 2))
    y, switches = pooling.max_pool_with_switches(image)
    variables = module.init(jax.random.key(0), y, switches=switches)
    expected = changed(lambda _, x: function(variables, x), image.shape)
    np.testing.assert_array_equal(analytic(function, variables, image).support, expected)
