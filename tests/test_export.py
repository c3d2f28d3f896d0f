"""Runs handed on: the program in a fresh process without segjax, weights by name, the card."""

import functools
import json
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export as jax_export
from miniature import SOURCE, train_once
from models.tiny import TINY
from safetensors import safe_open

from segjax import cli, export, runs, workdir
from segjax.errors import InputError
from segjax.recipes import semantic
from segjax.weights.input import INPUTS, name_of
from segjax.weights.read import read

FAST = {"xla_backend_optimization_level": 0}  # compiled once, run once


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    return train_once(tmp_path_factory.getbasetemp() / "miniature")


def one_of_each() -> list[str]:
    """The first row for each class of model and of backbone."""
    rows = {}
    for name, tiny in TINY.items():
        model = tiny.make()
        rows.setdefault((type(model), type(getattr(model, "backbone", None))), name)
    return list(rows.values())


@pytest.mark.parametrize("name", one_of_each())
def test_every_architecture_survives_the_round_trip(name):
    tiny = TINY[name]
    model = tiny.make()
    image = np.random.default_rng(0).normal(size=(2, *tiny.input)).astype(np.float32)
    shapes = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), image)
    generator = np.random.default_rng(1)  # positive weights, so that ReLUs let all through
    variables = jax.tree.map(lambda x: np.float32(generator.uniform(0.02, 0.2, x.shape)), shapes)

    def logits(variables, image):
        return model.apply(variables, image, train=False)["logits"]

    program = jax_export.deserialize(
        bytearray(export.export_stablehlo(logits, variables, tiny.input))
    )
    assert program.platforms == ("cpu", "cuda", "tpu")
    assert str(program.in_avals[0].shape[0]) == "b"
    assert str(program.out_avals[0].shape[0]) == "b"
    want = jax.jit(logits, compiler_options=FAST)(variables, image)
    got = jax.jit(program.call, compiler_options=FAST)(image)
    np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())


SCRIPT = """
import sys, jax, numpy as np
from jax import export
blob, image, out = sys.argv[1:]
program = export.deserialize(bytearray(open(blob, "rb").read()))
result = {f"{name}{n}": x for n in (1, 3) for name, x in program.call(np.load(image)[:n]).items()}
assert "segjax" not in sys.modules and "flax" not in sys.modules
np.savez(out, **result)
"""


def test_the_program_runs_in_a_fresh_process_as_the_run_predicts(trained, tmp_path):
    out = tmp_path / "out"
    assert export.run(trained, out, size=(40, 50)) == 0
    image = np.random.default_rng(0).random((3, 40, 50, 1), np.float32)
    np.save(tmp_path / "image.npy", image)
    arguments = [out / "model.stablehlo", tmp_path / "image.npy", tmp_path / "result.npz"]
    command = [sys.executable, "-c", SCRIPT, *map(str, arguments)]
    subprocess.run(command, check=True, timeout=120, cwd=tmp_path)
    result = np.load(tmp_path / "result.npz")
    run = runs.load(trained)
    want = jax.jit(export.serving(run.experiment))(run.variables, image)
    assert result["label3"].dtype == np.int32
    assert result["prob1"].shape == (1, 40, 50, 2)
    np.testing.assert_allclose(result["prob3"], want["prob"], atol=1e-5)
    np.testing.assert_allclose(result["prob1"], want["prob"][:1], atol=1e-5)
    agree = result["label3"] == np.asarray(want["label"])
    assert agree.mean() > 0.999  # but for ties


def test_weights_by_path_are_those_of_the_run(trained, tmp_path):
    assert export.run(trained, tmp_path, format="safetensors", step=4) == 0
    arrays = read(tmp_path / "model.safetensors")
    variables = runs.load(trained, 4).variables
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    assert len(arrays) == len(leaves)
    assert "params/down0/conv1/kernel" in arrays
    assert "batch_stats/bottom/norm1/mean" in arrays
    for path, x in leaves:
        name = "/".join(key.key for key in path)
        np.testing.assert_array_equal(arrays[name], x)
        assert arrays[name].shape == x.shape


