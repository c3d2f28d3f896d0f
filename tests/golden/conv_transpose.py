"""Write conv_transpose.npz with torch.nn.functional.conv_transpose2d: values and gradients.

    python tests/golden/conv_transpose.py    (needs torch; made with torch 2.13)

Arrays of case i: `x{i}` [B, h, w, Cin], `kernel{i}` [kh, kw, Cin, Cout], `y{i}` and the gradients
`dx{i}` and `dkernel{i}` of sum(y * cotangent{i}); `options{i}` is stride, padding, output padding
and dilation, each (rows, columns).
"""

from pathlib import Path

import numpy as np
import torch

CASES = [  # batch, input, channels, kernel, stride, padding, output padding, dilation
    (1, (4, 5), (3, 2), (2, 2), (2, 2), (0, 0), (0, 0), (1, 1)),
    (3, (3, 4), (2, 3), (4, 4), (2, 2), (1, 1), (0, 0), (1, 1)),
    (2, (3, 5), (2, 3), (3, 3), (2, 2), (1, 1), (1, 1), (1, 1)),
    (1, (4, 3), (2, 2), (3, 3), (2, 2), (0, 0), (0, 0), (1, 1)),
    (2, (3, 4), (2, 3), (5, 4), (3, 2), (2, 1), (1, 0), (1, 1)),
    (1, (3, 3), (2, 2), (1, 2), (3, 3), (0, 0), (2, 1), (1, 1)),
    (1, (4, 5), (2, 3), (3, 3), (1, 1), (1, 0), (0, 0), (2, 1)),
    (1, (3, 4), (2, 3), (3, 2), (2, 3), (1, 2), (0, 1), (2, 3)),
    (1, (2, 3), (2, 2), (16, 16), (8, 8), (4, 4), (0, 0), (1, 1)),
]


def main() -> None:
    rng = np.random.default_rng(0)
    arrays = {}
    for i, (batch, size, (cin, cout), window, *options) in enumerate(CASES):
        stride, padding, extra, dilation = options
        x = rng.normal(size=(batch, *size, cin)).astype(np.float32)
        kernel = rng.normal(size=(*window, cin, cout)).astype(np.float32)
        tx = torch.tensor(x.transpose(0, 3, 1, 2), requires_grad=True)
        tkernel = torch.tensor(kernel.transpose(2, 3, 0, 1), requires_grad=True)
        y = torch.nn.functional.conv_transpose2d(
            tx, tkernel, None, stride, padding, extra, 1, dilation
        )
        cotangent = rng.normal(size=tuple(y.shape)).astype(np.float32)
        (y * torch.tensor(cotangent)).sum().backward()
        assert tx.grad is not None
        assert tkernel.grad is not None
        arrays |= {
            f"x{i}": x,
            f"kernel{i}": kernel,
            f"options{i}": np.array(options),
            f"y{i}": y.detach().numpy().transpose(0, 2, 3, 1),
            f"cotangent{i}": cotangent.transpose(0, 2, 3, 1),
            f"dx{i}": tx.grad.numpy().transpose(0, 2, 3, 1),
            f"dkernel{i}": tkernel.grad.numpy().transpose(2, 3, 0, 1),
        }
    np.savez_compressed(Path(__file__).with_suffix(".npz"), **arrays)


if __name__ == "__main__":
    main()
