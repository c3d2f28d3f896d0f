"""Makes augment_golden.json: colour adjustments by torchvision 0.28.0 on torch 2.13.0.

Only torchvision's file of tensor functions is executed; it needs nothing else of torchvision:
    python augment_golden.py .../torchvision/transforms/_functional_tensor.py > augment_golden.json
"""

import importlib.util
import json
import sys

import torch

spec = importlib.util.spec_from_file_location("functional", sys.argv[1])
functional = importlib.util.module_from_spec(spec)
spec.loader.exec_module(functional)

PIXELS = [[0.9, 0.2, 0.1], [0.3, 0.8, 0.45], [0.05, 0.15, 0.7], [0.4, 0.4, 0.4], [0.6, 0.6, 0.0]]
CASES = [
    ("brightness", 1.3),
    ("contrast", 0.4),
    ("contrast", 1.7),
    ("saturation", 0.25),
    ("saturation", 1.5),
    ("hue", 0.2),
    ("hue", -0.45),
    ("gamma", 0.6),
]
GREY = [("brightness", 0.5), ("contrast", 1.7), ("gamma", 1.5)]


def adjusted(pixels, name, amount):
    image = torch.tensor(pixels).T[:, None]  # [C, 1, N]
    out = getattr(functional, f"adjust_{name}")(image, amount)[:, 0].T.tolist()
    out = [[round(v, 6) for v in pixel] for pixel in out]
    return {"pixels": pixels, "name": name, "amount": amount, "adjusted": out}


cases = [adjusted(PIXELS, *case) for case in CASES]
cases += [adjusted([pixel[:1] for pixel in PIXELS], *case) for case in GREY]
print("[\n" + ",\n".join(map(json.dumps, cases)) + "\n]")