def test_weights_by_path_convert_to_themselves(trained, tmp_path):
    export.run(trained, tmp_path, format="safetensors", step=4)
    file, out = tmp_path / "model.safetensors", tmp_path / "converted.safetensors"
    options = [f"--config={SOURCE}", "--classes=2", "--channels=1", f"--output={out}"]
    command = [sys.executable, "-m", "segjax.weights", "convert", str(file), *options]
    end = subprocess.run(command, check=True, timeout=120, capture_output=True, text=True)
    assert "is of the family segjax" in end.stdout
    arrays, again = read(file), read(out)
    assert arrays.keys() == again.keys()
    assert all(np.array_equal(again[name], x) for name, x in arrays.items())


def test_arrays_keep_their_bits_type_and_order(tmp_path):
    tree = {
        "params": {
            "bfloat16": jnp.arange(6, dtype=jnp.bfloat16).reshape(2, 3),
            "turned": np.arange(6, dtype=np.float32).reshape(2, 3).T,
            "scalar": np.float32(2),
        }
    }
    (tmp_path / "x").write_bytes(export.save(export.arrays_of(tree)))
    for name, x in read(tmp_path / "x").items():
        want = tree["params"][name.removeprefix("params/")]
        assert x.dtype == want.dtype
        assert x.shape == want.shape
        np.testing.assert_array_equal(x, want)


def test_the_card_tells_what_the_network_is(trained, tmp_path):
    export.run(trained, tmp_path, format="safetensors", step=2)
    card = (tmp_path / "MODEL_CARD.md").read_text()
    logged = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    miou = next(x["miou"] for x in logged if x["split"] == "val" and x["step"] == 2)
    starts = (trained / "runs.jsonl").read_text().splitlines()
    for words in (
        "# UNet\n",
        "| config | tests/miniature.py |",
        f"| commit | {json.loads(starts[-1])['git_commit'] or 'unknown'}",
        "| step | 2 |",
        "| legal sides of the network's input | 256, 258, 260, 262, 264, ... |",
        "| normalisation | (image - 0.5) / 1.0 |",
        "| classes | 0 background, 1 cell |",
        f"| val | miou | {miou:.4f} |",
        '"learning_rate": 0.01',
    ):
        assert words in card
    parameters = sum(x.size for x in jax.tree.leaves(runs.load(trained).variables["params"]))
    assert f"UNet, {parameters:,} parameters" in card


class Seen:
    """Stands for a network and keeps what it is given."""

    num_classes = 2

    def apply(self, variables, image, *, train):
        self.image = np.asarray(image)
        return {"logits": image[..., :2]}

    def input_size(self, output):
        return output

    output_size = input_size


@pytest.mark.parametrize(("name", "channels"), [*((name, 3) for name in INPUTS), (None, 1)])
def test_the_normalisation_of_the_card_is_what_the_network_sees(trained, name, channels):
    facts = {"class_names": ["a", "b"], "channels": channels}
    _, config = cli.load_config("configs/unet.py", {"input": name})
    model = Seen()
    facts = semantic.build(config, lambda *_: model, facts).facts
    saved = json.loads(json.dumps(facts))
    experiment = semantic.build(config, lambda *_: model, saved)  # as a run is opened again
    run = runs.load(trained)._replace(experiment=experiment)
    card = export.model_card(run, "safetensors", (8, 8))
    said = next(line for line in card.splitlines() if "normalisation |" in line).split("|")[2]
    image = np.random.default_rng(0).random((1, 6, 7, channels), np.float32)
    experiment.predictor.apply({}, image)
    want = eval(said, {"image": image})
    np.testing.assert_allclose(model.image, want, rtol=1e-5, atol=1e-4)
    assert name_of(saved["input"]) == name


def test_weights_say_which_input_they_want(trained, tmp_path, monkeypatch):
    run = runs.load(trained)
    for name, values in {**INPUTS, None: run.experiment.facts["input"]}.items():
        input = values if name is None else values._asdict()
        facts = {**run.experiment.facts, "input": json.loads(json.dumps(input))}
        changed = run._replace(experiment=run.experiment._replace(facts=facts))
        monkeypatch.setattr(runs, "load", lambda *_, run=changed, **__: run)
        export.run(trained, tmp_path, format="safetensors", overwrite=True)
        with safe_open(tmp_path / "model.safetensors", "np") as file:
            about = file.metadata()
        assert about.get("input") == name
        assert (about["config"], about["step"]) == (SOURCE, str(run.step))


