"""Every config: it builds, its step traces once, every parameter moves, its figures are finite."""

import itertools
import json
import re
from pathlib import Path

import chex
import cv2
import jax
import numpy as np
import pytest

from segjax import cli, parallel, train
from segjax.data.camvid import CLASS_NAMES as CAMVID_CLASSES

ROOT = Path(__file__).parent.parent.parent
NAMES = sorted(path.stem for path in (ROOT / "configs").glob("[!_]*.py"))

# What makes each config small; the data it needs are made below.
SMALL = {
    "unet": {"model.width": 2, "model.depth": 2, "batch_size": 2},
    "unet_isbi": {"model.width": 2, "crop": (64, 64), "batch_size": 2},
    "unet_paper": {},
    "unet3d": {"model.width": 2, "model.depth": 1, "volume": (24, 24, 32), "crop": (8, 16, 16)},
    "colourisation": {"model.width": 2, "side": 36, "crop": (32, 48), "batch_size": 2}
    | {"eval_size": (32, 48)},
    "inpainting": {"model.width": 2, "crop": (32, 48), "eval_size": (48, 48), "batch_size": 2},
}
ZOO = {  # on CamVid
    "deconvnet": {},
    "deeplab_v1": {"model.width": 2, "model.hidden": 8},
    "deeplab_v2": {"model.width": 4, "model.backbone": "resnet50"},
    "deeplab_v3": {"model.width": 4},
    "deeplab_v3plus": {"model.width": 4},
    "encoder_unet": {"model.width": 1, "model.backbone": "resnet18"},
    "farabet_multiscale": {"model.width": 2, "model.hidden": 8},
    "fcn": {"model.width": 2, "model.hidden": 8},
    "fcn_alexnet": {"model.width": 6, "model.hidden": 8},
    "fcn_resnet": {"model.width": 4},
    "hourglass": {"model.width": 2, "model.depth": 2},
    "hrnet": {"model.width": 2, "model.modules": (1, 1, 1), "model.units": 1},
    "linknet": {"model.width": 4},
    "lraspp": {},
    "multi_input_unet": {"model.width": 2},
    "naive_fcn": {"model.width": 2, "model.depth": 2},
    "pinheiro_recurrent": {"model.maps": (2, 4)},
    "pspnet": {"model.width": 4},
    "refinenet": {"model.width": 4},
    "segnet": {"model.width": 2},
    "semantic_fpn": {"model.width": 4, "model.backbone": "resnet18"},
    "ternausnet": {},
    "finetune": {"model.width": 1, "init_from": "resnet34.pth:backbone"},
}
SMALL |= {name: {"scale": 0.1, "batch_size": 2, **values} for name, values in ZOO.items()}
# The size of the first is the paper's. The zoo's networks take their steps in
# tests/models/test_table.py, so a few of them suffice here.
TRACED_ONLY = {"unet_paper", *ZOO} - {"fcn", "hourglass", "multi_input_unet", "segnet"}


def make_isbi(root: Path):
    generator = np.random.default_rng(0)
    for i in range(30):
        label = cv2.resize(generator.integers(0, 2, (16, 16)).astype(np.uint8) * 255, (512, 512))
        write(root / f"train/label/{i:02d}.png", np.where(label > 127, 255, 0))
        write(root / f"train/image/{i:02d}.png", label // 2 + 40)


def make_camvid(root: Path, count: int = 2):
    generator = np.random.default_rng(0)
    for split, i in itertools.product(("train", "val"), range(count)):
        label = generator.integers(0, len(CAMVID_CLASSES) + 1, (36, 48)).astype(np.uint8)
        label = cv2.resize(label, (480, 360), interpolation=cv2.INTER_NEAREST)
        write(root / f"{split}/label/{i}.png", label)
        write(root / f"{split}/image/{i}.png", np.stack([label * 20] * 3, -1))


def make_photographs(root: Path):
    generator = np.random.default_rng(0)
    for i in range(10):
        write(root / f"album{i % 2}/{i}.png", generator.integers(0, 256, (60, 50 + i, 3)))


def write(path: Path, array: np.ndarray):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), array.astype(np.uint8))


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, dict[str, str]]:
    root = tmp_path_factory.mktemp("files")
    make_isbi(root / "isbi")
    make_camvid(root / "camvid")
    make_photographs(root / "photographs")
    isbi = {"manual_dir": str(root / "isbi")}
    return {name: {"manual_dir": str(root / "camvid")} for name in ZOO} | {
        "unet": {},
        "unet3d": {},
        "unet_isbi": isbi,
        "unet_paper": isbi,
        "colourisation": {"manual_dir": str(root / "camvid")},
        "inpainting": {"root": str(root / "photographs")},
    }


def test_every_config_is_here():
    assert set(NAMES) == set(SMALL)


def test_every_config_that_is_written_of_exists():
    places = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")]
    places += [
        p for room in ("segjax", "configs", "experiments") for p in ROOT.glob(f"{room}/**/*.py")
    ]
    for place in places:
        named = {*re.findall(r"configs/(\w+)\.py", place.read_text())}
        assert named <= {*NAMES}, f"{place.name} names {named - {*NAMES}}"


@pytest.mark.parametrize("name", NAMES)
def test_config(name, files):
    module, config = cli.load_config(f"configs/{name}.py", {**SMALL[name], **files[name]})
    assert "python -m segjax.main --config=configs/" in (module.__doc__ or "")
    experiment = module.build(config)
    assert json.loads(json.dumps(experiment.facts)).keys() >= {"channels", "best"}
    again = module.build(config, json.loads(json.dumps(experiment.facts)))  # opens no data
    assert json.dumps(again.facts) == json.dumps(experiment.facts)
    mesh = parallel.data_mesh(1)
    batches = experiment.train(0)
    batch = next(batches)
    assert len(batch["image"]) == config.batch_size
    step = train.jit_train_step(experiment, mesh)
    if name in TRACED_ONLY:
        state = train.abstract_state(experiment, batch, mesh)
        after, scalars = jax.eval_shape(step, state, batch, np.int32(0))
        chex.assert_trees_all_equal_shapes_and_dtypes(after, state)
        assert scalars["loss"].shape == ()
        return

    chex.clear_trace_counter()
    loss = chex.assert_max_traces(experiment.task.loss, n=1)
    step = train.jit_train_step(experiment._replace(task=experiment.task._replace(loss=loss)), mesh)
    state = parallel.replicate(train.init_state(experiment, batch, jax.random.key(0)), mesh)
    before = jax.device_get(state.params)
    for i, each in enumerate([batch, *itertools.islice(batches, 2)]):
        state, scalars = step(state, parallel.shard_batch(each, mesh), np.int32(i))
        assert np.isfinite(scalars["loss"])
    for path, x in jax.tree_util.tree_leaves_with_path(before):
        new = state.params
        for key in path:
            new = new[key.key]
        assert not np.array_equal(x, new), f"{jax.tree_util.keystr(path)} did not move"

    eval_step = train.jit_eval_step(experiment.task, mesh)
    for split, make_batches in experiment.evals.items():
        one = itertools.islice(make_batches(), 1)
        figures, panels = train.evaluate(
            experiment.task, eval_step, state.eval_variables, one, mesh
        )
        assert tuple(figures) == experiment.figures
        assert np.isfinite(figures[experiment.facts["best"]]), split
        assert all(x.dtype == np.uint8 and x.ndim == 4 for x in panels.values())
