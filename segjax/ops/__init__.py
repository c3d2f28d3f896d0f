"""Pure functions of arrays, without parameters."""

from segjax.ops.colour import lab_to_rgb, rgb_to_lab
from segjax.ops.conv_transpose import conv_transpose
from segjax.ops.local_response import local_response_norm
from segjax.ops.pixel_shuffle import depth_to_space, space_to_depth
from segjax.ops.pooling import (
    Switches,
    adaptive_avg_pool,
    avg_pool,
    max_pool,
    max_pool_with_switches,
    max_unpool,
)
from segjax.ops.pyramid import laplacian_pyramid, local_contrast_normalization
from segjax.ops.resize import bed_of_nails, bilinear, bilinear_by_factor, nearest
from segjax.ops.warp import coarse_displacement, resized, sample

__all__ = [
    "Switches",
    "adaptive_avg_pool",
    "avg_pool",
    "bed_of_nails",
    "bilinear",
    "bilinear_by_factor",
    "coarse_displacement",
    "conv_transpose",
    "depth_to_space",
    "lab_to_rgb",
    "laplacian_pyramid",
    "local_contrast_normalization",
    "local_response_norm",
    "max_pool",
    "max_pool_with_switches",
    "max_unpool",
    "nearest",
    "resized",
    "rgb_to_lab",
    "sample",
    "space_to_depth",
]
