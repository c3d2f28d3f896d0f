"""Makes resize_by_factor.npz: torch's bilinear resize where it is given a factor, not a size.

    python tests/golden/resize_by_factor.py     # needs torch; made with torch 2.13.0 (CPU)

Arrays are NHWC float32. For every factor: FACTOR/x input, FACTOR/y output, FACTOR/g gradient of the
output, FACTOR/dx gradient of the input. The sides times the factor are not whole.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

random = np.random.default_rng(0)
arrays = {}
for factor, batch in ((0.75, 1), (0.5, 3), (1.25, 1), (1.75, 1), (0.3, 2), (1.05, 1)):
    x = torch.from_numpy(random.standard_normal((batch, 2, 7, 13), np.float32)).requires_grad_()
    y = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    g = torch.from_numpy(random.standard_normal(y.shape, np.float32))
    y.backward(g)
    for key, value in {"x": x, "y": y, "g": g, "dx": x.grad}.items():
        arrays[f"{factor}/{key}"] = value.detach().numpy().transpose(0, 2, 3, 1)

np.savez_compressed(Path(__file__).with_suffix(".npz"), **arrays)
