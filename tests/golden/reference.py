"""Golden files of reference networks, with weights from their names (torch only; no segjax)."""

import json
from pathlib import Path

import numpy as np
import torch
from weights import deterministic


def save(
    name: str,
    model: torch.nn.Module,
    size: tuple[int, int],
    *,
    channels: int = 3,
    batch: int = 1,
    contrast: float = 1.0,
) -> None:
    """Writes NAME.npz: the names and shapes of the state, an image and what the model makes of it.

    The weights themselves are not stored: the test makes them again from the names.
    `contrast` is the standard deviation of the image.
    """
    state = {
        key: torch.from_numpy(deterministic(key, tuple(x.shape)))
        for key, x in model.state_dict().items()
        if x.is_floating_point()
    }
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(key.endswith("num_batches_tracked") for key in missing), missing
    image = contrast * np.random.default_rng(1).normal(size=(batch, channels, *size))
    image = image.astype(np.float32)
    with torch.no_grad():
        out = model.eval()(torch.from_numpy(image))
    outputs = out if isinstance(out, dict) else {"out": out}
    arrays = {f"out/{key}": channels_last(x.numpy()) for key, x in outputs.items()}
    shapes = {key: list(x.shape) for key, x in model.state_dict().items()}
    np.savez_compressed(
        Path(__file__).parent / f"{name}.npz",
        image=channels_last(image),
        shapes=np.array(json.dumps(shapes)),
        **arrays,
    )


def channels_last(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(x, 1, -1)) if x.ndim > 2 else x
