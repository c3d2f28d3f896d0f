"""What the configs of the zoo share."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from segjax import cli, recipe, transfer
from segjax.backbones.efficientnet import TFNorm, efficientnet_b0
from segjax.backbones.vgg import vgg16
from segjax.core import Task
from segjax.errors import InputError
from segjax.nn.layers import BatchNorm, FrozenBatchNorm
from segjax.nn.upsample import SubPixel

PARAMS = {
    "backbone": {"conv": {"kernel": jnp.full((1, 1, 2, 2), 0.5), "bias": jnp.ones(2)}},
    "head": {"kernel": jnp.full((1, 1, 2, 2), 0.5), "bias": jnp.ones(2)},
}


def config_with(**values):
    config = recipe.get_config(width=4)
    for name, value in values.items():
        config[name] = value
    return config


def moved(config, steps=3):
    """How far each leaf goes in a few steps of a constant gradient."""
    tx, params = recipe.optimizer(config), PARAMS
    state = tx.init(params)
    for _ in range(steps):
        grads = jax.tree.map(jnp.ones_like, params)
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return jax.tree.map(lambda a, b: float(np.abs(a - b).max()), params, PARAMS), state


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_backbone_learns_at_its_share_of_the_rate(optimizer):
    one, _ = moved(config_with(optimizer=optimizer, weight_decay=0.0))
    tenth, _ = moved(config_with(optimizer=optimizer, weight_decay=0.0, backbone_rate=0.1))
    assert tenth["head"] == pytest.approx(one["head"], rel=1e-5)
    ratio = tenth["backbone"]["conv"]["bias"] / one["backbone"]["conv"]["bias"]
    assert ratio == pytest.approx(0.1, rel=1e-3)


def test_a_frozen_backbone_neither_moves_nor_decays_nor_has_state():
    change, state = moved(config_with(backbone_rate=0.0, weight_decay=0.1))
    assert not any(jax.tree.leaves(change["backbone"]))
    assert all(x > 0 for x in jax.tree.leaves(change["head"]))
    sizes = [x.size for x in jax.tree.leaves(state)]
    assert sum(sizes) < 2 * sum(x.size for x in jax.tree.leaves(PARAMS["head"])) + 5


def test_a_frozen_backbone_keeps_its_statistics():
    norm = recipe.backbone_options(config_with(backbone_rate=0.0))["norm"]
    assert isinstance(norm(name=None), FrozenBatchNorm)
    assert recipe.backbone_options(config_with())["norm"] is BatchNorm


def test_options():
    config = config_with(dtype="bfloat16")
    assert recipe.options(config) == {"dtype": jnp.bfloat16}  # the paper's upsampler
    config.model.upsample = "sub_pixel"
    assert recipe.options(config)["upsample"] is SubPixel
    config.model.upsample = "transpose"
    with pytest.raises(InputError, match="config.model.upsample is 'transpose'; the choices are"):
        recipe.options(config)


def test_unknown_names_list_the_choices():
    with pytest.raises(InputError, match="config.dataset is 'voc'; the choices are camvid, cells"):
        recipe.sources(config_with(dataset="voc"))
    with pytest.raises(InputError, match="config.optimizer is 'adam'; the choices are adamw, sgd"):
        recipe.optimizer(config_with(optimizer="adam"))
    with pytest.raises(InputError, match="Say where your images are: --config.root=FOLDER"):
        recipe.sources(config_with(dataset="folder"))


@pytest.mark.parametrize("dropout", [-0.1, 1.0, 1.5, float("nan")])
def test_a_dropout_that_is_no_share_is_refused(dropout):
    config = recipe.get_config(dropout=dropout)
    with pytest.raises(InputError, match=r"--config.model.dropout must be from 0 to below 1, not"):
        recipe.options(config)


@pytest.mark.parametrize("name", ["naive_fcn", "pinheiro_recurrent"])
def test_an_upsampler_for_a_network_without_one_is_refused(name):
    module, config = cli.load_config(f"configs/{name}.py", {"model.upsample": "nearest"})
    with pytest.raises(InputError, match=r"upsample is 'nearest', and this network has nothing to"):
        module.model(config, {"class_names": ["a", "b"], "channels": 3})


def test_numbers_out_of_range_are_refused():
    with pytest.raises(InputError, match=r"--config.scale must be above 0, not -1"):
        recipe.card(config_with(scale=-1.0))
    with pytest.raises(InputError, match=r"learning_rate must be at least 0 and finite, not -1"):
        recipe.optimizer(config_with(learning_rate=-1.0))
    for decay in (-5.0, float("nan")):
        with pytest.raises(InputError, match=f"weight_decay must be .* finite, not {decay}"):
            recipe.optimizer(config_with(weight_decay=decay))
    with pytest.raises(InputError, match=r"--config.backbone_rate must be at least 0, not -1"):
        recipe.optimizer(config_with(backbone_rate=-1.0))


@pytest.mark.parametrize(
    ("name", "size"), [("crop", ("a", "b")), ("crop", (5,)), ("eval_size", (1, 2, 3))]
)
def test_sizes_that_are_none_are_refused_by_the_name_of_their_flag(name, size):
    card = {"class_names": ["a", "b"], "palette": [[0] * 3] * 2, "channels": 3, "scale": 1.0}
    with pytest.raises(InputError, match=f"--config.{name} must be .height, width. in pixels, not"):
        recipe.task(config_with(**{name: size}), card, Seen())


def test_an_input_of_colours_for_grey_images_is_refused():
    card = {"class_names": ["a", "b"], "palette": [[0] * 3] * 2, "channels": 1, "scale": 1.0}
    with pytest.raises(InputError, match="config.input is 'caffe', and these images have 1 "):
        recipe.task(config_with(input="caffe"), card, Seen())


@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_a_rate_for_a_backbone_that_is_not_there_is_refused(rate):
    tx = recipe.optimizer(config_with(backbone_rate=rate))
    words = f"--config.backbone_rate is {rate} and has no backbone to act on; the network has head"
    with pytest.raises(InputError, match=words):
        tx.init({"head": PARAMS["head"]})


@pytest.mark.parametrize(("width", "words"), [(0, "no input channels"), (-2, "-2 output channels")])
def test_a_network_without_width_is_refused(width, words):
    module, config = cli.load_config("configs/naive_fcn.py", {"model.width": width})
    model = module.model(config, {"class_names": ["a", "b"], "channels": 3})
    with pytest.raises(InputError, match=f"has {words}: give every layer of the network a width"):
        model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), train=False)


@pytest.mark.parametrize(("scale", "size"), [(0.5, (15, 20)), (1.0, (30, 41)), (2.0, (60, 82))])
@pytest.mark.parametrize("channels", [1, 3])
def test_records_are_resized_together(scale, size, channels):
    generator = np.random.default_rng(0)
    image = generator.integers(0, 255, (30, 41, channels), np.uint8)
    label = np.repeat(np.repeat(generator.integers(0, 9, (6, 8)), 5, 0), 6, 1)[:30, :41]
    label = np.pad(label, ((0, 0), (0, 41 - label.shape[1]))).astype(np.uint8)
    small = recipe.resized({"image": image, "label": label, "name": "a"}, scale)
    assert small["image"].shape == (*size, channels)
    assert small["label"].shape == size
    assert small["name"] == "a"
    assert {*np.unique(small["label"])} <= {*np.unique(label)}  # classes are not averaged
    assert small["image"].mean() == pytest.approx(image.mean(), abs=2)


@pytest.mark.parametrize("dataset", ["camvid", "cells"])
def test_a_zoo_config_takes_any_data_set(dataset):
    module, config = cli.load_config("configs/segnet.py", {"dataset": dataset, "model.width": 2})
    channels = {"camvid": 3, "cells": 1}[dataset]
    card = {"class_names": ["a", "b"], "palette": [[0, 0, 0], [9, 9, 9]]}
    card |= {"channels": channels, "scale": {"camvid": 0.5, "cells": 1.0}[dataset]}
    task = module.task(config, card)
    size = {"camvid": (180, 240), "cells": (128, 128)}[dataset]
    record = {
        "image": np.zeros((360, 480, channels) if channels == 3 else (128, 128, 1), np.uint8),
        "label": np.zeros((360, 480) if channels == 3 else (128, 128), np.uint8),
    }
    example = task.preprocess(record, np.random.default_rng(0), True)
    assert example["image"].shape == (*size, channels)
    assert example["label"].shape == size


def test_a_presets_norm_keeps_its_constants():
    backbone = efficientnet_b0(norm=TFNorm)
    assert recipe.prepared(backbone, config_with()).norm is TFNorm
    still = recipe.prepared(backbone, config_with(backbone_rate=0.0)).norm(name=None)
    assert isinstance(still, FrozenBatchNorm)
    assert still.epsilon == 1e-3
    assert recipe.frozen(BatchNorm)(name=None).epsilon == 1e-5
    assert recipe.prepared(vgg16(), config_with(backbone_rate=0.0)).norm is None


class Seen:
    """Stands for a network and keeps what it is given."""

    def apply(self, variables, image, *, train, **options):
        self.image = np.asarray(image)
        logits = jnp.zeros((*image.shape[:-1], 2))
        return ({"logits": logits}, {}) if train else {"logits": logits}

    def input_size(self, output):
        return output

    output_size = input_size


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        # red 1, green 0.5, blue 0; the constants are those published with the weights
        ("imagenet", [(1 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, -0.406 / 0.225]),
        ("unit", [1, 0.5, 0]),
        ("inception", [1, 0, -1]),
        ("caffe", [0 - 104.00699, 127.5 - 116.66877, 255 - 122.67892]),
        ("segnet", [0, 127.5, 255]),
    ],
)
def test_what_the_network_is_given(kind, wanted):
    model, config = Seen(), config_with(input=kind)
    card = {"class_names": ["a", "b"], "palette": [[0] * 3] * 2, "channels": 3, "scale": 1.0}
    task = recipe.task(config, card, model)
    image = jnp.broadcast_to(jnp.asarray([1.0, 0.5, 0.0]), (1, 4, 6, 3))
    task.predict({}, {"image": image, "label": jnp.zeros((1, 4, 6), jnp.int32)})
    np.testing.assert_allclose(model.image[0, 2, 3], wanted, rtol=1e-4)


def test_a_part_without_gradient_gets_none_and_costs_nothing():
    def loss(params, state, batch, key):
        x = batch
        for _ in range(3):
            x = jnp.tanh(x @ params["backbone"])
        return jnp.sum((x @ params["head"]) ** 2), (state, {})

    params = {"backbone": 0.1 * jnp.ones((64, 64)), "head": jnp.ones((64, 2))}
    batch = jnp.ones((8, 64))
    task = Task(*[None] * 7)._replace(loss=loss)
    flops, grads = [], []
    for each in (task, transfer.without_gradient(task, "backbone")):
        grad = jax.jit(jax.grad(each.loss, has_aux=True))
        flops.append(grad.lower(params, {}, batch, None).compile().cost_analysis()["flops"])
        grads.append(grad(params, {}, batch, None)[0])
    assert not grads[1]["backbone"].any()
    np.testing.assert_allclose(grads[0]["head"], grads[1]["head"], rtol=1e-5)
    assert flops[1] < 0.5 * flops[0]
    with pytest.raises(InputError, match="no part 'encoder' to keep as it is; it has backbone"):
        transfer.without_gradient(task, "encoder").loss(params, {}, batch, None)


def test_the_loss_is_the_configs():
    card = {"class_names": ["a", "b"], "palette": [[0] * 3] * 2, "channels": 3, "scale": 1.0}
    batch = {"image": jnp.ones((1, 360, 480, 3)), "label": jnp.zeros((1, 360, 480), jnp.int32)}
    batch["valid"] = jnp.ones(1, bool)
    loss = {}
    for name in recipe.LOSSES:
        task = recipe.task(config_with(loss=name), card, Seen())
        loss[name] = task.loss({}, {}, batch, jax.random.key(0))[0]
    assert loss["cross_entropy"] == pytest.approx(np.log(2), rel=1e-5)  # of logits that are equal
    # J is 1/2 for the class of all pixels, and 1e-15 over half of them for the other.
    second = np.log(1e-15) - np.log(360 * 480 / 2)
    want = 0.7 * np.log(2) - 0.3 * (np.log(0.5) + second)
    # Some are warped out of the image, so the sums are of fewer.
    assert loss["cross_entropy_log_jaccard"] == pytest.approx(want, rel=0.02)
