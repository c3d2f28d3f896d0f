"""What the configs of semantic segmentation share."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from segjax import cli, transfer
from segjax.backbones.efficientnet import TFNorm, efficientnet_b0
from segjax.backbones.vgg import vgg16
from segjax.core import Task
from segjax.errors import InputError
from segjax.nn.layers import BatchNorm, FrozenBatchNorm
from segjax.nn.upsample import SubPixel
from segjax.recipes import datasets, networks, semantic, training

PARAMS = {
    "backbone": {"conv": {"kernel": jnp.full((1, 1, 2, 2), 0.5), "bias": jnp.ones(2)}},
    "head": {"kernel": jnp.full((1, 1, 2, 2), 0.5), "bias": jnp.ones(2)},
}


FACTS = {"class_names": ["a", "b"], "palette": [[0] * 3] * 2, "channels": 3}


def config_with(**values):
    config = semantic.get_config(width=4)
    config.update(values)
    return config


def seen(config, num_classes):
    return Seen()


def build(model=None, facts=None, **values):
    """The experiment of such values, of a network that keeps what it is given."""
    config = config_with(**values)
    return semantic.build(config, lambda *_: model or Seen(), facts or FACTS)


def moved(config, steps=3):
    """How far each leaf goes in a few steps of a constant gradient."""
    tx, params = training.optimizer(config), PARAMS
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
    norm = networks.backbone_options(config_with(backbone_rate=0.0))["norm"]
    assert isinstance(norm(name=None), FrozenBatchNorm)
    assert networks.backbone_options(config_with())["norm"] is BatchNorm


def test_options():
    config = config_with(dtype="bfloat16")
    assert networks.options(config) == {"dtype": jnp.bfloat16}  # the paper's upsampler
    config.model.upsample = "sub_pixel"
    assert networks.options(config)["upsample"] is SubPixel
    config.model.upsample = "transpose"
    with pytest.raises(InputError, match="config.model.upsample is 'transpose'; the choices are"):
        networks.options(config)


def test_unknown_names_list_the_choices():
    with pytest.raises(InputError, match="config.dataset is 'voc'; the choices are camvid, cells"):
        build(dataset="voc")
    with pytest.raises(InputError, match="config.optimizer is 'adam'; the choices are adamw, sgd"):
        training.optimizer(config_with(optimizer="adam"))
    with pytest.raises(InputError, match="Say where your images are: --config.root=FOLDER"):
        semantic.build(config_with(dataset="folder"), seen)


@pytest.mark.parametrize("dropout", [-0.1, 1.0, 1.5, float("nan")])
def test_a_dropout_that_is_no_share_is_refused(dropout):
    config = semantic.get_config(dropout=dropout)
    with pytest.raises(InputError, match=r"--config.model.dropout must be from 0 to below 1, not"):
        networks.options(config)


@pytest.mark.parametrize("name", ["naive_fcn", "pinheiro_recurrent"])
def test_an_upsampler_for_a_network_without_one_is_refused(name):
    module, config = cli.load_config(f"configs/{name}.py", {"model.upsample": "nearest"})
    with pytest.raises(InputError, match=r"upsample is 'nearest', and this network has nothing to"):
        module.build(config, FACTS)


def test_numbers_out_of_range_are_refused():
    with pytest.raises(InputError, match=r"--config.scale must be above 0, not -1"):
        build(scale=-1.0)
    with pytest.raises(InputError, match=r"learning_rate must be at least 0 and finite, not -1"):
        training.optimizer(config_with(learning_rate=-1.0))
    for decay in (-5.0, float("nan")):
        with pytest.raises(InputError, match=f"weight_decay must be .* finite, not {decay}"):
            training.optimizer(config_with(weight_decay=decay))
    with pytest.raises(InputError, match=r"--config.backbone_rate must be at least 0, not -1"):
        training.optimizer(config_with(backbone_rate=-1.0))


@pytest.mark.parametrize(
    ("name", "size"), [("crop", ("a", "b")), ("crop", (5,)), ("eval_size", (1, 2, 3))]
)
def test_sizes_that_are_none_are_refused_by_the_name_of_their_flag(name, size):
    with pytest.raises(InputError, match=f"--config.{name} must be .height, width. in pixels, not"):
        build(**{name: size})


def test_an_input_of_colours_for_grey_images_is_refused():
    with pytest.raises(InputError, match="config.input is 'caffe', and these images have 1 "):
        build(facts=FACTS | {"channels": 1}, input="caffe")


@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_a_rate_for_a_backbone_that_is_not_there_is_refused(rate):
    tx = training.optimizer(config_with(backbone_rate=rate))
    words = f"--config.backbone_rate is {rate} and has no backbone to act on; the network has head"
    with pytest.raises(InputError, match=words):
        tx.init({"head": PARAMS["head"]})


@pytest.mark.parametrize(("width", "words"), [(0, "no input channels"), (-2, "-2 output channels")])
def test_a_network_without_width_is_refused(width, words):
    module, config = cli.load_config("configs/naive_fcn.py", {"model.width": width})
    model = module.build(config, FACTS).model
    with pytest.raises(InputError, match=f"has {words}: give every layer of the network a width"):
        model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), train=False)


@pytest.mark.parametrize(("scale", "size"), [(0.5, (15, 20)), (1.0, (30, 41)), (2.0, (60, 82))])
@pytest.mark.parametrize("channels", [1, 3])
def test_records_are_seen_at_the_scale_and_scored_at_their_own(scale, size, channels):
    generator = np.random.default_rng(0)
    image = generator.integers(0, 255, (30, 41, channels), np.uint8)
    label = np.repeat(np.repeat(generator.integers(0, 2, (6, 9)), 5, 0), 5, 1)[:, :41]
    record = {"image": image, "label": label.astype(np.uint8), "name": "a"}
    facts = FACTS | {"channels": channels}
    task = build(facts=facts, scale=scale, eval_size=(60, 90)).task
    train = task.preprocess(record, generator, True)
    np.testing.assert_array_equal(train["extent"], size)
    assert train["image"].shape == (60, 90, channels)
    assert train["label"].shape == train["mask"].shape == (60, 90)
    assert train["mask"].sum() == np.prod(size)
    assert train["image"][: size[0], : size[1]].mean() == pytest.approx(image.mean(), abs=2)
    whole = task.preprocess(record, generator, False)
    np.testing.assert_array_equal(whole["image"], train["image"])
    np.testing.assert_array_equal(whole["label"][:30, :41], record["label"])
    assert whole["mask"].sum() == 30 * 41
    assert all(n >= m / scale for n, m in zip(whole["label"].shape, (60, 90), strict=True))


@pytest.mark.parametrize("scale", [x / 100 for x in range(5, 100)])
def test_every_scale_leaves_room_for_the_labels_of_the_images_that_fit(scale):
    """CamVid's images are 360 x 480, whose halves and thirds are rounded."""
    facts = FACTS | {"scale": scale, "shrink": False}
    facts["eval_size"] = [round(360 * scale), round(480 * scale)]
    height, width = semantic.label_size(facts)
    assert height >= 360
    assert width >= 480
    if scale == 0.5:
        assert semantic.label_size(facts | {"scale": 1.0}) == (180, 240)


