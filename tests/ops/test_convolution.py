import functools
import re
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from segjax.errors import InputError
from segjax.ops import convolution
from segjax.ops.conv_transpose import conv_transpose
from segjax.ops.convolution import NHWC, conv_general_dilated

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "conv_transpose.npz")
GOLDEN_CONV = np.load(Path(__file__).parents[1] / "golden" / "convolution.npz")


@pytest.fixture
def slow():
    """The same functions as plain lax, until the test ends."""
    convolution.use_fast(False)
    yield
    convolution.use_fast(True)


def normal(*shape, seed=0, dtype=np.float32):
    return jnp.asarray(np.random.default_rng([seed, *shape]).normal(size=shape), dtype)


def close(actual, expected, tolerance=1e-5):
    """Equal to `tolerance` of the largest value."""
    actual, expected = (np.asarray(a, np.float64) for a in (actual, expected))
    assert actual.shape == expected.shape
    largest = np.abs(expected).max(initial=1e-6)
    np.testing.assert_allclose(actual / largest, expected / largest, rtol=0, atol=tolerance)


def values_and_gradients(functions, x, w):
    """(y, dx, dw) of each function, as one compiled program."""
    g = normal(*jax.eval_shape(functions[0], x, w).shape, seed=1, dtype=x.dtype)

    @jax.jit
    def run(x, w, g):
        pulled = [jax.vjp(function, x, w) for function in functions]
        return [(y, *vjp(g.astype(y.dtype))) for y, vjp in pulled]

    return run(x, w, g)


ASYMMETRIC = ((1, 3), (0, 2))
# batch, rows, columns, Cin, Cout, kernel, strides, dilation, padding, groups; the formulation
CONVOLUTIONS = [
    ((1, 5, 7, 12, 5, (3, 3), (1, 1), (1, 1), "SAME", 1), "row_products"),
    ((3, 5, 7, 10, 12, (3, 3), (1, 1), (1, 1), "VALID", 1), "row_products"),
    ((2, 16, 17, 12, 3, (3, 2), (1, 1), (2, 1), ASYMMETRIC, 1), "row_products"),
    ((2, 5, 6, 9, 9, (1, 3), (1, 1), (1, 1), "SAME_LOWER", 1), "row_products"),
    ((1, 9, 10, 16, 4, (3, 3), (1, 1), (1, 1), ((-1, 2), (3, -1)), 1), "row_products"),
    ((3, 5, 7, 4, 3, (1, 1), (1, 1), (1, 1), "SAME", 1), "pointwise"),
    ((1, 5, 8, 4, 3, (1, 1), (2, 3), (1, 1), "VALID", 1), "pointwise"),
    ((3, 7, 5, 6, 6, (3, 3), (1, 1), (1, 1), "SAME", 6), "depthwise"),
    ((1, 7, 8, 4, 4, (5, 3), (2, 1), (1, 2), ASYMMETRIC, 4), "depthwise"),
    ((2, 5, 5, 3, 3, (3, 3), (1, 1), (6, 6), "SAME", 3), "depthwise"),
    ((1, 7, 6, 4, 3, (3, 3), (1, 1), (6, 5), "SAME", 1), "clipped"),
    ((3, 9, 5, 2, 3, (3, 3), (2, 1), (8, 12), "SAME", 1), "clipped"),
    ((2, 9, 9, 3, 4, (3, 3), (2, 2), (6, 6), ((5, 7), (8, 4)), 1), "clipped"),
    ((2, 5, 5, 3, 4, (3, 3), (1, 1), (1, 1), "SAME", 1), "lax"),
    ((1, 7, 9, 12, 4, (3, 3), (2, 2), (1, 1), "SAME", 1), "lax"),
    ((1, 8, 9, 9, 2, (7, 7), (1, 1), (1, 1), "SAME", 1), "lax"),
    ((2, 5, 5, 8, 6, (3, 3), (1, 1), (1, 1), "SAME", 2), "grouped"),
    ((1, 7, 6, 9, 6, (3, 5), (2, 1), (1, 2), ASYMMETRIC, 3), "grouped"),
    ((2, 5, 5, 3, 6, (3, 3), (1, 1), (1, 1), "SAME", 3), "grouped"),
    ((1, 4, 3, 66, 33, (3, 3), (1, 1), (1, 1), "SAME", 33), "lax"),
    ((1, 2, 2, 9, 4, (3, 3), (1, 1), (1, 1), "VALID", 1), "lax"),  # no outputs
    ((1, 28, 30, 9, 10, (5, 4), (1, 1), (1, 2), "VALID", 1), "row_products"),
]


