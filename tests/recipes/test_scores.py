"""What evaluation has scored is what prediction writes: a count of the files gives the figures."""

import numpy as np
import pytest
from every_config.test_configs import make_camvid
from PIL import Image

from segjax import cli, main, predict, workdir

CAMVID = {"dataset": "camvid", "manual_dir": "camvid", "data_dir": "data", "batch_size": 8}
UNET = {"model.width": 4, "model.depth": 1, "scale": 0.1}
ODD = {"model.width": 4, "model.depth": 2, "scale": 0.27}  # 97 x 130, which the network fills up


@pytest.mark.parametrize(("name", "values"), [("unet", UNET), ("unet", ODD)])
def test_the_files_that_are_written_give_the_figures_of_the_run(
    tmp_path, monkeypatch, name, values
):
    make_camvid(tmp_path / "camvid", 8)
    monkeypatch.chdir(tmp_path)
    every = {"train.steps": 40, "train.eval_every": 40, "learning_rate": 0.02}
    _, config = cli.load_config(f"configs/{name}.py", CAMVID | values | every)
    assert main.run(f"configs/{name}.py", config, tmp_path / "run") == 0
    assert predict.run(tmp_path / "run", "camvid/val/image", tmp_path / "out") == 0
    matrix = np.zeros((11, 11), int)
    for path in sorted((tmp_path / "camvid" / "val" / "label").glob("*.png")):
        truth = np.asarray(Image.open(path))
        found = np.asarray(Image.open(tmp_path / "out" / f"{path.stem}_label.png"))
        assert found.shape == truth.shape == (360, 480)
        counted = truth < 11  # 11 is void
        np.add.at(matrix, (truth[counted], found[counted]), 1)
    union = matrix.sum(0) + matrix.sum(1) - np.diag(matrix)
    iou = np.diag(matrix)[union > 0] / union[union > 0]
    lines = workdir.read_lines(tmp_path / "run" / "metrics.jsonl")
    logged = [line for line in lines if line["split"] == "val"][-1]
    assert len({*np.unique(np.argmax(matrix, 1))}) > 1  # not one class alone
    assert logged["miou"] == pytest.approx(iou.mean(), abs=1e-6)
    assert logged["pixel_accuracy"] == pytest.approx(np.trace(matrix) / matrix.sum(), abs=1e-6)
