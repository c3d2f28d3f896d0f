"""Writes image_quality.npz: PSNR and SSIM by torchmetrics (1.9, torch 2.13), image by image.

python tests/golden/image_quality.py
"""

from pathlib import Path

import numpy as np
import torch
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

rng = np.random.default_rng(0)
smooth = np.add.outer(np.linspace(0, 0.6, 19), np.linspace(0, 0.4, 26))[None, :, :, None]
truth = np.clip(smooth + 0.15 * rng.random((3, 19, 26, 3)), 0, 1).astype(np.float32)
noise = np.array([0.02, 0.1, 0.4])[:, None, None, None] * rng.normal(size=truth.shape)
image = np.clip(truth + noise, 0, 1).astype(np.float32)


def ssim_of_whole_windows(a: torch.Tensor, b: torch.Tensor) -> float:
    """torchmetrics mirrors the borders; the paper has windows within the image alone."""
    options = {"gaussian_kernel": True, "sigma": 1.5, "kernel_size": 11, "data_range": 1.0}
    _, image = structural_similarity_index_measure(a, b, return_full_image=True, **options)
    return image[..., 5:-5, 5:-5].mean().item()


psnr, ssim, grey = [], [], []
for a, b in zip(image, truth, strict=True):
    a, b = (
        torch.from_numpy(np.ascontiguousarray(x.transpose(2, 0, 1)))[None].double() for x in (a, b)
    )
    psnr.append(peak_signal_noise_ratio(a, b, data_range=1.0).item())
    ssim.append(ssim_of_whole_windows(a, b))
    grey.append(ssim_of_whole_windows(a[:, :1], b[:, :1]))
np.savez_compressed(
    Path(__file__).with_suffix(".npz"), image=image, truth=truth, psnr=psnr, ssim=ssim, grey=grey
)