def test_lines_that_were_cut_off_and_modes_of_files(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    for name in ("metrics.jsonl", "runs.jsonl"):
        with open(tmp_path / "run" / name, "a") as file:
            file.write('{"step": 2, "spl')
    export.run(tmp_path / "run", tmp_path / "out", format="safetensors", step=2)
    assert "| val | miou |" in (tmp_path / "out" / "MODEL_CARD.md").read_text()
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()}
    (tmp_path / "like_any_other").touch()
    assert modes == {(tmp_path / "like_any_other").stat().st_mode & 0o777}
    workdir.append_line(tmp_path / "run" / "metrics.jsonl", {"step": 3})
    assert workdir.read_lines(tmp_path / "run" / "metrics.jsonl")[-1] == {"step": 3}
    (tmp_path / "run" / "runs.jsonl").unlink()
    (tmp_path / "run" / "runs.jsonl").mkdir()
    with pytest.raises(InputError, match=r"runs.jsonl cannot be read: Is a directory"):
        export.run(tmp_path / "run", tmp_path / "again", format="safetensors")


def test_files_are_not_replaced_unless_asked(trained, tmp_path):
    (tmp_path / "MODEL_CARD.md").write_text("mine")
    with pytest.raises(InputError, match=r"already holds MODEL_CARD.md: .*--overwrite"):
        export.run(trained, tmp_path, format="safetensors")
    assert not (tmp_path / "model.safetensors").exists()
    assert export.run(trained, tmp_path, format="safetensors", overwrite=True) == 0
    assert "UNet" in (tmp_path / "MODEL_CARD.md").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"model.safetensors", "MODEL_CARD.md"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"path": "none"}, "none is not the workdir of a run"),
        ({"step": 77}, "no checkpoint of step 77 in .*, but of 2, 4"),
        ({"format": "onnx"}, "--format is 'onnx'; the choices are stablehlo, safetensors"),
        ({"output": "file/out"}, "file/out cannot be written .*another --output"),
    ],
)
def test_bad_requests_get_one_sentence(trained, tmp_path, options, words):
    (tmp_path / "file").touch()
    given = {"path": trained, "output": "out"} | options
    given |= {name: tmp_path / given[name] for name in ("path", "output")}
    with pytest.raises(InputError, match=words):
        export.run(**given)


@pytest.mark.parametrize("facts", [{"class_names": []}, {"dimensions": 3}])
def test_a_run_that_draws_images_or_labels_volumes_is_refused(
    trained, tmp_path, monkeypatch, facts
):
    run = runs.load(trained)
    experiment = run.experiment._replace(facts={**run.experiment.facts, **facts})
    other = run._replace(experiment=experiment)
    monkeypatch.setattr(runs, "load", lambda *_, **__: other)
    with pytest.raises(InputError, match=r"\(tests/miniature.py\) does not label images"):
        export.run(trained, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"upsample": "transposed"}, "is of another model"),
        ({"batch_size": 0}, "config.batch_size must be at least 1, not 0"),
    ],
)
def test_values_that_are_not_those_of_the_weights_are_refused(trained, tmp_path, values, words):
    shutil.copytree(trained, tmp_path / "run")
    saved = json.loads((trained / "config.json").read_text())
    saved["values"] |= values
    (tmp_path / "run" / "config.json").write_text(json.dumps(saved))
    with pytest.raises(InputError, match=words):
        runs.load(tmp_path / "run")


@pytest.mark.parametrize("damage", [{"split": ["val"]}, {"miou": "0.7"}, {"miou": {}}])
def test_figures_of_wrong_types_are_left_out(trained, tmp_path, damage):
    shutil.copytree(trained, tmp_path / "run")
    run = runs.load(tmp_path / "run")
    want = export.metrics(trained, run.step)
    assert want
    entry = {"step": run.step, "split": "val", "miou": 0.5} | damage
    workdir.append_line(tmp_path / "run" / "metrics.jsonl", entry)
    workdir.append_line(tmp_path / "run" / "runs.jsonl", {"git_commit": ["a"]})
    assert export.run(tmp_path / "run", tmp_path / "out", format="safetensors") == 0
    assert export.metrics(tmp_path / "run", run.step) == want
