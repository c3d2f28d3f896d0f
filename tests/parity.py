"""Whether a model equals the reference a golden file was made with, its weights imported."""

import functools
import json
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
from flax import linen as nn
from golden.weights import deterministic

from segjax.weights.keymap import KeyMap, fill

GOLDEN = Path(__file__).parent / "golden"


def state_dict(golden: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The reference's state dict, made again from the names in the golden file."""
    shapes = json.loads(str(golden["shapes"]))
    return {
        name: np.zeros(()) if name.endswith("num_batches_tracked") else deterministic(name, shape)
        for name, shape in shapes.items()
    }


def check(
    name: str,
    model: nn.Module,
    keymap: KeyMap,
    outputs: Mapping[str, str] | None = None,
    rtol: float = 1e-4,
) -> None:
    """Imports the golden file's weights into the model and compares `outputs`, ours -> theirs.

    They are {'logits': 'out'} unless given: 'out' is what a model that returns one array returns.

    The difference must be below `rtol` of the largest value.
    """
    golden = np.load(GOLDEN / f"{name}.npz")
    image = golden["image"]
    init = functools.partial(model.init, train=False)
    variables = jax.eval_shape(init, jax.random.key(0), image)
    variables, kept = fill(variables, state_dict(golden), keymap)
    assert not kept
    out = jax.jit(functools.partial(model.apply, train=False))(variables, image)
    for ours, theirs in (outputs or {"logits": "out"}).items():
        wanted = golden[f"out/{theirs}"]
        assert out[ours].shape == wanted.shape
        error = np.abs(out[ours] - wanted).max() / np.abs(wanted).max()
        assert error < rtol, f"{ours} differs by {error:.2g} of its largest value"


class Bright(nn.Module):
    """A model of images a hundred times brighter, which local response normalisation changes."""

    model: nn.Module

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        return self.model(100 * image, train=train)
