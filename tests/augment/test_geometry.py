"""Geometry as data: fields that follow the image, composition, exactness, volumes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from segjax import augment
from segjax.augment.geometry import coordinates, located
from segjax.errors import InputError

KEY = jax.random.key(0)
H, W = 48, 60
STEPS = {
    "window": [augment.zoom(0.7, 1.6), augment.crop(40, 52)],
    "turned": [
        *(augment.zoom(0.8, 1.3), augment.crop(44, 44)),
        *(augment.flip(0, 1), augment.rotate(180.0), augment.quarter_turns()),
    ],
    "letterbox": [augment.flip(1), augment.letterbox(70, 50), augment.rotate(20.0)],
    "jitter": [augment.large_scale_jitter(50, 64, low=0.5)],
    "deformed": [augment.zoom(0.8, 1.3), augment.crop(48, 48), augment.elastic(0.8)],
}


def drawn(key, steps, size=(H, W)):
    geometry = augment.identity(size)
    for step, part in zip(steps, jax.random.split(key, len(steps)), strict=True):
        geometry = step(part, geometry)
    return geometry


def square(top, left, side):
    """A drawn square with its box, its corners and its mask."""
    image = np.zeros((H, W, 1), np.uint8)
    image[top : top + side, left : left + side] = 255
    low, high = np.array([left, top]), np.array([left, top]) + side
    corners = np.array([[low[0], low[1]], [high[0], low[1]], [low[0], high[1]], high])
    return {
        "image": image,
        "label": (image[..., 0] > 0).astype(np.uint8),
        "instances": (image[..., 0] > 0).astype(np.int32) * 9,
        "boxes": np.float32([[*low, *high]]),
        "masks": np.ones((1, 5, 5), np.float32),
        "frames": np.float32([[[side, 0, low[0]], [0, side, low[1]]]]),
        "points": np.float32(corners)[None],
        "visible": np.ones((1, 4), bool),
        "classes": np.array([3]),
        "present": np.ones(1, bool),
    }


@pytest.mark.parametrize("name", STEPS)
def test_boxes_points_and_masks_follow_the_image(name):
    """Where the square is drawn, its box, its corners and its mask are, within half a pixel."""
    side = 13

    @jax.jit
    def moved(key, example):
        return augment.move(drawn(key, STEPS[name]), example)

    tried = 0
    for i in range(40):
        rng = np.random.default_rng(i)
        top, left = rng.integers(4, H - side - 4), rng.integers(4, W - side - 4)
        out = jax.tree.map(np.asarray, moved(jax.random.key(i), square(top, left, side)))
        assert out["classes"] == 3
        soft = out["image"][..., 0] * out["mask"]
        rows, columns = soft.shape
        white = scipy.ndimage.binary_dilation(soft > 0, np.ones((3, 3)))
        x0, y0, x1, y1 = out["boxes"][0]
        assert 0 <= x0 <= x1 <= columns
        assert 0 <= y0 <= y1 <= rows
        edge = white[0].any() | white[-1].any() | white[:, 0].any() | white[:, -1].any()
        if not white.any() or edge or not out["mask"][white].all():
            continue  # cut by the border
        tried += 1
        assert out["present"][0]
        assert out["visible"].all()
        # The box of what is at least half white, and of what is white at all.
        ys, xs = np.nonzero(soft > 0.5)
        slack = 1.0 if name in ("turned", "letterbox") else 0.5  # corners that are cut by sampling
        np.testing.assert_allclose([x0, y0], [xs.min(), ys.min()], atol=0.51 + slack)
        np.testing.assert_allclose([x1, y1], [xs.max() + 1, ys.max() + 1], atol=0.51 + slack)
        corners = out["points"][0]
        area = abs(shoelace(corners[[0, 1, 3, 2]]))
        np.testing.assert_allclose(soft.sum(), area, rtol=0.08)
        middle = scipy.ndimage.center_of_mass(soft)[::-1]
        np.testing.assert_allclose(corners.mean(0), np.add(middle, 0.5), atol=0.5)
        u = np.array([[0, 0, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1]]).T
        np.testing.assert_allclose((out["frames"][0] @ u).T, corners, atol=0.5)
        np.testing.assert_array_equal(out["label"], np.where(out["mask"], out["instances"] // 9, 0))
    assert tried >= 8


def shoelace(p):
    x, y = p[:, 0], p[:, 1]
    return (x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def test_points_change_sides_in_a_mirror_and_only_there():
    points = np.float32([[[5.5, 4.5], [20.5, 4.5], [12.5, 30.5]]])
    example = {"image": np.zeros((H, W, 1), np.uint8), "points": points}
    example["visible"] = np.array([[True, False, True]])
    mirror = augment.identity((H, W))
    mirror = mirror.replace(matrix=mirror.matrix.at[1].set(jnp.array([0.0, -1.0, W - 1.0])))
    out = augment.move(mirror, example, pairs=[(0, 1)])
    np.testing.assert_allclose(out["points"][0], [[39.5, 4.5], [54.5, 4.5], [47.5, 30.5]])
    np.testing.assert_array_equal(out["visible"], [[False, True, True]])
    turn = augment.identity((H, W))
    turn = turn.replace(matrix=jnp.array([[-1.0, 0, H - 1], [0, -1.0, W - 1]]))
    out = augment.move(turn, example, pairs=[(0, 1)])
    np.testing.assert_allclose(out["points"][0, 0], [W - 5.5, H - 4.5])
    np.testing.assert_array_equal(out["visible"], example["visible"])


def test_what_leaves_the_image_is_gone():
    example = square(2, 2, 8)
    away = augment.identity((H, W)).replace(matrix=jnp.array([[1.0, 0, 9.5], [0, 1.0, 0]]))
    out = augment.move(away, example)  # half a row of it remains
    np.testing.assert_allclose(out["boxes"][0], [2, 0, 10, 0.5])
    assert not out["present"][0]
    np.testing.assert_array_equal(out["visible"][0], [False, False, True, True])


@pytest.mark.parametrize("name", STEPS)
def test_located_is_the_inverse_of_coordinates(name):
    geometry = drawn(jax.random.key(5), STEPS[name])
    at = np.asarray(coordinates(geometry))[:, 5:-5:4, 5:-5:4]
    rows, columns = geometry.size
    wanted = np.stack(np.meshgrid(range(5, rows - 5, 4), range(5, columns - 5, 4), indexing="ij"))
    found = located(geometry, jnp.moveaxis(at, 0, -1))
    np.testing.assert_allclose(np.moveaxis(found, -1, 0), wanted, atol=0.02)


@pytest.mark.parametrize("turns", range(4))
def test_quarter_turns_are_rot90_with_extents_that_follow(turns):
    image = np.random.default_rng(0).integers(0, 99, (6, 6, 1)).astype(np.uint8)
    keys = jax.random.split(KEY, 40)
    seen = set()
    for key in keys:
        geometry = augment.quarter_turns()(key, augment.identity((6, 6), jnp.array([4, 6])))
        out = augment.move(geometry, {"image": image, "extent": np.array([4, 6])})
        height, width = out["extent"]
        found = [
            k
            for k in range(4)
            if np.rot90(image[:4], k).shape[:2] == (height, width)
            and np.array_equal(np.rint(out["image"] * 255)[:height, :width], np.rot90(image[:4], k))
        ]
        assert len(found) == 1
        seen |= {*found}
    assert turns in seen


def test_rotation_equals_scipy():
    image = np.random.default_rng(3).random((9, 14, 1), np.float32)
    turn = augment.identity((9, 14))

    geometry = augment.rotate(20.0)(KEY, turn)
    angle = np.degrees(np.arctan2(geometry.matrix[0, 1], geometry.matrix[0, 0]))
    assert 1 < abs(angle) < 20
    out = augment.move(geometry, {"image": image, "weight": image[..., 0]})
    expected = scipy.ndimage.rotate(
        image[..., 0], angle, reshape=False, order=1, mode="grid-constant"
    )
    np.testing.assert_allclose(out["weight"], expected, atol=1e-5)


def test_a_large_scale_jitter_fits_then_scales():
    geometry = drawn(KEY, [augment.large_scale_jitter(32, 32, low=1.0, high=1.0)], (64, 128))
    np.testing.assert_allclose(geometry.matrix[:, :2], 4 * np.eye(2), atol=1e-5)
    out = augment.move(geometry, {"image": np.full((64, 128, 1), 255, np.uint8)})
    assert out["mask"].sum() == 16 * 32  # half of the window is beyond the image


def test_a_letterbox_is_as_large_as_it_fits_and_in_the_middle():
    geometry = augment.letterbox(50, 40)(KEY, augment.identity((30, 20)))
    out = augment.move(geometry, {"image": np.zeros((30, 20, 1), np.uint8)})
    rows, columns = np.flatnonzero(out["mask"].any(1)), np.flatnonzero(out["mask"].any(0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (0, 49, 3, 36)


def test_crops_lie_within_what_is_there():
    image = np.full((40, 40, 1), 9, np.uint8)
    image[:20, :30] = 200
    batch = {"image": np.stack([image] * 64), "extent": np.tile(np.int32([20, 30]), (64, 1))}
    out = augment.geometric(augment.crop(12, 16))(KEY, batch)
    assert out["image"].shape == (64, 12, 16, 1)
    np.testing.assert_allclose(out["image"], 200 / 255, rtol=1e-6)
    assert out["mask"].all()
    np.testing.assert_array_equal(out["extent"], [[12, 16]] * 64)
    large = augment.geometric(augment.crop(30, 40))(KEY, batch)  # around it: mirrored
    np.testing.assert_allclose(large["image"], 200 / 255, rtol=1e-6)
    assert (large["mask"].sum((1, 2)) == 600).all()


def test_volumes_are_cropped_and_mirrored_exactly():
    volume = np.random.default_rng(0).integers(0, 255, (2, 7, 8, 9, 1)).astype(np.uint8)
    batch = {"image": volume, "label": volume[..., 0]}
    step = augment.geometric(augment.crop(4, 5, 6), augment.flip(0, 1, 2))
    out = jax.tree.map(np.asarray, jax.jit(step)(KEY, batch))
    assert out["image"].shape == (2, 4, 5, 6, 1)
    np.testing.assert_array_equal(np.rint(out["image"][..., 0] * 255), out["label"])
    windows = np.lib.stride_tricks.sliding_window_view(volume[0, ..., 0], (4, 5, 6))
    flips = [
        np.flip(out["label"][0], axes)
        for axes in [(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]
    ]
    assert any((windows == flipped).all((3, 4, 5)).any() for flipped in flips)
    with pytest.raises(InputError, match="volumes cannot move boxes"):
        step(KEY, batch | {"boxes": np.zeros((2, 1, 4), np.float32)})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: augment.zoom(0, 1), "0 < low <= high"),
        (lambda: augment.crop(4, 0), "the size must be positive"),
        (lambda: augment.elastic(-1.0), "sigma must be 0 or more"),
        (lambda: augment.crop(4)(KEY, augment.identity((8, 8))), "does not fit images of"),
        (lambda: augment.quarter_turns()(KEY, augment.identity((8, 9))), "must be square"),
        (
            lambda: drawn(KEY, [augment.elastic(1.0), augment.crop(8, 8)]),
            "A deformation is the last step",
        ),
    ],
)
def test_what_cannot_be_is_said(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_one_geometry_an_example_and_gradients_of_the_image():
    batch = {"image": np.random.default_rng(0).random((3, 20, 24, 2), np.float32)}
    step = functools.partial(augment.geometric(*STEPS["window"]), KEY)
    out = step(batch)["image"]
    assert len({np.asarray(x).tobytes() for x in out}) == 3
    grad = jax.grad(lambda image: step({"image": image})["image"].sum())(batch["image"])
    assert np.isfinite(grad).all()
    assert (np.asarray(grad) != 0).mean() > 0.5