def test_volumes_are_seen_as_they_are():
    for values in ({"scale": 0.5}, {"shrink": True}):
        module, config = cli.load_config("configs/unet3d.py", values)
        with pytest.raises(InputError, match="Volumes are seen as they are"):
            module.build(config, FACTS)


@pytest.mark.parametrize(("shape", "extent"), [((300, 100), (60, 20)), ((40, 50), (40, 50))])
def test_larger_images_are_shrunk_until_they_fit_where_the_set_says_so(shape, extent):
    facts = FACTS | {"shrink": True, "largest": (300, 200)}
    task = build(facts=facts, eval_size=(60, 90), scale=1.0).task
    record = {"image": np.zeros((*shape, 3), np.uint8), "label": np.ones(shape, np.uint8)}
    whole = task.preprocess(record, np.random.default_rng(0), False)
    np.testing.assert_array_equal(whole["extent"], extent)
    np.testing.assert_array_equal(whole["size"], shape)
    assert whole["mask"].shape == (300, 200)
    assert whole["mask"].sum() == np.prod(shape)


@pytest.mark.parametrize("name", [*datasets.DATASETS, "tfds:some_set"])
def test_every_config_takes_every_data_set_of_its_kind(name):
    """It builds from facts alone: no data are there."""
    for config_name in ("segnet", "unet", "deeplab_v3", "unet3d"):
        values = {"dataset": name, "model.width": 4}
        module, config = cli.load_config(f"configs/{config_name}.py", values)
        facts = (
            FACTS
            | {"class_names": ["background", "cell"]}
            | {"channels": 1 if "cells" in name else 3, "largest": [600, 500]}
        )
        solid = name.endswith("3d")
        if solid != (config_name == "unet3d"):
            with pytest.raises(InputError, match=f"config.dataset is '{name}'; the choices are"):
                module.build(config, facts)
            continue
        experiment = module.build(config, facts)
        assert experiment.facts["best"] in experiment.figures
        assert experiment.facts["dimensions"] == 3 if solid else 2


def test_a_presets_norm_keeps_its_constants():
    backbone = efficientnet_b0(norm=TFNorm)
    assert networks.prepared(backbone, config_with()).norm is TFNorm
    still = networks.prepared(backbone, config_with(backbone_rate=0.0)).norm(name=None)
    assert isinstance(still, FrozenBatchNorm)
    assert still.epsilon == 1e-3
    assert networks.frozen(BatchNorm)(name=None).epsilon == 1e-5
    assert networks.prepared(vgg16(), config_with(backbone_rate=0.0)).norm is None


class Seen:
    """Stands for a network and keeps what it is given."""

    num_classes = 2

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
    model = Seen()
    task = build(model, input=kind).task
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


def test_the_loss_and_its_options_are_the_configs():
    batch = {"image": jnp.ones((1, 360, 480, 3)), "label": jnp.zeros((1, 360, 480), jnp.int32)}
    batch["valid"] = jnp.ones(1, bool)

    def loss(**values):
        task = build(**values).task
        return task.loss({}, {}, batch, jax.random.key(0))[0]

    assert loss() == pytest.approx(np.log(2), rel=1e-5)  # of logits that are equal
    # J is 1/2 for the class of all pixels, and 1e-15 over half of them, of a crop, for the other.
    second = np.log(1e-15) - np.log(180 * 240 / 2)
    want = 0.7 * np.log(2) - 0.3 * (np.log(0.5) + second)
    name = "cross_entropy_log_jaccard"
    assert loss(loss=name) == pytest.approx(want, rel=0.02)
    want = 0.9 * np.log(2) - 0.1 * (np.log(0.5) + second)
    options = {"jaccard_weight": 0.1}
    assert loss(loss=name, loss_options=options) == pytest.approx(want, rel=0.02)
    with pytest.raises(InputError, match="of --config.loss=cross_entropy is 'jaccard_weight'; the"):
        loss(loss_options=options)


def test_every_option_of_every_loss_is_a_value():
    values = semantic.get_config().loss_options
    assert {*values} == {"label_smoothing", "jaccard_weight"}
    assert semantic.options_of(semantic.LOSSES["cross_entropy"]) == {"label_smoothing": 0.0}
