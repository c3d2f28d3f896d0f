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
    grain: float = 0.0,
    double: bool = False,
) -> None:
    """Writes NAME.npz: the names and shapes of the state, an image and what the model makes of it.

    The weights themselves are not stored: the test makes them again from the names.
    `contrast` is the standard deviation of the image, whose values are multiples of `grain`: those
    of a large one take less room. `double` computes in float64, where float32 would be the error.
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
    image = (np.round(image / grain) * grain if grain else image).astype(np.float32)
    with torch.no_grad():
        dtype = torch.float64 if double else torch.float32
        out = model.eval().to(dtype)(torch.from_numpy(image).to(dtype))
    outputs = out if isinstance(out, dict) else {"out": out}
    arrays = {f"out/{key}": channels_last(x.float().numpy()) for key, x in outputs.items()}
    shapes = {key: list(x.shape) for key, x in model.state_dict().items()}
    np.savez_compressed(
        Path(__file__).parent / f"{name}.npz",
        image=channels_last(image),
        shapes=np.array(json.dumps(shapes)),
        **arrays,
    )


def channels_last(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(x, 1, -1)) if x.ndim > 2 else x
