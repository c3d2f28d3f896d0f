"""Writes cross_entropy_golden.json: losses and gradients of torch (2.13, CPU).

Run with a Python that has torch: python tests/losses/cross_entropy_golden.py
"""

import json
import pathlib

import torch
from torch.nn import functional

torch.manual_seed(0)
logits = torch.randn(3, 4, 5, 7) * 3  # [B, C, H, W]
labels = torch.randint(0, 4, (3, 5, 7))
ignored = labels.clone()
ignored[torch.rand(3, 5, 7) < 0.3] = 255
per_class = torch.tensor([0.5, 2.0, 1.0, 3.5])
weight = torch.rand(3, 5, 7) * 4
cases = {}


def case(name, loss):
    logits.grad = None
    logits.requires_grad_()
    value = loss(logits)
    value.backward()
    cases[name] = {"loss": value.item(), "grad": logits.grad.permute(0, 2, 3, 1).flatten().tolist()}


case("plain", lambda z: functional.cross_entropy(z, labels))
case("ignored", lambda z: functional.cross_entropy(z, ignored, ignore_index=255))
case(
    "smooth",
    lambda z: functional.cross_entropy(z, ignored, ignore_index=255, label_smoothing=0.2),
)
case("class weights", lambda z: functional.cross_entropy(z, labels, weight=per_class))
case(
    "pixel weights",
    lambda z: (weight * functional.cross_entropy(z, labels, reduction="none")).mean(),
)
target = torch.rand(3, 4, 5, 7)
case("binary", lambda z: functional.binary_cross_entropy_with_logits(z, target))
golden = {
    "logits": logits.detach().permute(0, 2, 3, 1).flatten().tolist(),
    "labels": labels.flatten().tolist(),
    "ignored": ignored.flatten().tolist(),
    "per_class": per_class.tolist(),
    "weight": weight.flatten().tolist(),
    "target": target.permute(0, 2, 3, 1).flatten().tolist(),
    "cases": cases,
}


def rounded(x):
    if isinstance(x, dict):
        return {k: rounded(v) for k, v in x.items()}
    return [rounded(v) for v in x] if isinstance(x, list) else float(f"{x:.9g}")


path = pathlib.Path(__file__).with_suffix(".json")
path.write_text(json.dumps(rounded(golden), separators=(",", ":")) + "\n")
