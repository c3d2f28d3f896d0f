"""Some architectures learn four images by heart; `experiments/overfit.py` has all of them do it."""

from pathlib import Path

import numpy as np
import pytest
from models.tiny import TINY

from segjax.models.hed import HED
from segjax.models.table import MODELS

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.mark.parametrize("name", ["unet", "hourglass", "segnet", "fcn8s"])
def test_four_images_are_learnt(name, monkeypatch):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    from overfit import overfit

    # Discs of two classes on a background, in noise: 4 of 32 x 32 pixels.
    generator = np.random.default_rng(0)
    rows, columns = np.ogrid[:32, :32]
    label = np.zeros((4, 32, 32), np.int32)
    for image in label:
        for kind in (1, 2, 1, 2):
            row, column, radius = generator.uniform((4, 4, 4), (28, 28, 9))
            image[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = kind
    colours = np.array([[0, 0, 0], [1, 0.2, -0.5], [-0.5, 0.2, 1]])
    image = colours[label] + 0.3 * generator.normal(size=(4, 32, 32, 3))
    first, last, right = overfit(TINY[name].make(), image.astype(np.float32), label, 120, 1e-2)
    most = max(np.mean(label == kind) for kind in range(3))
    assert most < 0.7
    assert last < 0.3 * first
    assert right > 0.93


def test_no_architecture_is_left_out(monkeypatch):
    """The studies have a network of every class in the table; HED finds edges, not regions."""
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    monkeypatch.chdir(EXPERIMENTS.parent)
    from overfit import network
    from zoo import ZOO

    studied = {type(network(name)) for name in [*ZOO, "unet3d"]}
    assert {type(entry.make()) for entry in MODELS.values()} - studied == {HED}
