import json
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from segjax import augment
from segjax.errors import InputError

KEY = jax.random.key(3)
adjustments = sys.modules["segjax.augment.photometric"]
GOLDEN = json.loads((pathlib.Path(__file__).parent / "augment_golden.json").read_text())


def make_batch(*shape):
    B, H, W, C = (*shape, 2)[:4]
    rng = np.random.default_rng(0)
    return {
        "image": rng.random((B, H, W, C), np.float32),
        "label": rng.integers(0, 4, (B, H, W)).astype(np.int32),
        "weight": rng.random((B, H, W), np.float32),
        "instances": rng.integers(0, 1 << 30, (B, H, W)).astype(np.int32),
        "valid": np.arange(B) != 1,
    }


def ramps(*shape):
    """Images whose two channels hold every pixel's own row and column."""
    image = np.stack(np.meshgrid(*map(np.arange, shape[1:]), indexing="ij"), -1)
    return {"image": np.broadcast_to(image.astype(np.float32), (*shape, 2))}


def equal(a, b):
    """The fields of b are those of a."""
    assert a.keys() >= b.keys()
    jax.tree.map(np.testing.assert_array_equal, {name: a[name] for name in b}, b)


def warp(*size, scale=(1.0, 1.0), rotation=0.0, sigma=0.0):
    """What training does: a zoomed and turned window, deformed."""
    deformation = [augment.elastic(sigma)] if sigma else []
    window = [augment.zoom(*scale), augment.crop(*size), augment.rotate(rotation)]
    return augment.geometric(*window, *deformation)


def run(augmentation, batch):
    return jax.jit(augmentation)(KEY, batch)


def shift(rng, batch):
    return batch | {"image": batch["image"] + jax.random.uniform(rng)}


# Geometry


def test_identity_warp_returns_its_input():
    batch = make_batch(1, 37, 53)
    equal(run(warp(37, 53), batch), batch)


def test_elastic_warp_equals_scipy_with_the_same_field():
    B, H, W = 2, 41, 53
    moved = warp(H, W, scale=(0.8, 1.2), rotation=30.0, sigma=3.0)
    # A bilinear ramp tells exactly where each output pixel came from (mirrored where outside).
    batch = make_batch(B, H, W, 2)
    batch["image"] = np.concatenate([ramps(B, H, W)["image"], batch["image"]], -1)
    out = run(moved, batch)
    coordinates = np.moveaxis(out["image"][..., :2], -1, 1).astype(float)
    for b in range(B):
        for c in (2, 3):
            image = batch["image"][b, ..., c].astype(float)
            expected = scipy.ndimage.map_coordinates(image, coordinates[b], order=1, mode="mirror")
            np.testing.assert_allclose(out["image"][b, ..., c], expected, atol=1e-4)
        # Nearest, inside the image, and where float32 leaves no doubt which pixel is nearest.
        inside = np.asarray(out["mask"][b])
        clear = (np.abs(coordinates[b] % 1 - 0.5) > 1e-3).all(0) & inside
        assert 0.5 < clear.mean() < 1
        for key in ("label", "instances"):
            nearest = np.floor(coordinates[b] + 0.5).astype(int)
            expected = batch[key][b][tuple(nearest)]
            np.testing.assert_array_equal(np.asarray(out[key][b])[clear], expected[clear])
        assert (np.asarray(out["instances"][b])[~inside] == 0).all()
        weight = batch["weight"][b].astype(float)
        last = np.array([H - 1, W - 1])[:, None, None]
        deep = inside & ((coordinates[b] > 0.5) & (coordinates[b] < last - 0.5)).all(0)
        expected = scipy.ndimage.map_coordinates(weight, coordinates[b], order=1)
        np.testing.assert_allclose(np.asarray(out["weight"][b])[deep], expected[deep], atol=1e-4)


def test_outside_is_mirrored_in_the_image_and_excluded_from_label_and_weight():
    batch = make_batch(1, 6, 7)
    batch["weight"] += 1
    out = run(warp(26, 30), batch)
    inside = np.asarray(out["mask"][0])
    assert inside.sum() == 6 * 7
    y, x = np.argwhere(inside)[0]
    np.testing.assert_array_equal(out["label"][0, y : y + 6, x : x + 7], batch["label"][0])
    for key in ("label", "weight", "instances"):
        np.testing.assert_array_equal(out[key][0, y : y + 6, x : x + 7], batch[key][0])
        assert (np.asarray(out[key][0])[~inside] == 0).all()
    expected = np.pad(batch["image"][0], ((y, 20 - y), (x, 23 - x), (0, 0)), "reflect")
    np.testing.assert_array_equal(out["image"][0], expected)


