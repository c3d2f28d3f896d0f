"""Upsamplers against worked numbers, each other and torch (golden file), and as swap-ins."""

from functools import partial
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax.errors import InputError
from segjax.nn.initializers import he_normal
from segjax.nn.upsample import (
    UPSAMPLERS,
    BedOfNails,
    MaxUnpool,
    Nearest,
    ResizeConv,
    SubPixel,
    TransposedConv,
    bilinear_kernel,
    icnr,
)
from segjax.ops.conv_transpose import conv_transpose
from segjax.ops.pixel_shuffle import depth_to_space, space_to_depth
from segjax.ops.pooling import max_pool_with_switches
from segjax.ops.resize import bilinear, nearest

GOLDEN = np.load(Path(__file__).parents[1] / "golden/resize_pool_torch.npz")
KEY = jax.random.key(0)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def switches_of(batch, height, width, channels):
    return max_pool_with_switches(normal(batch, height, width, channels, seed=9))[1]


def apply_ones(module, x, **options):
    """Output of an upsampler whose kernel is all ones."""
    module = module(features=1, kernel_init=nn.initializers.ones, **options)
    return module.init_with_output(KEY, x)[0]


@pytest.mark.parametrize("name", UPSAMPLERS)
def test_every_upsampler_swaps_in(name):
    features = 4  # of 6: all have parameters
    x = normal(3, 2, 3, 6).astype(jnp.bfloat16)
    module = UPSAMPLERS[name](features=features, dtype=jnp.bfloat16)
    switches = switches_of(3, 4, 6, features)
    variables = module.init(KEY, x, switches=switches)
    assert all(p.dtype == jnp.float32 for p in jax.tree.leaves(variables))

    @jax.jit
    def run(variables, x):
        y, pullback = jax.vjp(lambda v, x: module.apply(v, x, switches=switches), variables, x)
        return y, *pullback(y + 1)

    y, to_variables, to_x = run(variables, x)
    assert (y.shape, y.dtype) == ((3, 4, 6, features), jnp.bfloat16)
    assert np.asarray(to_x, np.float32).any(axis=(0, 3)).all()
    for gradient in jax.tree.leaves(to_variables):
        assert gradient.dtype == jnp.float32
        assert np.isfinite(gradient).all()
        assert gradient.any()
    explicit = module.apply(variables, x, switches=switches, size=(4, 6))
    np.testing.assert_array_equal(explicit.astype(np.float32), y.astype(np.float32))


@pytest.mark.parametrize("name", UPSAMPLERS)
def test_odd_size_is_exact_or_refused(name):
    x, switches = normal(1, 2, 3, 2), switches_of(1, 5, 7, 2)
    module = UPSAMPLERS[name](features=2)
    if name == "sub_pixel":
        with pytest.raises(InputError, match="SubPixel by 2 cannot take 2x3 to 5x7"):
            module.init(KEY, x, size=(5, 7))
    else:
        assert module.init_with_output(KEY, x, switches=switches, size=(5, 7))[0].shape[1:3] == (
            5,
            7,
        )
    if name in ("bed_of_nails", "max_unpool", "transposed", "sub_pixel"):
        with pytest.raises(InputError, match="to 9x6: give"):
            module.init(KEY, x, switches=switches, size=(9, 6))


@pytest.mark.parametrize("name", ["nearest", "bilinear"])
def test_projection_commutes_with_interpolation(name):
    x = normal(1, 3, 2, 5)
    module = UPSAMPLERS[name](features=2)
    y, variables = module.init_with_output(KEY, x)
    kernel = variables["params"]["project"]["kernel"][0, 0]
    up = {"nearest": nearest, "bilinear": bilinear}[name](x, (6, 4))
    np.testing.assert_allclose(y, up @ kernel, atol=1e-5)


def test_options_pass_through():
    x = jnp.array([[1.0, 2.0], [3.0, 4.0]])[None, :, :, None]
    module = partial(UPSAMPLERS["bilinear"], convention="corner-aligned")(features=1)
    np.testing.assert_allclose(module.apply({}, x)[0, 0, :, 0], [1, 4 / 3, 5 / 3, 2], rtol=1e-6)
    assert BedOfNails(features=1, factor=3).apply({}, x).shape == (1, 6, 6, 1)
    assert Nearest(features=1, factor=3).apply({}, x)[0, 2, :, 0].tolist() == [1, 1, 1, 2, 2, 2]