def convolve(with_function, case):
    batch, rows, columns, cin, cout, kernel, strides, dilation, padding, groups = case

    def function(x, w):
        return with_function(
            x,
            w,
            strides,
            padding,
            rhs_dilation=dilation,
            dimension_numbers=NHWC,
            feature_group_count=groups,
        )

    shapes = (batch, rows, columns, cin), (*kernel, cin // groups, cout)
    return function, *shapes


@pytest.mark.parametrize(("case", "formulation"), CONVOLUTIONS)
def test_equals_lax_in_value_and_gradient(case, formulation, monkeypatch):
    used = set()
    for name in ("_row_products", "_pointwise", "_depthwise", "_clipped", "_grouped"):
        original = getattr(convolution, name)

        def note(*args, original=original, name=name):
            used.add(name)
            return original(*args)

        monkeypatch.setattr(convolution, name, note)
    jax.clear_caches()
    expected, x_shape, w_shape = convolve(lax.conv_general_dilated, case)
    x, w = normal(*x_shape), normal(*w_shape)
    functions = convolve(conv_general_dilated, case)[0], expected
    for ours, reference in zip(*values_and_gradients(functions, x, w), strict=True):
        assert ours.dtype == reference.dtype
        close(ours, reference)
    if min(jax.eval_shape(expected, x, w).shape):
        assert used == ({f"_{formulation}"} - {"_lax"})


@pytest.mark.parametrize(
    ("case", "cin"),
    [(CONVOLUTIONS[0][0], 128), (CONVOLUTIONS[2][0], 130)]
    + [(CONVOLUTIONS[i][0], CONVOLUTIONS[i][0][3]) for i in (5, 8)],
)
def test_bfloat16_is_float32_rounded(case, cin):
    function, x_shape, w_shape = convolve(conv_general_dilated, (*case[:3], cin, *case[4:]))
    x, w = (normal(*shape, dtype=jnp.bfloat16) for shape in (x_shape, w_shape))

    def exact(x, w):
        return function(x.astype(jnp.float32), w.astype(jnp.float32))

    for ours, reference in zip(*values_and_gradients((function, exact), x, w), strict=True):
        assert ours.dtype == jnp.bfloat16
        close(ours, reference, 2**-7)


def test_other_arguments_go_to_lax_unchanged():
    x = normal(2, 5, 5, 12)
    w = normal(3, 3, 12, 4)
    nchw = ("NCHW", "OIHW", "NCHW")
    for args, options in [
        ((normal(2, 3, 7), normal(4, 3, 2), (1,), "VALID"), {}),
        ((normal(1, 2, 4, 5, 6), normal(3, 2, 2, 2, 2), (1, 2, 1), "SAME"), {}),
        ((normal(2, 12, 5, 5), normal(4, 12, 3, 3), (1, 1), "SAME"), {"dimension_numbers": nchw}),
        ((normal(2, 12, 5, 5), normal(4, 12, 3, 3), (1, 1), "SAME"), {}),
        ((x, w, (1, 1), ASYMMETRIC), {"lhs_dilation": (2, 1), "dimension_numbers": NHWC}),
        ((x, w, (1, 1), "SAME"), {"batch_group_count": 2, "dimension_numbers": NHWC}),
        ((x, w, (1, 1), "SAME"), {"precision": "highest", "dimension_numbers": NHWC}),
    ]:
        ours, reference = (
            jax.make_jaxpr(functools.partial(f, window_strides=args[2], padding=args[3], **options))
            for f in (conv_general_dilated, lax.conv_general_dilated)
        )
        assert str(ours(args[0], args[1])) == str(reference(args[0], args[1]))


@pytest.mark.usefixtures("slow")
def test_switched_off_everything_is_plain_lax():
    function, x_shape, w_shape = convolve(conv_general_dilated, CONVOLUTIONS[0][0])
    reference = convolve(lax.conv_general_dilated, CONVOLUTIONS[0][0])[0]
    x, w = normal(*x_shape), normal(*w_shape)
    assert str(jax.make_jaxpr(function)(x, w)) == str(jax.make_jaxpr(reference)(x, w))
    jaxpr = str(jax.make_jaxpr(lambda x, w: conv_transpose(x, w, (2, 2)))(x, w))
    assert jaxpr.count("conv_general_dilated[") == 1
    assert "lhs_dilation=(2, 2)" in jaxpr
    jax.jvp(function, (x, w), (x, w))  # forward mode works again


def test_other_platforms_get_plain_lax():
    function, x_shape, w_shape = convolve(conv_general_dilated, CONVOLUTIONS[10][0])
    x, w = normal(*x_shape), normal(*w_shape)
    traced = jax.jit(lambda x, w: jax.vjp(function, x, w)[1](function(x, w))).trace(x, w)
    gpu = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert "stablehlo.convolution" in gpu
    assert "stablehlo.dot_general" not in gpu
    cpu = traced.lower(lowering_platforms=("cpu",)).as_text()
    assert "stablehlo.convolution" not in cpu
    assert "stablehlo.dot_general" in cpu


@pytest.mark.parametrize("index", [0, 6])
def test_second_derivative_remat_and_vmap(index):
    functions = conv_general_dilated, lax.conv_general_dilated
    case = CONVOLUTIONS[index][0]
    _, x_shape, w_shape = convolve(conv_general_dilated, case)

    def penalty(x, w, function):  # a gradient penalty, as adversarial losses have
        convolution_of = jax.checkpoint(convolve(function, case)[0])
        gradient = jax.grad(lambda x: (convolution_of(x, w) ** 3).sum())(x)
        return (gradient**2).sum()

    @jax.jit
    @jax.vmap
    def second(x, w):
        return [jax.grad(penalty, (0, 1))(x, w, function) for function in functions]

    x, w = normal(2, *x_shape), normal(2, *w_shape)
    for ours, reference in zip(*second(x, w), strict=True):
        close(ours, reference)


def test_in_linen():
    def module(function):
        return nn.Conv(5, (3, 3), strides=2, kernel_dilation=2, conv_general_dilated=function)

    x = normal(2, 7, 9, 12)
    variables = {"params": {"kernel": normal(3, 3, 12, 5), "bias": normal(5)}}
    ours, reference = (
        jax.jit(module(function).apply)(variables, x) for function in (conv_general_dilated, None)
    )
    close(ours, reference)


@pytest.mark.parametrize("index", [0, 5, 7, None])
def test_batch_sharded_over_devices_moves_no_activations(index):
    devices = jax.devices()
    if len(devices) < 2:
        pytest.skip("needs several devices")
    if index is None:
        function, x_shape, w_shape = conv_transpose, (1, 3, 4, 12), (4, 4, 12, 5)
        function = functools.partial(conv_transpose, stride=(2, 2), padding=((1, 1), (1, 1)))
    else:
        function, x_shape, w_shape = convolve(conv_general_dilated, CONVOLUTIONS[index][0])
    mesh = jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,))
    split, whole = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
    x, w = normal(2 * len(devices), *x_shape[1:]), normal(*w_shape)

    def loss(x, w):
        return (function(x, w) ** 2).sum()

    gradients = jax.grad(loss, (0, 1))
    step = jax.jit(gradients, in_shardings=(split, whole), out_shardings=(split, whole))
    x_split, w_whole = jax.device_put(x, split), jax.device_put(w, whole)
    text = step.lower(x_split, w_whole).compile().as_text()
    assert text is not None
    assert not re.search(r"all-gather|all-to-all|collective-permute", text)
    assert len(re.findall(r"= .* all-reduce(?:-start)?\(", text)) == 1  # the weight gradient
    for ours, reference in zip(step(x_split, w_whole), jax.jit(gradients)(x, w), strict=True):
        close(ours, reference)