def test_crops_copy_pixels_and_lie_everywhere_equally_often():
    batch = ramps(512, 9, 7)
    batch["label"] = (batch["image"][..., 0] * 10 + batch["image"][..., 1]).astype(np.int32)
    out = run(warp(6, 5), batch)
    assert out["image"].shape == (512, 6, 5, 2)
    corner = np.asarray(out["image"][:, 0, 0]).astype(int)
    for b, (y, x) in enumerate(corner):
        for key in ("image", "label"):
            np.testing.assert_array_equal(out[key][b], batch[key][b, y : y + 6, x : x + 5])
    counts = np.zeros((4, 3))
    np.add.at(counts, tuple(corner.T), 1)
    assert abs(counts / 512 - 1 / 12).max() < 4 * np.sqrt(1 / 12 / 512)


def test_scale_rotation_and_position_stay_within_their_bounds():
    H, W, h, w = 60, 80, 12, 12
    out = run(warp(h, w, scale=(0.8, 1.6), rotation=30.0), ramps(256, H, W))["image"]
    middle = np.asarray(out[:, 5:7, 5:7])  # source coordinates next to the centre
    down = middle[:, 1, 0] - middle[:, 0, 0]  # (cos, -sin) / scale
    scale = 1 / np.hypot(*down.T)
    angle = np.degrees(np.arctan2(-down[:, 1], down[:, 0]))
    assert 0.8 < scale.min() < 0.82
    assert 1.58 < scale.max() < 1.6
    assert -30 < angle.min() < -29
    assert 29 < angle.max() < 30
    centre = middle.mean((1, 2))
    half = np.array([h, w]) / scale[:, None] / 2
    low, high = half - 0.5, np.array([H, W]) - 0.5 - half
    assert (centre > low - 1e-3).all()
    assert (centre < high + 1e-3).all()
    position = (centre - low) / (high - low)
    assert abs(position.mean(0) - 0.5).max() < 0.08
    assert abs(position.std(0) - 12**-0.5).max() < 0.04
    # What the parameters say does not depend on one another.
    drawn = np.stack([scale, angle, *position.T])
    assert abs(np.corrcoef(drawn) - np.eye(4)).max() < 0.25


