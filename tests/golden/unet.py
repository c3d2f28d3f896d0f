"""Makes unet.npz: the paper's U-Net at width 4, depth 2, by torch (2.13), weights from their names.

python tests/golden/unet.py
"""

import zlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

WIDTH, DEPTH = 4, 2


def weights(path: str, shape: tuple[int, ...]) -> np.ndarray:
    """What both sides fill a parameter with, shaped as in segjax (HWIO kernels)."""
    generator = np.random.default_rng(zlib.crc32(path.encode()))
    scale = 1 / np.sqrt(np.prod(shape[:-1])) if len(shape) > 1 else 0.1
    return (scale * generator.normal(size=shape)).astype(np.float32)


def conv(x: torch.Tensor, path: str, out: int, k: int = 3) -> torch.Tensor:
    kernel = weights(f"{path}/kernel", (k, k, x.shape[1], out)).transpose(3, 2, 0, 1)
    bias = weights(f"{path}/bias", (out,))
    return F.conv2d(x, torch.from_numpy(kernel.copy()), torch.from_numpy(bias))


def pair(x: torch.Tensor, path: str, out: int) -> torch.Tensor:
    return F.relu(conv(F.relu(conv(x, f"{path}/conv1", out)), f"{path}/conv2", out))


def up(x: torch.Tensor, path: str, out: int) -> torch.Tensor:
    kernel = weights(f"{path}/kernel", (2, 2, x.shape[1], out)).transpose(2, 3, 0, 1)
    bias = weights(f"{path}/bias", (out,))
    kernel, bias = torch.from_numpy(kernel.copy()), torch.from_numpy(bias)
    return F.conv_transpose2d(x, kernel, bias, stride=2)


def unet(x: torch.Tensor) -> torch.Tensor:
    skips = []
    for level in range(DEPTH):
        x = pair(x, f"down{level}", WIDTH * 2**level)
        skips.append(x)
        x = F.max_pool2d(x, 2)
    x = pair(x, "bottom", WIDTH * 2**DEPTH)
    for level in reversed(range(DEPTH)):
        x, skip = up(x, f"up{level}", WIDTH * 2**level), skips[level]
        top, left = (skip.shape[2] - x.shape[2]) // 2, (skip.shape[3] - x.shape[3]) // 2
        skip = skip[:, :, top : top + x.shape[2], left : left + x.shape[3]]
        x = pair(torch.cat([skip, x], 1), f"merge{level}", WIDTH * 2**level)
    return conv(x, "head", 3, k=1)


if __name__ == "__main__":
    image = np.random.default_rng(1).normal(size=(2, 2, 60, 68)).astype(np.float32)
    x = torch.from_numpy(image).requires_grad_()
    y = unet(x)
    cotangent = torch.from_numpy(np.random.default_rng(2).normal(size=y.shape).astype(np.float32))
    y.backward(cotangent)
    assert x.grad is not None
    arrays = {
        "image": image,
        "logits": y.detach().numpy(),
        "cotangent": cotangent.numpy(),
        "image_grad": x.grad.numpy(),
    }
    arrays = {name: np.ascontiguousarray(a.transpose(0, 2, 3, 1)) for name, a in arrays.items()}
    np.savez_compressed(Path(__file__).with_suffix(".npz"), **arrays)
