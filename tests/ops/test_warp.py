import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from segjax.errors import InputError
from segjax.ops.warp import coarse_displacement, resized, sample

H, W = 7, 11


def grid(h, w):
    return np.stack(np.meshgrid(np.arange(h), np.arange(w), indexing="ij")).astype(np.float32)


# Static arguments are few, so that every call after the first is without compilation.
jitted = jax.jit(sample, static_argnums=(2, 3))


@pytest.mark.parametrize(("order", "number"), [("nearest", 0), ("bilinear", 1)])
@pytest.mark.parametrize(("outside", "mode"), [("mirror", "mirror"), (-2.5, "grid-constant")])
@pytest.mark.parametrize(("h", "w"), [(7, 11), (1, 5)])
def test_sample_equals_scipy(order, number, outside, mode, h, w):
    @settings(max_examples=20, deadline=None)
    @given(st.integers(0, 2**31))
    def check(seed):
        rng = np.random.default_rng(seed)
        image = rng.normal(size=(h, w)).astype(np.float32)
        # Up to two image sizes outside, and some at whole pixels, the border among them.
        coordinates = rng.uniform(-2, 3, (2, 5, 6)) * np.array([h, w])[:, None, None]
        coordinates[:, 0] = np.round(coordinates[:, 0])
        coordinates = coordinates.astype(np.float32)
        expected = scipy.ndimage.map_coordinates(
            image, coordinates.astype(float), order=number, mode=mode, cval=-2.5
        )
        np.testing.assert_allclose(jitted(image, coordinates, order, outside), expected, atol=1e-5)

    check()


def test_constant_fades_over_one_pixel_beyond_the_border():
    image = np.full((3, 3), 8.0, np.float32)
    rows = np.array([-1.0, -0.75, -0.5, 0.0, 2.0, 2.25, 3.0], np.float32)
    coordinates = np.stack([rows, np.ones_like(rows)])[:, None]
    np.testing.assert_array_equal(sample(image, coordinates)[0], [0, 2, 4, 8, 8, 6, 0])
    nearest = sample(image, coordinates, "nearest")[0]
    np.testing.assert_array_equal(nearest, [0, 0, 8, 8, 8, 8, 0])  # -0.5 rounds up, into it


def test_halves_round_up():
    rows = np.array([[-0.5, 0.5, 1.5, 2.5]], np.float32)
    out = sample(np.arange(3.0)[:, None] + 5, np.stack([rows, 0 * rows]), "nearest")
    np.testing.assert_array_equal(out[0], [5, 6, 7, 0])


def test_sample_keeps_channels_and_integers():
    image = np.arange(H * W * 3, dtype=np.int32).reshape(H, W, 3) * 65537  # not exact in float32
    out = sample(image, grid(H, W)[:, ::-1], "nearest", 255)
    assert out.dtype == jnp.int32
    np.testing.assert_array_equal(out, image[::-1])
    outside = sample(image, grid(2, 2) + 100, "nearest", 255)
    np.testing.assert_array_equal(outside, np.full((2, 2, 3), 255))
    real = np.random.default_rng(0).normal(size=(H, W, 3)).astype(np.float32)
    by_channel = [sample(real[..., c], grid(4, 5) * 1.3 - 1, outside="mirror") for c in range(3)]
    np.testing.assert_array_equal(
        sample(real, grid(4, 5) * 1.3 - 1, outside="mirror"), np.stack(by_channel, -1)
    )


@pytest.mark.parametrize("outside", ["mirror", 0.5])
def test_sample_gradients(outside):
    rng = np.random.default_rng(1)
    image = rng.normal(size=(4, 5, 2)).astype(np.float32)
    # Away from whole pixels, where the slope in the coordinates jumps.
    cells = rng.integers(-3, 7, (2, 3, 4))
    coordinates = (cells + rng.uniform(0.2, 0.8, cells.shape)).astype(np.float32)
    check_grads(
        lambda i, c: sample(i, c, outside=outside), (image, coordinates), 1, atol=2e-2, rtol=2e-2
    )


