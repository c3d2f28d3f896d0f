"""Starting from weights that were trained before."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from miniature import SOURCE, train_once
from safetensors.numpy import save_file

from segjax import cli, transfer
from segjax.checkpoint import Checkpoints
from segjax.core import Task
from segjax.errors import InputError
from segjax.models.unet import UNet
from segjax.weights.input import INPUTS
from segjax.weights.keymap import flatten


def unet_task(num_classes=2):
    model = UNet(num_classes, width=2, depth=1, padding="same", dropout=0.0)
    image = jnp.zeros((1, 8, 8, 1))
    init = lambda key, batch: model.init(key, image, train=False)
    return Task(*[None] * 7)._replace(init=init)


def leaves(variables):
    return flatten(jax.tree.map(np.asarray, dict(variables)))


def start(task, source, classes=2, seed=1):
    said = []
    task = transfer.initialised_from(task, source, classes, said.append)
    return leaves(task.init(jax.random.key(seed), None)), said


@pytest.fixture
def file(tmp_path):
    saved = leaves(unet_task().init(jax.random.key(0), None))
    save_file(saved, tmp_path / "unet.safetensors")
    return tmp_path / "unet.safetensors", saved


def test_all_of_a_model(file):
    path, saved = file
    found, said = start(unet_task(), str(path))
    assert found.keys() == saved.keys()
    assert all(np.array_equal(found[name], saved[name]) for name in saved)
    assert said == [f"Weights of the model from {path} (segjax)."]


def test_nothing_by_default():
    task = unet_task()
    assert transfer.initialised_from(task, None, 2) is task


def test_parts_alone(file):
    path, saved = file
    found, _ = start(unet_task(), f"{path}:down0,bottom")
    fresh, _ = start(unet_task(), None)
    for name, x in found.items():
        parts = "down0" in name or "bottom" in name
        assert np.array_equal(x, (saved if parts else fresh)[name])
    assert not np.array_equal(saved["params/head/kernel"], fresh["params/head/kernel"])


def test_other_classes_start_anew_and_are_named(file):
    path, saved = file
    found, said = start(unet_task(5), str(path), classes=5)
    fresh, _ = start(unet_task(5), None)
    assert np.array_equal(found["params/head/kernel"], fresh["params/head/kernel"])
    assert np.array_equal(found["params/up0/kernel"], saved["params/up0/kernel"])
    assert said[1:] == [
        "  for other classes, starts anew: params/head/bias",
        "  for other classes, starts anew: params/head/kernel",
    ] or said[1:] == [
        "  for other classes, starts anew: params/head/kernel",
        "  for other classes, starts anew: params/head/bias",
    ]


def test_a_run(tmp_path_factory):
    workdir = train_once(tmp_path_factory.getbasetemp() / "miniature")
    module, config = cli.load_config(SOURCE)
    task = module.build(config).task
    batch = {"image": jnp.zeros((1, 32, 32, 1)), "label": jnp.zeros((1, 32, 32), jnp.int32)}
    task = transfer.initialised_from(task, str(workdir), 2, lambda _: None)
    found = leaves(task.init(jax.random.key(3), batch))
    _, best = Checkpoints(workdir / "checkpoints", config.best).restore_variables()
    for name, x in leaves(best).items():
        np.testing.assert_array_equal(found[name], x)


def test_shapes_need_no_file():
    # What a resumed run and the checks before a run ask for.
    task = transfer.initialised_from(unet_task(), "gone.pth", 2)
    shapes = jax.eval_shape(task.init, jax.random.key(0), None)
    assert shapes["params"]["head"]["kernel"].shape == (1, 1, 2, 2)
    with pytest.raises(InputError, match=r"gone.pth does not exist: give a checkpoint file or"):
        task.init(jax.random.key(0), None)


def test_a_folder_of_shards(file, tmp_path):
    _, saved = file
    folder = tmp_path / "shards"
    folder.mkdir()
    (folder / "config.json").write_text("{}")  # transformers'
    for i in (0, 1):
        part = {name: saved[name] for name in [*saved][i::2]}
        save_file(part, folder / f"model-0000{i + 1}-of-00002.safetensors")
    found, said = start(unet_task(), str(folder))
    assert all(np.array_equal(found[name], saved[name]) for name in saved)
    assert said == [f"Weights of the model from {folder} (segjax)."]


def test_what_does_not_fit_names_the_file_and_the_family(file):
    path, _ = file
    other = unet_task()._replace(
        init=lambda key, batch: UNet(2, width=4, depth=1, padding="same").init(
            key, jnp.zeros((1, 8, 8, 1)), train=False
        )
    )
    with pytest.raises(InputError, match=r"unet.safetensors, read as segjax: .* places"):
        start(other, str(path))


def test_a_source_is_split_at_its_colon():
    assert transfer.split("a/b.pth") == ("a/b.pth", [""])
    assert transfer.split("a/b.pth:backbone,head") == ("a/b.pth", ["backbone", "head"])
    for host in ("https://host", "https://host:8080"):
        address = f"{host}/files/net-0123abcd.pth"
        assert transfer.split(address) == (address, [""])
        assert transfer.split(f"{address}:backbone/conv1,head") == (
            address,
            ["backbone/conv1", "head"],
        )


def test_what_the_weights_have_learned_to_see_must_be_what_they_are_shown(tmp_path, monkeypatch):
    """Caffe's networks see BGR in [0, 255], and say so to nobody."""
    save_file({"conv1_1.weight": np.ones((4, 3, 3, 3), np.float32)}, tmp_path / "fcn")
    init = lambda key, batch: {"params": {"conv1_1": {"kernel": np.zeros((3, 3, 3, 4))}}}
    task = Task(*[None] * 7)._replace(init=init)
    monkeypatch.setattr(transfer, "recognise", lambda *_: "authors FCN")
    start = lambda input: transfer.initialised_from(
        task, str(tmp_path / "fcn"), 2, lambda _: None, input=input
    ).init(None, None)
    with pytest.raises(InputError, match="authors FCN, .* --config.input=caffe .* of imagenet"):
        start("imagenet")
    for input in ("caffe", None):
        assert start(input)["params"]["conv1_1"]["kernel"].sum() == 108