def golden_case(i):
    stride, padding, extra, dilation = (
        (int(row), int(column)) for row, column in GOLDEN[f"options{i}"]
    )
    function = functools.partial(
        conv_transpose,
        stride=stride,
        padding=((padding[0], padding[0]), (padding[1], padding[1])),
        output_padding=extra,
        dilation=dilation,
    )
    names = ("x", "kernel", "y", "cotangent", "dx", "dkernel")
    return function, *(jnp.asarray(GOLDEN[f"{name}{i}"]) for name in names)


@pytest.mark.parametrize("i", range(9))
def test_conv_transpose_equals_torch(i):
    function, x, kernel, y, cotangent, dx, dkernel = golden_case(i)
    ours, vjp = jax.jit(lambda x, w: jax.vjp(function, x, w))(x, kernel)
    close(ours, y)
    for gradient, expected in zip(jax.jit(vjp)(cotangent), (dx, dkernel), strict=True):
        close(gradient, expected)


@pytest.mark.parametrize("i", range(11))
def test_convolution_equals_torch(i):
    stride, padding, dilation, (groups, _) = GOLDEN_CONV[f"options{i}"].tolist()
    names = ("x", "kernel", "y", "cotangent", "dx", "dkernel")
    x, kernel, y, cotangent, dx, dkernel = (GOLDEN_CONV[f"{name}{i}"] for name in names)

    def function(x, kernel):
        return conv_general_dilated(
            x,
            kernel,
            stride,
            [(p, p) for p in padding],
            rhs_dilation=dilation,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )

    @jax.jit
    def run(x, kernel, cotangent):
        out, vjp = jax.vjp(function, x, kernel)
        return out, *vjp(cotangent)

    for ours, theirs in zip(run(x, kernel, cotangent), (y, dx, dkernel), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("i", range(9))
def test_conv_transpose_switched_off_equals_torch(i):
    function, x, kernel, y, *_ = golden_case(i)
    close(jax.jit(function)(x, kernel), y)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [
        ((3, 3), (2, 2), ((0, 1), (2, 0)), (1, 1)),
        ((2, 5), (2, 3), ((0, 0), (1, 2)), (1, 1)),
        ((2, 2), (3, 3), ((0, 0), (0, 0)), (1, 1)),
        ((3, 2), (1, 2), ((1, 2), (0, 1)), (2, 2)),
    ],
)
def test_conv_transpose_is_the_adjoint_of_a_convolution(kernel, stride, padding, dilation):
    image, w = normal(3, 9, 11, 5), normal(*kernel, 4, 5)  # w maps the convolution's outputs back

    @functools.partial(jax.jit)
    def convolution_of(image):
        forward = jnp.swapaxes(w, 2, 3)
        return lax.conv_general_dilated(
            image, forward, stride, padding, rhs_dilation=dilation, dimension_numbers=NHWC
        )

    y = convolution_of(image)
    features = normal(*y.shape, seed=2)
    extra = tuple(
        size - ((n - 1) * s - sum(p) + d * (k - 1) + 1)
        for size, n, s, p, d, k in zip(
            image.shape[1:3], y.shape[1:3], stride, padding, dilation, kernel, strict=True
        )
    )
    back = jax.jit(lambda f: conv_transpose(f, w, stride, padding, extra, dilation))(features)
    assert back.shape == image.shape
    close(jnp.vdot(y, features), jnp.vdot(image, back))


