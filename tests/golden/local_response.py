"""Writes local_response.npz: torch.nn.LocalResponseNorm, values and gradients.

    python tests/golden/local_response.py    (needs torch; made with torch 2.13)

Arrays of case i: `x{i}`, `y{i}`, `cotangent{i}` and the gradient `dx{i}`, all [B, H, W, C], and
`options{i}`: size, alpha, beta, k.
"""

from pathlib import Path

import numpy as np
import torch

CASES = [  # shape, options; alphas at which the norm is far from the identity
    ((1, 3, 4, 7), (5, 1.0, 0.75, 1.0)),
    ((3, 7, 2, 5), (4, 2.0, 0.5, 2.0)),
    ((1, 2, 5, 3), (5, 1e-4, 0.75, 1.0)),
]

rng = np.random.default_rng(0)
arrays = {}
for i, (shape, options) in enumerate(CASES):
    scale = 100 if options[1] < 1 else 1
    x = (scale * rng.normal(size=shape)).astype(np.float32)
    cotangent = rng.normal(size=shape).astype(np.float32)
    tx = torch.tensor(x.transpose(0, 3, 1, 2), requires_grad=True)
    y = torch.nn.LocalResponseNorm(*options)(tx)
    (y * torch.tensor(cotangent.transpose(0, 3, 1, 2))).sum().backward()
    assert tx.grad is not None
    arrays |= {
        f"x{i}": x,
        f"cotangent{i}": cotangent,
        f"options{i}": np.array(options),
        f"y{i}": y.detach().numpy().transpose(0, 2, 3, 1),
        f"dx{i}": tx.grad.numpy().transpose(0, 2, 3, 1),
    }
np.savez_compressed(Path(__file__).with_suffix(".npz"), **arrays)