def test_a_run_knows_what_it_was_shown(tmp_path):
    (tmp_path / "config.json").write_text(
        '{"config_file": "x.py", "values": {"input": "caffe"}, "facts": {"channels": 3}}'
    )
    assert transfer.input_of(str(tmp_path)) == "caffe"
    facts = {"channels": 3, "input": INPUTS["inception"]._asdict()}
    saved = {"config_file": "x.py", "values": {"input": None}, "facts": facts}
    (tmp_path / "config.json").write_text(json.dumps(saved))
    assert transfer.input_of(str(tmp_path)) == "inception"  # which was the network's own
    assert transfer.input_of(str(tmp_path / "config.json")) is None
    save_file({"a": np.ones(1)}, tmp_path / "converted", {"input": "caffe"})
    assert transfer.input_of(str(tmp_path / "converted")) == "caffe"
    save_file({"a": np.ones(1)}, tmp_path / "other")
    assert transfer.input_of(str(tmp_path / "other")) is None


def test_other_addresses_are_refused():
    with pytest.raises(InputError, match="http://host/x.pth cannot be fetched: give an https://"):
        transfer.split("http://host/x.pth")


def test_a_part_that_is_not_there_is_named(file):
    path, _ = file
    with pytest.raises(InputError, match="The model has no part .dwon0"):
        start(unet_task(), f"{path}:dwon0")


@pytest.mark.parametrize("source", ["", ":backbone"])
def test_a_source_without_a_file_is_named(source):
    with pytest.raises(InputError, match=f"--config.init_from is '{source}': give a checkpoint"):
        start(unet_task(), source)