def test_elastic_displacements_have_their_standard_deviation_at_the_nodes():
    n = 65
    out = run(warp(n, n, sigma=10.0), ramps(64, n, n))["image"]
    nodes = np.asarray(out)[:, :: n // 2, :: n // 2]
    moved = nodes - np.asarray(ramps(1, n, n)["image"])[:, :: n // 2, :: n // 2]
    # Mirrored at the border, a displacement keeps its size.
    assert np.sqrt((moved**2).mean((0, 3))) == pytest.approx(10, abs=3.6)  # 128 draws each
    assert np.sqrt((moved**2).mean()) == pytest.approx(10, abs=0.8)  # 1152 draws
    centre = moved[:, 1, 1]
    assert abs(centre.mean()) < 3.6
    assert abs(np.corrcoef(centre.T)[0, 1]) < 0.5


def test_image_and_label_move_together():
    rng = np.random.default_rng(5)
    blocks = np.kron(rng.integers(0, 5, (3, 6, 8)), np.ones((16, 16), int)).astype(np.int32)
    batch = {
        "image": blocks[..., None] / np.float32(4),
        "label": blocks,
        "weight": np.ones(blocks.shape, np.float32),
        "instances": blocks + 7,
    }
    everything = augment.geometric(
        *(augment.flip(0, 1), augment.zoom(0.5, 2.0), augment.crop(64, 64)),
        *(augment.rotate(45.0), augment.quarter_turns()),
    )
    out = {k: np.asarray(v) for k, v in run(everything, batch).items()}
    inside = out["mask"]
    assert inside.mean() > 0.5
    np.testing.assert_array_equal(out["instances"], np.where(inside, out["label"] + 7, 0))
    assert (out["weight"][~inside] <= 0.5).all()
    values = out["image"][..., 0] * 4
    flat = abs(values - np.round(values)) < 1e-4  # away from edges nothing is interpolated
    clear = inside & flat
    assert clear.mean() > 0.5
    wrong = np.round(values)[clear] != out["label"][clear]
    assert not wrong.any()


def test_an_example_does_not_depend_on_the_size_of_the_batch():
    batch = make_batch(5, 4, 6)
    flip = jax.jit(augment.geometric(augment.flip(0, 1)))
    five, one = flip(KEY, batch), flip(KEY, {k: v[:1] for k, v in batch.items()})
    equal({k: v[:1] for k, v in five.items()}, one)


def test_flips_are_involutions_and_happen_half_the_time():
    batch = make_batch(64, 5, 6, 1)
    options = {"horizontal": (1,), "both": (0, 1)}
    for name, axes in options.items():
        flip = jax.jit(augment.geometric(augment.flip(*axes)))
        horizontal, vertical = 1 in axes, 0 in axes
        once = flip(KEY, batch)
        equal(flip(KEY, once), batch)
        across = [(slice(None), slice(None, None, s), slice(None, None, t))
                  for s in ((1, -1) if vertical else (1,))
                  for t in ((1, -1) if horizontal else (1,))]  # fmt: skip
        seen = np.zeros(len(across))
        for b in range(64):
            same = [np.array_equal(once["image"][b], batch["image"][i][b]) for i in across]
            assert sum(same) == 1, name
            seen += same
            chosen = across[same.index(True)]
            for key in ("label", "weight", "instances"):
                np.testing.assert_array_equal(once[key][b], batch[key][chosen][b])
        assert abs(seen / 64 - 1 / len(across)).max() < 0.25


def test_quarter_turns_have_period_four():
    batch = make_batch(32, 5, 5, 2)
    turn = jax.jit(augment.geometric(augment.quarter_turns()))
    once = turn(KEY, batch)
    turns = np.zeros(4)
    for b in range(32):
        same = [np.array_equal(once["image"][b], np.rot90(batch["image"][b], k)) for k in range(4)]
        assert sum(same) == 1
        turns += same
        for key in ("label", "weight", "instances"):
            np.testing.assert_array_equal(once[key][b], np.rot90(batch[key][b], same.index(True)))
    assert turns.min() >= 2
    four = batch
    for _ in range(4):
        four = turn(KEY, four)
    equal(four, batch)
    with pytest.raises(InputError, match="square"):
        augment.geometric(augment.quarter_turns())(KEY, make_batch(1, 5, 6))


# Keys, batches and devices


@pytest.mark.parametrize(
    "augmentation",
    [warp(7, 8, scale=(0.8, 1.25), rotation=180.0, sigma=2.0), augment.photometric(0.4, 0.4)],
    ids=["warp", "photometric"],
)
def test_an_example_depends_on_its_key_and_on_nothing_else(augmentation):
    batch = make_batch(4, 9, 11, 1)
    augmented = jax.jit(augmentation)
    out = augmented(KEY, batch)
    equal(augmented(KEY, batch), out)
    other = {k: v.copy() for k, v in batch.items()}
    other["image"][1:] = np.nan
    other["label"][1:] = 3
    changed = augmented(KEY, other)
    for key in batch.keys() - {"valid"}:
        np.testing.assert_array_equal(changed[key][0], out[key][0])
    assert not np.array_equal(augmented(jax.random.key(4), batch)["image"], out["image"])
    equal({"valid": out["valid"]}, {"valid": batch["valid"]})


def test_eight_devices_give_what_one_gives_without_talking():
    devices = jax.devices()
    if len(devices) < 2:
        pytest.skip("needs two devices")
    mesh = jax.sharding.Mesh(np.array(devices), ("data",), axis_types=(AxisType.Auto,))
    split = NamedSharding(mesh, PartitionSpec("data"))
    everything = jax.jit(
        augment.compose(
            warp(7, 6, scale=(0.8, 1.25), rotation=20.0, sigma=3.0),
            augment.photometric(0.2, 0.2),
        )
    )
    batch = make_batch(len(devices), 9, 11, 1)
    sharded = jax.device_put(batch, split)
    compiled = everything.lower(KEY, sharded).compile()
    for collective in ("all-gather", "all-reduce", "all-to-all", "collective-permute"):
        assert collective not in compiled.as_text()
    out = compiled(KEY, sharded)
    moved = {name: x for name, x in out.items() if name != "extent"}  # which is a constant
    assert all(x.sharding.is_equivalent_to(split, x.ndim) for x in moved.values())
    one = everything(KEY, jax.device_put(batch, devices[0]))
    for key in one:
        np.testing.assert_allclose(one[key], out[key], atol=1e-5)


def test_unknown_fields_are_refused_by_name():
    with pytest.raises(InputError, match="A batch has no field 'depth'; it may have image, label"):
        augment.geometric()(KEY, make_batch(2, 5, 5) | {"depth": np.zeros((2, 5, 5))})


def test_gradient_flows_to_the_image():
    batch = make_batch(2, 9, 9, 3)
    everything = augment.compose(
        warp(9, 9, scale=(0.8, 1.2), rotation=20.0),
        augment.photometric(0.1, 0.1, 0.1, 0.05),
        augment.gamma(),
    )

    @jax.jit
    @jax.grad
    def slope(image):
        return everything(KEY, batch | {"image": image})["image"].sum()

    gradient = slope(batch["image"])
    assert np.isfinite(gradient).all()
    assert (np.asarray(gradient) != 0).mean() > 0.5
    black = slope(np.zeros_like(batch["image"]))
    assert np.isfinite(black).all()


def test_compose_goes_from_left_to_right():
    def plus(rng, batch):
        return batch | {"image": batch["image"] + 1}

    def double(rng, batch):
        return batch | {"image": batch["image"] * 2}

    batch = {"image": np.ones((1, 2, 2, 1), np.float32)}
    assert (augment.compose(plus, double)(KEY, batch)["image"] == 4).all()
    equal(augment.compose()(KEY, batch), batch)
    twice = augment.compose(shift, shift)(KEY, batch)["image"]
    first, second = jax.random.split(KEY)  # keys are not shared
    expected = 1 + jax.random.uniform(first) + jax.random.uniform(second)
    np.testing.assert_allclose(twice, jnp.full(twice.shape, expected), rtol=1e-6)


def test_with_augment_gives_the_loss_an_augmented_batch_and_a_key_of_its_own():
    def loss(params, model_state, batch, rng):
        return (params * batch["image"]).sum(), (model_state, {"draw": jax.random.uniform(rng)})

    batch = make_batch(2, 4, 4, 1)
    wrapped = jax.jit(augment.with_augment(loss, shift))
    value, (state, scalars) = wrapped(2.0, {"mean": 5.0}, batch, KEY)
    first, second = jax.random.split(KEY)
    expected = 2 * shift(first, batch)["image"].sum()
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(scalars["draw"], jax.random.uniform(second), rtol=1e-6)
    assert state == {"mean": 5.0}


# Colour


@pytest.mark.parametrize(
    "case", GOLDEN, ids=lambda c: f"{c['name']}{c['amount']}-{len(c['pixels'][0])}"
)
def test_colour_adjustments_equal_torchvision(case):
    image = jnp.array(case["pixels"])[None]
    out = getattr(adjustments, f"adjust_{case['name']}")(image, case["amount"])
    np.testing.assert_allclose(out[0], case["adjusted"], atol=2e-6)


def test_photometric_draws_within_its_bounds():
    batch = {"image": np.full((256, 1, 2, 3), 0.25, np.float32)}
    factor = np.asarray(run(augment.photometric(brightness=0.5), batch)["image"])[:, 0, 0, 0] / 0.25
    assert 0.5 <= factor.min() < 0.52
    assert 1.48 < factor.max() <= 1.5
    batch["image"][:, :, 1] = 0.75  # the mean grey is 0.9999 times 0.5
    spread = np.diff(run(augment.photometric(contrast=0.5), batch)["image"][:, 0, :, 0]) / 0.5
    assert 0.5 <= spread.min() < 0.52
    assert 1.48 < spread.max() < 1.5001
    red = {"image": np.tile(np.float32([0.75, 0.25, 0.25]), (256, 1, 1, 1))}
    out = np.asarray(run(augment.photometric(hue=0.1), red)["image"])[:, 0, 0]
    turned = (out[:, 1] - out[:, 2]) / 0.5 / 6  # a sixth of a turn brings red to yellow
    assert -0.1001 < turned.min() < -0.097
    assert 0.097 < turned.max() < 0.1001
    grey = run(augment.photometric(saturation=1.0), red)["image"]
    assert np.asarray(grey).std(-1).min() < 0.01


def test_photometric_leaves_the_rest_alone_and_needs_colour_for_colour():
    batch = make_batch(2, 4, 5, 1)
    out = run(augment.photometric(0.2, 0.2), batch)
    assert not np.array_equal(out["image"], batch["image"])
    equal(out | {"image": 0}, batch | {"image": 0})
    equal(run(augment.photometric(), batch), batch)
    with pytest.raises(InputError, match="RGB"):
        augment.photometric(hue=0.1)(KEY, batch)
    with pytest.raises(InputError, match="strengths"):
        augment.photometric(brightness=-1)
    with pytest.raises(InputError, match="limits"):
        augment.gamma((0, 1))


def test_gamma_draws_within_its_bounds_and_keeps_black_and_white():
    image = np.tile(np.float32([0, 0.5, 1])[:, None], (256, 1, 1, 1))
    out = np.asarray(run(augment.gamma((0.5, 2.0)), {"image": image})["image"])[:, 0, :, 0]
    assert (out[:, [0, 2]] == [0, 1]).all()
    exponent = np.log2(-np.log2(out[:, 1]))
    assert -1.0001 < exponent.min() < -0.97
    assert 0.97 < exponent.max() < 1.0001
    assert abs(exponent.mean()) < 0.15


def test_noise_has_its_standard_deviation_and_differs_between_examples():
    batch = {"image": np.zeros((2, 64, 64, 3), np.float32)}
    noise = np.asarray(run(augment.gaussian_noise(0.3), batch)["image"])
    assert noise.std() == pytest.approx(0.3, rel=0.02)
    assert abs(noise.mean()) < 0.01
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.04