def test_sample_rejects_unknown_arguments():
    image = np.zeros((2, 2), np.float32)
    with pytest.raises(InputError, match="order"):
        sample(image, grid(2, 2), "cubic")
    with pytest.raises(InputError, match="outside"):
        sample(image, grid(2, 2), "nearest", "wrap")


@pytest.mark.parametrize(("order", "number"), [("nearest", 0), ("bilinear", 1)])
@pytest.mark.parametrize(("outside", "mode"), [("mirror", "mirror"), (7, "grid-constant")])
def test_volumes_and_the_part_that_is_there_equal_scipy(order, number, outside, mode):
    rng = np.random.default_rng(0)
    image, extent = rng.integers(0, 250, (6, 9, 8)).astype(np.uint8), (5, 9, 3)
    coordinates = rng.uniform(-9, 16, (3, 4, 5, 6)).astype(np.float32)
    there = image[tuple(map(slice, extent))].astype(float)
    expected = scipy.ndimage.map_coordinates(
        there, coordinates.astype(float), order=number, mode=mode, cval=7
    )
    out = jitted(image, coordinates, order, outside, jnp.array(extent))
    assert out.dtype == (np.float32 if order == "bilinear" else np.uint8)
    np.testing.assert_allclose(out, expected, atol=1e-3)


@pytest.mark.parametrize("wanted", [(7, 11), (14, 22), (5, 30), (3, 4)])
def test_resized_equals_opencv_and_repeats_the_border(wanted):
    image = np.random.default_rng(1).normal(size=(9, 12, 3)).astype(np.float32)
    at = jax.jit(resized, static_argnums=3)
    out = at(image, jnp.array([7, 11]), jnp.array(wanted), (16, 32))
    expected = cv2.resize(image[:7, :11], wanted[::-1], interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(out[: wanted[0], : wanted[1]], expected, atol=1e-5)
    np.testing.assert_allclose(out[-1, -1], image[6, 10], atol=1e-6)


@pytest.mark.parametrize(("g", "size"), [(3, (37, 53)), (2, (8, 5)), (5, (21, 64)), (3, (2, 3))])
def test_coarse_displacement_equals_scipy_bicubic(g, size):
    offsets = np.random.default_rng(g).normal(0, 10, (2, g, g))
    field = coarse_displacement(jnp.float32(offsets), size)
    positions = np.meshgrid(*(np.linspace(0, g - 1, n) for n in size), indexing="ij")
    for d in range(2):
        np.testing.assert_allclose(
            field[d],
            scipy.ndimage.map_coordinates(offsets[d], positions, order=3, mode="mirror"),
            atol=2e-5,
        )
        zoomed = scipy.ndimage.zoom(offsets[d], np.array(size) / g, order=3, mode="mirror")
        np.testing.assert_allclose(field[d], zoomed, atol=2e-5)


def test_coarse_displacement_passes_through_its_nodes():
    offsets = jnp.float32(np.random.default_rng(0).normal(0, 10, (2, 3, 3)))
    field = coarse_displacement(offsets, (17, 33))
    np.testing.assert_allclose(field[:, ::8, ::16], offsets, atol=1e-5)
    with pytest.raises(InputError, match="2 x 2"):
        coarse_displacement(jnp.ones((2, 1, 1)), (4, 4))


def test_sample_and_field_under_vmap():
    rng = np.random.default_rng(4)
    images = rng.normal(size=(3, H, W, 2)).astype(np.float32)
    offsets = rng.normal(size=(3, 2, 3, 3)).astype(np.float32)

    def deform(image, nodes):
        return sample(image, grid(H, W) + coarse_displacement(nodes, (H, W)), outside="mirror")

    out = jax.jit(jax.vmap(deform))(images, offsets)
    for image, nodes, expected in zip(images, offsets, out, strict=True):
        np.testing.assert_allclose(deform(image, nodes), expected, atol=1e-5)
