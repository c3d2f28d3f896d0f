"""Images from images: pairs, filling, valid, borders; colourisation and inpainting."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax.errors import InputError
from segjax.losses.regression import l2
from segjax.metrics.image_quality import psnr, ssim
from segjax.models.unet import UNet
from segjax.ops.colour import rgb_to_lab
from segjax.tasks.image_to_image import (
    Pair,
    colour_from_lightness,
    coloured,
    filled,
    image_from_rest,
    image_to_image,
    random_holes,
)

RNG = np.random.default_rng(0)


class Net:
    """Draws the first three channels of its input, each times a parameter; any size."""

    def init(self, rngs, image, *, train):
        del rngs, train
        self.channels = image.shape[-1]
        return {"params": {"gain": jnp.array([1.0, 2.0, 3.0])}}

    def apply(self, variables, image, *, train, **options):
        del train
        out = {"logits": image[..., :3] * variables["params"]["gain"]}
        return (out, {}) if "mutable" in options else out

    def input_size(self, output):
        return output

    output_size = input_size


def negative(batch, key):
    """A toy problem whose answer is known: the target is the image times (1, 2, 3)."""
    del key
    weight = 1 + batch["image"][..., 0]
    return Pair(batch["image"], batch["image"] * jnp.array([1, 2, 3]), weight)


def task(model=None, pair=negative, **options):
    options = {"show": lambda drawing, seen: drawing / 3, "size": (12, 16)} | options
    return image_to_image(model or Net(), pair=pair, metrics=[psnr(), ssim()], **options)


def batch_of(height=12, width=16, count=3):
    image = RNG.random((count, height, width, 3), np.float32)
    mask = np.ones((count, height, width), bool)
    return {"image": image, "mask": mask, "valid": np.ones(count, bool)}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_records_become_rgb_examples_and_what_is_filled_up_is_marked(dtype):
    top = np.iinfo(dtype).max
    image = RNG.integers(0, top, (10, 14, 1), dtype, endpoint=True)
    example = task().preprocess({"image": image, "label": image[..., 0]}, RNG, True)
    assert example["image"].shape == (12, 16, 3)
    assert example["image"].dtype == dtype
    assert example["mask"][:10, :14].all()
    assert example["mask"].sum() == 140
    np.testing.assert_array_equal(example["image"][..., 0], example["image"][..., 2])
    np.testing.assert_array_equal(example["image"][:10, :14, :1], image)
    with pytest.raises(InputError, match="image a is 10 x 20, larger than .* of 12 x 16"):
        task().preprocess({"image": np.zeros((10, 20, 3), dtype), "name": "a"}, RNG, False)


def test_loss_is_the_weighted_loss_of_the_pair():
    batch, gain = batch_of(), jnp.array([1.0, 2.0, 5.0])
    batch["mask"][0, :4] = False
    batch["valid"][2] = False
    counted = batch["mask"] & batch["valid"][:, None, None]
    error = 2 * batch["image"][..., 2] * (1 + batch["image"][..., 0]) / 3  # of the third channel
    value, (_, scalars) = task().loss({"gain": gain}, {}, batch, jax.random.key(0))
    np.testing.assert_allclose(value, error[counted].mean(), rtol=1e-5)
    assert scalars == {}
    value, _ = task(pixel_loss=l2).loss({"gain": gain}, {}, batch, jax.random.key(0))
    error = (2 * batch["image"][..., 2]) ** 2 * (1 + batch["image"][..., 0]) / 3
    np.testing.assert_allclose(value, error[counted].mean(), rtol=1e-5)


@pytest.mark.parametrize("pair", [negative, image_from_rest])
def test_what_is_not_valid_changes_nothing(pair):
    show = filled if pair is image_from_rest else lambda drawing, seen: drawing / 3
    t, batch = task(pair=pair, show=show), batch_of()
    batch["mask"][0, 3:] = False
    batch["valid"][2] = False
    params = t.init(jax.random.key(0), batch)["params"]

    @jax.jit
    def run(params, batch):
        value, grads = jax.value_and_grad(lambda p: t.loss(p, {}, batch, jax.random.key(1))[0])(
            params
        )
        return value, grads, t.stats(t.predict({"params": params}, batch), batch)

    before = run(params, batch)
    other = {**batch, "image": batch["image"].copy()}
    other["image"][0, 3:], other["image"][2] = 0.3, 5
    jax.tree.map(np.testing.assert_array_equal, before, run(params, other))


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_prediction_is_of_the_labels_size_and_compared_with_the_truth(padding):
    model = UNet(3, width=2, depth=1, padding=padding)
    t, batch = task(model), batch_of(11, 14)
    variables = t.init(jax.random.key(0), batch)
    preds = jax.jit(t.predict)(variables, batch)
    assert {x.shape[:3] for x in preds.values()} == {(3, 11, 14)}
    np.testing.assert_allclose(preds["truth"], batch["image"] * [1, 2, 3] / 3, rtol=1e-6)
    figures = t.summarise(iter([t.stats(preds, batch)]))
    assert np.isfinite([figures["psnr"], figures["ssim"]]).all()
    panels = t.visualise(preds, batch)
    assert list(panels) == ["input", "truth", "prediction"]
    assert all(x.shape == (3, 11, 14, 3) and x.dtype == np.uint8 for x in panels.values())


def test_a_perfect_drawing_has_no_error():
    t, batch = task(), batch_of()
    variables = t.init(jax.random.key(0), batch)
    figures = t.summarise(iter([t.stats(t.predict(variables, batch), batch)]))
    assert figures["psnr"] == np.inf
    assert figures["ssim"] == pytest.approx(1, abs=1e-5)


def test_colour_and_lightness_are_taken_apart_and_put_together():
    batch = batch_of()
    pair = colour_from_lightness(batch, jax.random.key(0))
    assert (pair.input.shape[-1], pair.target.shape[-1]) == (1, 2)
    np.testing.assert_allclose(pair.input[..., 0], rgb_to_lab(batch["image"])[..., 0] / 100)
    np.testing.assert_allclose(coloured(pair.target, pair.input), batch["image"], atol=1e-4)
    corners = np.stack(np.meshgrid(*[[0.0, 1.0]] * 3), -1).reshape(1, 2, 4, 3)
    extremes = colour_from_lightness({"image": jnp.array(corners)}, jax.random.key(0)).target
    assert 0.9 < np.abs(extremes).max() < 1  # within reach of tanh


def test_a_hole_hides_the_image_and_the_drawing_fills_it_alone():
    batch = batch_of(30, 40)
    seen, target, weight = image_from_rest(batch, jax.random.key(3))
    hole = np.asarray(seen[..., 3]) == 1
    assert 0.05 < hole.mean() < 0.5
    assert (np.asarray(seen)[hole][:, :3] == 0.5).all()
    np.testing.assert_array_equal(np.asarray(seen)[~hole][:, :3], batch["image"][~hole])
    np.testing.assert_array_equal(target, batch["image"])
    np.testing.assert_array_equal(weight, np.where(hole, 6, 1))
    drawing = np.full(target.shape, 0.25, np.float32)
    picture = np.asarray(filled(drawing, seen))
    assert (picture[hole] == 0.25).all()
    np.testing.assert_array_equal(picture[~hole], batch["image"][~hole])
    np.testing.assert_array_equal(filled(target, seen), batch["image"])


def test_holes_are_boxes_that_differ_between_images_and_steps():
    holes = jax.jit(functools.partial(random_holes, shape=(50, 40, 60), count=1))
    a, b = np.asarray(holes(jax.random.key(0))), np.asarray(holes(jax.random.key(1)))
    assert len({x.tobytes() for x in (*a, *b)}) == 100
    for hole in a:
        rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
        assert hole.sum() == len(rows) * len(columns)  # one whole box
        assert np.ptp(rows) + 1 == len(rows)
        assert 3 <= len(rows) <= 15  # 0.1 to 0.35 of 40, give or take a pixel
        assert 5 <= len(columns) <= 22
    assert a.any(0)[[0, -1]].any()  # also at the border


def test_evaluation_has_the_same_holes_every_time_and_training_new_ones():
    model = UNet(3, width=2, depth=1, padding="same", dropout=0.0)
    t, batch = task(model, image_from_rest, show=filled, activation=jax.nn.sigmoid), batch_of()
    variables = t.init(jax.random.key(0), batch)
    assert variables["params"]["down0"]["conv1"]["kernel"].shape[2] == 4  # RGB and the mask
    predict = jax.jit(t.predict)
    np.testing.assert_array_equal(
        predict(variables, batch)["image"], predict(variables, batch)["image"]
    )
    loss = jax.jit(t.loss)
    values = {float(loss(variables["params"], {}, batch, jax.random.key(i))[0]) for i in range(4)}
    assert len(values) == 4
