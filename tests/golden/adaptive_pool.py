"""Makes adaptive_pool.npz: torch's adaptive average pooling, forward and backward.

    python tests/golden/adaptive_pool.py        # needs torch; made with torch 2.13.0 (CPU)

Arrays are NHWC float32. For every case NAME: NAME/x input, NAME/y output, NAME/g gradient of the
output, NAME/dx gradient of the input. A case is named HxW_hxw.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

random = np.random.default_rng(0)
arrays = {}


def nhwc(t):
    return t.detach().numpy().transpose(0, 2, 3, 1)


CASES = [
    ((7, 11), (3, 2)),
    ((12, 6), (6, 6)),
    ((9, 13), (1, 1)),
    ((4, 5), (6, 3)),
    ((8, 10), (3, 6)),
]
for batch, (height, width), (h, w) in [(1 + 2 * (i % 2), *case) for i, case in enumerate(CASES)]:
    x = torch.from_numpy(random.standard_normal((batch, 2, height, width), np.float32))
    x.requires_grad_()
    y = F.adaptive_avg_pool2d(x, (h, w))
    g = torch.from_numpy(random.standard_normal(y.shape, np.float32))
    y.backward(g)
    for key, value in {"x": x, "y": y, "g": g, "dx": x.grad}.items():
        arrays[f"{height}x{width}_{h}x{w}/{key}"] = nhwc(value)

np.savez_compressed(Path(__file__).with_suffix(".npz"), **arrays)
