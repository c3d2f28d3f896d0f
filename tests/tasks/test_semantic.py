"""The semantic task: cropping, filling, valid, mirrored borders, weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax.errors import InputError
from segjax.metrics.confusion import confusion
from segjax.models.unet import UNet
from segjax.tasks.semantic import labelling, semantic

RNG = np.random.default_rng(0)


def task(model=None, size=(8, 12), **options):
    model = model or UNet(3, width=2, depth=1, padding="same", dropout=0.0)
    return semantic(model, 3, metrics=[confusion(3)], size=size, **options)


def record(height=10, width=14, dtype=np.uint8, channels=1):
    top = np.iinfo(dtype).max
    image = RNG.integers(0, top, (height, width, channels), endpoint=True).astype(dtype)
    return {"image": image, "label": RNG.integers(0, 3, (height, width)).astype(np.uint8)}


def batch_of(height=8, width=12, count=3):
    image = RNG.random((count, height, width, 1), np.float32)
    label = RNG.integers(0, 3, (count, height, width)).astype(np.int32)
    counts = {"mask": np.ones(label.shape, bool), "valid": np.ones(count, bool)}
    return {"image": image, "label": label, **counts}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_examples_are_whole_images_of_their_own_type(dtype):
    r = record(6, 9, dtype)
    r["label"][1:3] = 255
    for train in (True, False):
        example = task().preprocess(r, np.random.default_rng(1), train)
        assert example["image"].shape == (8, 12, 1)
        assert example["image"].dtype == dtype
        np.testing.assert_array_equal(example["image"][:6, :9], r["image"])
        mask = np.zeros((8, 12), bool)
        mask[:6, :9] = r["label"] != 255
        np.testing.assert_array_equal(example["mask"], mask)
        np.testing.assert_array_equal(example["label"][mask], r["label"][r["label"] != 255])
        assert not example["label"][~mask].any()
        np.testing.assert_array_equal(example["extent"], [6, 9])


def test_an_image_too_large_to_evaluate_is_named():
    with pytest.raises(InputError, match="image a.png is 20 x 14, larger .* of 8 x 12"):
        task().preprocess({**record(20, 14), "name": "a.png"}, np.random.default_rng(0), False)


def test_weights_come_with_training_alone_and_are_zero_where_filled_up():
    weigh = lambda r: r["label"].astype(np.float32) + 1
    t = task(size=(12, 16), pixel_weights=weigh)
    r = record(10, 14)
    example = t.preprocess(r, np.random.default_rng(3), True)
    np.testing.assert_array_equal(example["weight"][:10, :14], weigh(r))
    assert example["weight"].sum() == weigh(r).sum()
    assert "weight" not in t.preprocess(r, np.random.default_rng(3), False)


def half(r):
    return r["image"][::2, ::2]


def test_evaluation_counts_the_pixels_of_the_record_and_training_those_the_network_sees():
    t = task(
        Net(),
        size=(5, 8),
        label_size=(10, 16),
        prepare=half,
        pixel_weights=lambda r: r["label"] * 1.0,
    )
    r = record(10, 14)
    r["label"] = np.kron(r["label"][::2, ::2], np.ones((2, 2), np.uint8))
    train = t.preprocess(r, np.random.default_rng(0), True)
    assert train["label"].shape == train["weight"].shape == (5, 8)
    np.testing.assert_array_equal(train["label"][:5, :7], r["label"][::2, ::2])
    whole = t.preprocess(r, np.random.default_rng(0), False)
    assert whole["image"].shape == (5, 8, 1)
    np.testing.assert_array_equal(whole["label"][:10, :14], r["label"])
    assert whole["mask"].sum() == 140
    np.testing.assert_array_equal(whole["extent"], [5, 7])
    np.testing.assert_array_equal(whole["size"], [10, 14])
    batch = {name: np.stack([x] * 2) for name, x in whole.items()}
    batch["valid"] = np.array([True, False])
    variables = t.init(jax.random.key(0), batch)
    preds = jax.jit(t.predict)(variables, batch)
    assert preds["label"].shape == (2, 10, 16)
    (matrix,) = t.stats(preds, batch)
    # What a prediction of the file gives, back in its own pixels, is what was counted.
    predictor = labelling(Net(), size=(5, 8), prepare=half)
    maps = predictor.apply(variables, half(r)[None])
    found = predictor.finish({name: np.asarray(x[0]) for name, x in maps.items()}, r)
    assert found["label"].shape == (10, 14)
    want = np.zeros((3, 3), int)
    np.add.at(want, (r["label"], found["label"]), 1)
    np.testing.assert_array_equal(matrix, want)
    panels = t.visualise(preds, batch)
    assert {x.shape for x in panels.values()} == {(1, 10, 16, 3)}
    assert not panels["image"][:, :, 14:].any()  # it lies on its truth, whatever the canvases are
    assert panels["image"][0, :10, 13].any()


def test_ignored_pixels_and_padded_examples_change_nothing():
    t, batch = task(), batch_of()
    variables = t.init(jax.random.key(0), batch)
    batch["mask"][0, 2:5] = False
    batch["valid"][2] = False

    @jax.jit
    def run(batch):
        def loss(params):
            return t.loss(params, {}, batch, jax.random.key(1))

        (value, (_, scalars)), grads = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        return value, scalars["accuracy"], grads

    before = run(batch)
    other = {**batch, "label": batch["label"].copy(), "image": batch["image"].copy()}
    other["label"][2], other["image"][2] = 1, 0.3
    other["label"][0, 2:5] = 255  # whatever stands there
    after = run(other)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7), before, after)


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_prediction_is_of_the_labels_size(padding):
    model = UNet(3, width=2, depth=1, padding=padding)
    t, batch = task(model), batch_of(9, 14)
    variables = t.init(jax.random.key(0), batch)
    preds = jax.jit(t.predict)(variables, batch)
    assert preds["label"].shape == (3, 9, 14)
    np.testing.assert_allclose(preds["prob"].sum(-1), 1, atol=1e-5)


def test_context_around_what_is_wanted_is_used_where_it_is_given():
    """An unpadded network sees the same pixels whether they come with the tile or by mirroring."""
    model = UNet(3, width=2, depth=1)  # loses 8 pixels a side at depth 1
    t, batch = task(model), batch_of(12, 12, 1)
    variables = t.init(jax.random.key(0), batch)
    apply = labelling(model, size=(12, 12)).apply
    mirrored = np.pad(batch["image"], ((0, 0), (8, 8), (8, 8), (0, 0)), mode="reflect")
    a = t.predict(variables, batch)["prob"]
    b = apply(variables, mirrored, 8)["prob"]
    np.testing.assert_allclose(a, b, atol=1e-6)
    mirrored[:, :4] = 0  # real context that differs from the mirror changes the border only
    c = apply(variables, mirrored, 8)["prob"]
    assert np.abs(a - c)[:, :4].max() > 1e-6
    np.testing.assert_allclose(a[:, 8:], c[:, 8:], atol=1e-6)


def test_figures_come_from_the_whole_split():
    t = task()
    evidence = [
        (np.array([[4, 0, 0], [0, 2, 0], [0, 0, 0]]),),
        (np.array([[0, 4, 0]] * 3) * 0 + 1,),
    ]
    figures = t.summarise(iter(evidence))
    total = evidence[0][0] + evidence[1][0]
    iou = np.diag(total) / (total.sum(0) + total.sum(1) - np.diag(total))
    assert figures["miou"] == pytest.approx(iou.mean())


class Net:
    """Logits that are one parameter a class times the first channel, at any size; two outputs."""

    def init(self, rngs, image, *, train):
        del rngs, image, train
        return {"params": {"main": jnp.array([0.1, 0.2, 0.7]), "aux": jnp.array([0.3, -0.4, 0.1])}}

    def apply(self, variables, image, *, train, **options):
        del train
        out = {name: image[..., :1] * x for name, x in variables["params"].items()}
        out = {"logits": out["main"], "aux": out["aux"]}
        return (out, {}) if "mutable" in options else out

    def input_size(self, output):
        return output

    output_size = input_size


def test_auxiliary_losses_are_added_with_their_weights_and_reported():
    batch, key = batch_of(), jax.random.key(0)
    batch["mask"][0, :2] = False
    batch["valid"][1] = False
    params = task(Net()).init(key, batch)["params"]
    main, (_, scalars) = task(Net()).loss(params, {}, batch, key)
    assert scalars.keys() == {"accuracy"}
    swapped = {"main": params["aux"], "aux": params["main"]}
    aux, _ = task(Net()).loss(swapped, {}, batch, key)
    both, (_, scalars) = task(Net(), auxiliary={"aux": 0.4}).loss(params, {}, batch, key)
    np.testing.assert_allclose(both, main + 0.4 * aux, rtol=1e-6)
    np.testing.assert_allclose(scalars["aux_loss"], aux, rtol=1e-6)
    grads = jax.grad(lambda p: task(Net(), auxiliary={"aux": 0.4}).loss(p, {}, batch, key)[0])
    alone = jax.grad(lambda p: task(Net()).loss(p, {}, batch, key)[0])
    want = 0.4 * alone(swapped)["main"]
    np.testing.assert_allclose(grads(params)["aux"], want, rtol=1e-5)


def test_an_unknown_auxiliary_output_is_named():
    t, batch = task(Net(), auxiliary={"aux2": 0.4}), batch_of()
    params = t.init(jax.random.key(0), batch)["params"]
    with pytest.raises(InputError, match="auxiliary is 'aux2'; the choices are logits, aux"):
        t.loss(params, {}, batch, jax.random.key(0))


def test_volumes():
    t = task(Net(), size=(4, 6, 6))
    label = RNG.integers(0, 3, (4, 5, 6)).astype(np.uint8)
    r = {"image": (label * 100)[..., None], "label": label}
    example = t.preprocess(r, np.random.default_rng(0), False)
    assert example["label"].shape == (4, 6, 6)
    batch = {name: np.stack([x] * 2) for name, x in example.items()}
    batch["valid"] = np.array([True, False])
    variables = t.init(jax.random.key(0), batch)
    preds = jax.jit(t.predict)(variables, batch)
    assert preds["prob"].shape == (2, 4, 6, 6, 3)
    (matrix,) = t.stats(preds, batch)
    assert matrix.sum() == label.size  # filled up and padded voxels do not count
    panels = t.visualise(preds, batch)
    assert {x.shape for x in panels.values()} == {(1, 6, 6, 3)}
    small = t.preprocess(r, np.random.default_rng(0), True)
    assert small["image"].shape == (4, 6, 6, 1)
    batch = {name: x[None] for name, x in small.items()} | {"valid": np.array([True])}
    value, _ = t.loss(variables["params"], {}, batch, jax.random.key(0))
    assert np.isfinite(value)
    with pytest.raises(InputError, match=r"is 4 x 5 x 6, larger .* of 3 x 5 x 4"):
        task(Net(), size=(3, 5, 4)).preprocess(r, np.random.default_rng(0), False)
