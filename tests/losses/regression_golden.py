"""Writes regression_golden.json: losses and gradients of torch (2.13, CPU).

Run with a Python that has torch: python tests/losses/regression_golden.py
"""

import json
import pathlib

import torch
from torch.nn import functional

torch.manual_seed(0)
prediction, target = torch.randn(3, 4, 5, 2), torch.randn(3, 4, 5, 2)  # [B, H, W, C]
hole = torch.rand(3, 4, 5) < 0.4
cases = {}


def case(name, loss):
    x = prediction.clone().requires_grad_()
    value = loss(x)
    value.backward()
    cases[name] = {"loss": value.item(), "grad": x.grad.flatten().tolist()}


case("l1", lambda x: functional.l1_loss(x, target))
case("l2", lambda x: functional.mse_loss(x, target))
case("l1 valid", lambda x: functional.l1_loss(x[~hole], target[~hole]))
case("l2 valid", lambda x: functional.mse_loss(x[~hole], target[~hole]))
mask = hole[..., None].float()  # the terms of Liu et al. 2018, equations 1 and 7
case(
    "holes",
    lambda x: (
        6 * functional.l1_loss(mask * x, mask * target)
        + functional.l1_loss((1 - mask) * x, (1 - mask) * target)
    ),
)
golden = {
    "prediction": prediction.flatten().tolist(),
    "target": target.flatten().tolist(),
    "hole": hole.flatten().tolist(),
    "cases": cases,
}


def rounded(x):
    if isinstance(x, dict):
        return {k: rounded(v) for k, v in x.items()}
    if isinstance(x, list):
        return [rounded(v) for v in x]
    return x if isinstance(x, bool) else float(f"{x:.9g}")


path = pathlib.Path(__file__).with_suffix(".json")
path.write_text(json.dumps(rounded(golden), separators=(",", ":")) + "\n")