@pytest.mark.parametrize(
    ("kernel", "stride", "expected"),
    [
        (3, 2, [1, 1, 2, 1, 2, 1, 1]),  # uneven overlap: the checkerboard (Odena et al. 2016)
        (2, 2, [1, 1, 1, 1, 1, 1]),
        (4, 2, [1, 1, 2, 2, 2, 2, 1, 1]),
        (2, 3, [1, 1, 0, 1, 1, 0, 1, 1]),  # gaps where the kernel is shorter than the stride
    ],
)
def test_conv_transpose_overlaps(kernel, stride, expected):
    ones = jnp.ones((1, 3, 3, 1)), jnp.ones((kernel, kernel, 1, 1))
    counts = jax.jit(lambda x, w: conv_transpose(x, w, (stride, stride)))(*ones)[0, :, :, 0]
    np.testing.assert_array_equal(counts, np.outer(expected, expected))


def test_conv_transpose_does_not_flip_its_kernel():
    kernel = normal(3, 2, 1, 1)
    y = jax.jit(lambda x, w: conv_transpose(x, w, (2, 2)))(jnp.ones((1, 1, 1, 1)), kernel)
    np.testing.assert_array_equal(y[0, :, :, 0], kernel[:, :, 0, 0])


def test_conv_transpose_without_outputs_says_so():
    with pytest.raises(InputError, match=r"no outputs .* less padding"):
        conv_transpose(jnp.ones((1, 1, 4, 1)), jnp.ones((2, 2, 1, 1)), (2, 2), ((1, 1), (0, 0)))
    with pytest.raises(AssertionError):
        conv_transpose(jnp.ones((1, 4, 1)), jnp.ones((2, 2, 1, 1)), (2, 2))
