"""Write convolution.npz with torch.nn.functional.conv2d: values and gradients.

    python tests/golden/convolution.py    (needs torch; made with torch 2.13)

Arrays of case i: `x{i}` [B, H, W, Cin], `kernel{i}` [kh, kw, Cin / groups, Cout], `y{i}` and the
gradients `dx{i}` and `dkernel{i}` of sum(y * cotangent{i}); `options{i}` is stride, padding and
dilation, each (rows, columns), and (groups, groups).
"""

from pathlib import Path

import numpy as np
import torch

CASES = [  # batch, input, channels, kernel, stride, padding, dilation, groups
    (1, (7, 9), (2, 3), (3, 3), (1, 1), (1, 1), (1, 1), 1),
    (3, (6, 5), (12, 10), (3, 3), (1, 1), (1, 1), (1, 1), 1),
    (1, (9, 8), (3, 4), (7, 7), (2, 2), (3, 3), (1, 1), 1),
    (2, (9, 11), (10, 12), (3, 3), (1, 1), (2, 2), (2, 2), 1),
    (1, (7, 9), (3, 4), (3, 3), (1, 1), (6, 6), (6, 6), 1),  # most taps outside
    (1, (7, 5), (9, 9), (3, 3), (1, 1), (12, 12), (12, 12), 1),  # all but the middle outside
    (2, (8, 7), (4, 6), (3, 2), (2, 1), (2, 1), (3, 2), 1),
    (3, (7, 6), (5, 4), (1, 1), (2, 3), (0, 0), (1, 1), 1),
    (2, (8, 9), (6, 6), (3, 3), (1, 1), (2, 2), (2, 2), 6),  # depthwise
    (1, (9, 7), (4, 4), (5, 3), (2, 2), (2, 1), (1, 1), 4),
    (1, (6, 8), (4, 6), (3, 3), (1, 2), (0, 1), (1, 1), 2),  # grouped
]


def main() -> None:
    rng = np.random.default_rng(0)
    arrays = {}
    for i, (batch, size, (cin, cout), window, *options, groups) in enumerate(CASES):
        stride, padding, dilation = options
        x = rng.normal(size=(batch, *size, cin)).astype(np.float32)
        kernel = rng.normal(size=(*window, cin // groups, cout)).astype(np.float32)
        tx = torch.tensor(x.transpose(0, 3, 1, 2), requires_grad=True)
        tkernel = torch.tensor(kernel.transpose(3, 2, 0, 1), requires_grad=True)
        y = torch.nn.functional.conv2d(tx, tkernel, None, stride, padding, dilation, groups)
        cotangent = rng.normal(size=tuple(y.shape)).astype(np.float32)
        (y * torch.tensor(cotangent)).sum().backward()
        assert tx.grad is not None
        assert tkernel.grad is not None
        arrays |= {
            f"x{i}": x,
            f"kernel{i}": kernel,
            f"options{i}": np.array([*options, (groups, groups)]),
            f"y{i}": y.detach().numpy().transpose(0, 2, 3, 1),
            f"cotangent{i}": cotangent.transpose(0, 2, 3, 1),
            f"dx{i}": tx.grad.numpy().transpose(0, 2, 3, 1),
            f"dkernel{i}": tkernel.grad.numpy().transpose(2, 3, 1, 0),
        }
    np.savez_compressed(Path(__file__).with_suffix(".npz"), **arrays)


if __name__ == "__main__":
    main()
