"""Makes resize_pool_torch.npz: what torch's resizes and poolings give, forward and backward.

    python tests/golden/resize_pool_torch.py        # needs torch; made with torch 2.13.0 (CPU)

Arrays are NHWC float32. For every case NAME: NAME/x input, NAME/y output, NAME/g gradient of the
output, NAME/dx gradient of the input.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

random = np.random.default_rng(0)
arrays = {}


def nhwc(t):
    return t.detach().numpy().transpose(0, 2, 3, 1)


def record(name, x, function):
    x.requires_grad_()
    y = function(x)
    g = torch.from_numpy(random.standard_normal(y.shape, np.float32))
    y.backward(g)
    for key, value in {"x": x, "y": y, "g": g, "dx": x.grad}.items():
        arrays[f"{name}/{key}"] = nhwc(value)


def normal(*shape):
    return torch.from_numpy(random.standard_normal(shape, np.float32))


SIZES = {
    "up": (6, 10),
    "x3": (9, 15),
    "odd": (7, 11),
    "down": (2, 3),
    "mixed": (5, 2),
    "one": (1, 1),
}
MODES = {
    "nearest": {"mode": "nearest"},
    "nearest-exact": {"mode": "nearest-exact"},
    "half-pixel": {"mode": "bilinear", "align_corners": False},
    "corner-aligned": {"mode": "bilinear", "align_corners": True},
}
for mode, options in MODES.items():
    for label, size in SIZES.items():
        batch = 3 if label == "odd" else 1
        resize = lambda x, size=size, options=options: F.interpolate(x, size=size, **options)
        record(f"{mode}/{label}", normal(batch, 2, 3, 5), resize)

# name: window, stride, padding, ceil_mode; the input has ties, drawn from few values
MAX = {
    "2_2": ((2, 2), (2, 2), (0, 0), False),
    "2_2_ceil": ((2, 2), (2, 2), (0, 0), True),
    "3_2_p1": ((3, 3), (2, 2), (1, 1), False),
    "3_2_ceil": ((3, 3), (2, 2), (0, 0), True),
    "3_2_p1_ceil": ((3, 3), (2, 2), (1, 1), True),
    "3_1_p1": ((3, 3), (1, 1), (1, 1), False),
    "2x3_1x2_p01": ((2, 3), (1, 2), (0, 1), False),
    "2_3": ((2, 2), (3, 3), (0, 0), False),
    "7_2_p3": ((7, 7), (2, 2), (3, 3), False),
    "2_2_p1_ceil": ((2, 2), (2, 2), (1, 1), True),
    "2_4_ceil": ((2, 2), (4, 4), (0, 0), True),
}
for name, (window, stride, padding, ceil) in MAX.items():
    x = torch.from_numpy(random.integers(-4, 4, (3, 2, 7, 8)).astype(np.float32))
    record(f"max/{name}", x, lambda x: F.max_pool2d(x, window, stride, padding, 1, ceil))  # noqa: B023
    for include in (True, False):
        avg = lambda x: F.avg_pool2d(x, window, stride, padding, ceil, include)  # noqa: B023
        record(f"avg/{name}/{include}", normal(1, 2, 7, 8), avg)

for label, size, ceil in (("even", (4, 6), False), ("odd", (5, 7), False), ("ceil", (5, 7), True)):
    x = torch.from_numpy(random.integers(-3, 3, (3, 2, *size)).astype(np.float32))
    _, index = F.max_pool2d(x, 2, 2, ceil_mode=ceil, return_indices=True)
    arrays[f"unpool/{label}/pooled"] = nhwc(x)
    arrays[f"unpool/{label}/index"] = nhwc(index).astype(np.int32)
    unpool = lambda y: F.max_unpool2d(y, index, 2, 2, output_size=size)  # noqa: B023
    record(f"unpool/{label}", normal(*index.shape), unpool)

record("shuffle", normal(3, 18, 2, 4), lambda x: F.pixel_shuffle(x, 3))
record("unshuffle", normal(3, 2, 6, 3), lambda x: F.pixel_unshuffle(x, 3))

# name: kernel, stride, padding, output_padding
TRANSPOSED = {"2_2": (2, 2, 0, 0), "3_2": (3, 2, 1, 1), "4_2": (4, 2, 1, 0), "5_3": (5, 3, 1, 0)}
TRANSPOSED["2_2_odd"] = (2, 2, 0, (1, 0))
for name, (k, stride, padding, extra) in TRANSPOSED.items():
    weight, bias = normal(3, 4, k, k).requires_grad_(), normal(4).requires_grad_()  # in, out, k, k
    conv = lambda x: F.conv_transpose2d(x, weight, bias, stride, padding, extra)  # noqa: B023
    record(f"transposed/{name}", normal(3, 3, 3, 5), conv)
    for key, value in {"kernel": weight, "dkernel": weight.grad}.items():
        arrays[f"transposed/{name}/{key}"] = value.detach().numpy().transpose(2, 3, 0, 1)
    arrays[f"transposed/{name}/bias"] = bias.detach().numpy()
    arrays[f"transposed/{name}/dbias"] = bias.grad.numpy()

np.savez_compressed(Path(__file__).with_suffix(".npz"), **arrays)
