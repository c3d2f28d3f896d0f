"""Writes torch_*.pt, checkpoints of every kind that torch (2.13) saves, and torch_values.npz.

Also float8.safetensors, by safetensors' module for torch.

python tests/golden/torch_files.py

The values are what torch itself finds in the files, by torch.load; bfloat16 as float32.
"""

import os
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch.optim.swa_utils import AveragedModel

FOLDER = Path(__file__).parent
torch.manual_seed(0)


class Malicious:
    def __reduce__(self):
        return os.system, ("touch segjax_was_here",)


def views() -> OrderedDict:
    """Tensors of every type and layout; several share a storage."""
    base = torch.randn(4, 6)
    return OrderedDict(
        {
            "contiguous": base,
            "transposed": base.T,
            "part": base[1:3, ::2],
            "column": base[:, 4],
            "expanded": torch.randn(3, 1).expand(3, 4),
            "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
            "scalar": torch.tensor(7.5),
            "empty": torch.zeros(0, 3),
            "half": torch.randn(2, 3).half(),
            "bfloat16": torch.randn(3, 2).bfloat16().T,
            "double": torch.randn(2).double(),
            "long": torch.arange(-2, 4).reshape(3, 2)[1:],
            "int": torch.arange(3, dtype=torch.int32),
            "short": torch.arange(3, dtype=torch.int16),
            "int8": torch.tensor([-3, 4], dtype=torch.int8),
            "uint8": torch.tensor([[200, 1]], dtype=torch.uint8),
            "bool": torch.tensor([True, False, True]),
            "complex": torch.complex(torch.randn(2), torch.randn(2)),
            "parameter": torch.nn.Parameter(torch.randn(2, 2)),
        }
    )


def training() -> dict:
    """A checkpoint as a training loop saves it: batch norm, an optimiser, numbers beside."""
    inner = torch.nn.Sequential(torch.nn.Conv2d(2, 3, (3, 1)), torch.nn.BatchNorm2d(3))
    model = torch.nn.DataParallel(inner)  # 'module.' before every name
    optimizer = torch.optim.Adam(model.parameters())
    inner(torch.randn(1, 2, 5, 5)).sum().backward()
    optimizer.step()
    return {
        "epoch": 12,
        "best": 0.5,
        "dtype": torch.bfloat16,
        "size": torch.Size([3, 4]),
        "classes": ["a", "b"],
        "state_dict": model.state_dict(),
        "optimizer": optimizer.state_dict(),
    }


def network() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Conv2d(2, 3, (3, 1)), torch.nn.BatchNorm2d(3))


def averaged() -> dict:
    """Of torch.optim.swa_utils, which counts how many it averages: {'n_averaged', 'module.0'}."""
    model = network()
    average = AveragedModel(model)
    average.update_parameters(model)
    return average.state_dict()


def float8() -> dict:
    x = torch.tensor([[0.5, -1.75, 448.0], [2.0**-9, 3.0, -0.0]])
    e4m3, e5m2, fnuz = torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz
    numbers = torch.tensor([3, 65535]).to(torch.uint16)
    small = {"e4m3": x.to(e4m3), "e5m2": x.to(e5m2).T, "fnuz": x[:, :2].to(fnuz)}
    return {**small, "float32": x, "uint16": numbers}


FILES = {
    "views": views(),
    "training": training(),
    "nested": {"model": {"model.a": torch.arange(3.0), "model.b": torch.ones(2)}, "iteration": 4},
    "ema": {"params": {"w": torch.zeros(2)}, "params_ema": {"w": torch.ones(2)}},
    "averaged": averaged(),
    "compiled": {"state_dict": torch.compile(network()).state_dict()},
    "float8": float8(),
}

if __name__ == "__main__":
    values = {}
    for name, content in FILES.items():
        for kind in ("zip", "legacy") if name != "float8" else ("zip",):  # not before 1.6
            path = FOLDER / f"torch_{name}_{kind}.pt"
            torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
            loaded = torch.load(path, weights_only=False)
            while wrapped := loaded.get(
                "state_dict", loaded.get("model", loaded.get("params_ema"))
            ):
                loaded = wrapped
            for key, x in loaded.items():
                x = x.detach()
                narrow = x.is_floating_point() and x.itemsize < 4 and x.dtype != torch.half
                values[f"{name}/{key}"] = (x.float() if narrow else x).numpy()
    np.savez_compressed(FOLDER / "torch_values.npz", **values)
    for kind in ("zip", "legacy"):
        path = FOLDER / f"torch_malicious_{kind}.pt"
        content = {"w": torch.ones(2), "bad": Malicious()}
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    small = {name: x.contiguous() for name, x in float8().items()}
    save_file(small | {"bfloat16": torch.ones(2).bfloat16()}, FOLDER / "float8.safetensors")
    assert zipfile.is_zipfile(FOLDER / "torch_views_zip.pt")
    assert not zipfile.is_zipfile(FOLDER / "torch_views_legacy.pt")