def test_max_unpool_restores_odd_sizes():
    x = 1 + np.abs(normal(1, 5, 7, 2))
    pooled, switches = max_pool_with_switches(x)
    y = MaxUnpool(features=2).apply({}, pooled, switches=switches, size=(5, 7))
    np.testing.assert_array_equal(y, np.where(y != 0, x, 0))
    assert (y != 0).sum() == pooled.size


def test_max_unpool_names_what_is_missing():
    x = normal(1, 2, 3, 2)
    with pytest.raises(InputError, match="use an encoder that returns them"):
        MaxUnpool(features=2).init(KEY, x)
    for module, switches in (
        (MaxUnpool(features=2), switches_of(1, 4, 6, 3)),
        (MaxUnpool(features=3), switches_of(1, 8, 6, 3)),
        (MaxUnpool(features=2, factor=4), switches_of(1, 4, 6, 2)),
    ):
        with pytest.raises(InputError, match="set features and factor"):
            module.init(KEY, x, switches=switches)


@pytest.mark.parametrize(
    ("kernel_size", "length", "counts"),
    [
        (3, 5, [1, 1, 2, 1, 1]),
        (3, 11, [1, 1, 2, 1, 2, 1, 2, 1, 2, 1, 1]),
        (2, 4, [1, 1, 1, 1]),
        (4, 10, [1, 1, 2, 2, 2, 2, 2, 2, 1, 1]),
    ],
)
def test_overlap_counts_along_one_axis(kernel_size, length, counts):
    x = jnp.ones(((length - kernel_size) // 2 + 1,))[None, None, :, None]
    y = apply_ones(TransposedConv, x, kernel_size=kernel_size, padding=0, output_padding=0)
    assert y.shape[2] == length
    assert y[0, 0, :, 0].tolist() == counts


def test_overlap_counts_of_3_2_in_the_plane_are_1_2_4():
    y = apply_ones(
        TransposedConv, jnp.ones((1, 3, 3, 1)), kernel_size=3, padding=0, output_padding=0
    )
    block = [[4, 2, 4], [2, 1, 2], [4, 2, 4]]
    assert y[0, 2:5, 2:5, 0].tolist() == block


def test_kernel_3_stride_2_reaches_twice_the_size():
    x = jnp.ones((1, 2, 2, 1))
    full = apply_ones(TransposedConv, x, kernel_size=3, padding=0, output_padding=0)
    assert full.shape == (1, 5, 5, 1)
    torch_like = apply_ones(TransposedConv, x, kernel_size=3, padding=1, output_padding=1)
    default = apply_ones(TransposedConv, x, kernel_size=3)
    np.testing.assert_array_equal(torch_like, full[:, 1:, 1:])
    np.testing.assert_array_equal(default, torch_like)
    with pytest.raises(InputError, match="TransposedConv by 2 cannot take 2x2 to 4x4"):
        apply_ones(TransposedConv, x, kernel_size=3, padding=0)


@pytest.mark.parametrize(
    ("kernel_size", "factor"), [(2, 2), (4, 2), (5, 2), (1, 2), (3, 4), (6, 3)]
)
def test_default_padding_gives_factor_times_the_size(kernel_size, factor):
    x = jnp.ones((1, 2, 3, 1))
    y = apply_ones(TransposedConv, x, kernel_size=kernel_size, factor=factor)
    assert y.shape == (1, 2 * factor, 3 * factor, 1)


@pytest.mark.parametrize("name", ["2_2", "3_2", "4_2", "5_3", "2_2_odd"])
def test_transposed_conv_equals_torch_forward_and_backward(name):
    golden = {
        key: GOLDEN[f"transposed/{name}/{key}"]
        for key in ("x", "y", "g", "dx", "kernel", "dkernel", "bias", "dbias")
    }
    factor = int(name[2])
    module = TransposedConv(features=4, factor=factor, kernel_size=int(name[0]))
    params = {"params": {"kernel": golden["kernel"], "bias": golden["bias"]}}

    @jax.jit
    def run(params, x, g):
        size = golden["y"].shape[1:3]
        y, pullback = jax.vjp(lambda p, x: module.apply(p, x, size=size), params, x)
        return y, *pullback(g)

    y, to_params, to_x = run(params, golden["x"], golden["g"])
    np.testing.assert_allclose(y, golden["y"], atol=1e-5)
    np.testing.assert_allclose(to_x, golden["dx"], atol=1e-5)
    np.testing.assert_allclose(to_params["params"]["kernel"], golden["dkernel"], atol=1e-4)
    np.testing.assert_allclose(to_params["params"]["bias"], golden["dbias"], atol=1e-4)


def test_bilinear_kernel_interpolates_in_the_interior():
    kernel = bilinear_kernel(KEY, (4, 4, 2, 2))
    row = np.array([0.25, 0.75, 0.75, 0.25])
    np.testing.assert_allclose(kernel[:, :, 1, 1], np.outer(row, row))
    assert not kernel[:, :, 0, 1].any()
    np.testing.assert_allclose(bilinear_kernel(KEY, (3, 1, 1, 1))[:, 0, 0, 0], [0.5, 1, 0.5])
    x = np.abs(normal(1, 4, 5, 2))
    y = conv_transpose(x, kernel, (2, 2), ((1, 1), (1, 1)))
    expected = bilinear(x, (8, 10))
    np.testing.assert_allclose(y[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1], atol=1e-5)
    assert (y[:, 0] < expected[:, 0]).all()  # the border loses what would come from outside
    with pytest.raises(InputError, match="2 input and 3 output"):
        bilinear_kernel(KEY, (4, 4, 2, 3))


@pytest.mark.parametrize("factor", [2, 3])
def test_icnr_starts_as_nearest_resize_of_a_low_resolution_convolution(factor):
    x = normal(1, 3, 4, 2)
    y, variables = SubPixel(features=3, factor=factor).init_with_output(KEY, x)
    kernel = variables["params"]["conv"]["kernel"]
    low = kernel[..., :: factor**2]
    conv = partial(jax.lax.conv_general_dilated, window_strides=(1, 1), padding="SAME")
    conv = partial(conv, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    np.testing.assert_allclose(y, nearest(conv(x, low), (3 * factor, 4 * factor)), atol=1e-5)
    assert np.unique(kernel).size == low.size  # distinct kernels, each once per position


def test_icnr_draws_what_its_base_draws():
    kernel = icnr(he_normal, 2)(KEY, (3, 3, 2, 12))
    np.testing.assert_array_equal(kernel[..., 5], he_normal(KEY, (3, 3, 2, 3))[..., 1])


def test_sub_pixel_equals_transposed_convolution_with_rearranged_kernel():
    """Shi et al. 2016b, "Is the deconvolution layer the same as a convolutional layer?"."""
    x, r = normal(2, 3, 4, 2), 2
    kernel = normal(3, 3, 2, 5 * r * r)  # low resolution: correlation, so its taps flip
    low = jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    taps = kernel[::-1, ::-1].transpose(2, 0, 1, 3)
    high = depth_to_space(jnp.asarray(taps), r).transpose(1, 2, 0, 3)  # [3r, 3r, 2, 5]
    y = conv_transpose(x, high, (r, r), ((r, r), (r, r)))
    np.testing.assert_allclose(depth_to_space(low, r), y, atol=1e-4)
    np.testing.assert_array_equal(space_to_depth(high.transpose(2, 0, 1, 3), r), taps)


def test_resize_conv_is_nearest_then_convolution():
    x = normal(1, 2, 3, 2)
    y, variables = ResizeConv(features=3).init_with_output(KEY, x)
    kernel = variables["params"]["conv"]["kernel"]
    assert kernel.shape == (3, 3, 2, 3)
    up = np.repeat(np.repeat(x, 2, 1), 2, 2)
    expected = jax.lax.conv_general_dilated(
        up, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_parameter_free_upsamplers_have_no_parameters_at_equal_width():
    x = normal(1, 2, 3, 2)
    for name in ("nearest", "bilinear", "bed_of_nails", "max_unpool"):
        module = UPSAMPLERS[name](features=2)
        assert not module.init(KEY, x, switches=switches_of(1, 4, 6, 2))
