"""What both sides of a golden file fill an array with: a function of its name and shape alone."""

import zlib

import numpy as np


def deterministic(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """An entry of a torch state dict: kernels of unit gain for ReLU, variances about 1."""
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("running_var"):
        return generator.uniform(0.5, 1.5, shape).astype(np.float32)
    if len(shape) > 1:
        x = generator.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))
    elif name.endswith("weight"):
        x = generator.uniform(0.5, 1.5, shape)
    else:
        x = 0.1 * generator.normal(size=shape)
    return x.astype(np.float32)
