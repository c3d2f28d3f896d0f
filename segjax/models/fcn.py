"""Fully Convolutional Networks for Semantic Segmentation (Long et al. 2014, arXiv:1411.4038).

The networks of the authors' later release ("heavy" training; Shelhamer et al. 2016,
arXiv:1605.06211), with the geometry of its Caffe files.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from segjax.backbones.alexnet import caffenet
from segjax.backbones.vgg import VGG, vgg16
from segjax.nn.layers import Conv
from segjax.nn.upsample import TransposedConv, bilinear_kernel
from segjax.ops.activation import relu
from segjax.ops.pooling import max_pool


def deconvolution(*, factor: int, kernel_size: int | None = None, **options: Any) -> nn.Module:
    """The paper's upsampler: (n - 1) * factor + kernel_size outputs, bilinear at the start.

    The kernel is 2 * factor unless given, and goes from every class to every class, though it
    starts diagonal; there is no bias. The release keeps it fixed (a learning rate of zero).
    """
    return TransposedConv(
        factor=factor,
        kernel_size=kernel_size or 2 * factor,
        padding=0,
        output_padding=0,
        use_bias=False,
        kernel_init=bilinear_kernel,
        **options,
    )


class FCN(nn.Module):
    """FCN-32s, FCN-16s and FCN-8s, section 4 and figure 3.

    Images [B, H, W, C] of any size -> {'logits': float32 [B, H, W, num_classes]}.

    The first convolution of the backbone is padded so far that its last map holds at least one
    window of fc6, whatever the image: its maps begin `margin` pixels above and left of the image,
    99 in VGG with a padding of 100 and 82.5 in AlexNet. What is upsampled and what it is added to
    are cropped to where they coincide, and the logits to the image: with the paper's `upsample` at
    its offsets, 19 / 5, 27 / 5, 9, 31 (AlexNet 18). Other upsamplers make factor * n pixels of n,
    without the overhang of (kernel_size - factor) / 2 on each side, and the offsets shrink by as
    much, rounded down where that is a half pixel (AlexNet: 2.5).

    A finer network has the names of the coarser, but for the last upsampling, and starts from its
    weights. For FCN-8s at once, without stages, the release scales pool4 by 0.01 and pool3 by
    0.0001. Score layers start at zero, the others with He's initialisation instead of the
    classifier's weights. 21 classes: 136,152,917 parameters for 32s, 134,815,994 for 16s and
    134,489,759 for 8s, of which the paper's upsampling has 1,806,336, 458,640 and 127,008.
    """

    num_classes: int
    backbone: nn.Module
    stride: Literal[8, 16, 32] = 8  # of the finest prediction
    margin: float = 99
    window: int = 7  # of fc6
    hidden: int = 4096
    scale_pool4: float = 1
    scale_pool3: float = 1
    upsample: Callable[..., nn.Module] = deconvolution
    dropout: float = 0.5
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        chex.assert_rank(image, 4)
        maps = self.backbone(image, train=train)
        x = maps["c5"]
        for name, size in (("fc6", self.window), ("fc7", 1)):
            x = relu(Conv(self.hidden, (size, size), padding=0, dtype=self.dtype, name=name)(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = self.score("score_fr", x)  # 1/32
        margin = self.margin - 32 * (self.window - 1) / 2  # of x, as fc6 is not padded

        if self.stride <= 16:
            x, margin = self.up("upscore2", x, 2, 16, margin)  # 1/16
            pool4 = self.scale_pool4 * max_pool(maps["c3"], (2, 2), ceil_mode=True)
            x += crop(self.score("score_pool4", pool4), (self.margin - margin) / 16, x.shape)
        if self.stride <= 8:
            x, margin = self.up("upscore_pool4", x, 2, 8, margin)  # 1/8
            pool3 = self.scale_pool3 * max_pool(maps["c2"], (2, 2), ceil_mode=True)
            x += crop(self.score("score_pool3", pool3), (self.margin - margin) / 8, x.shape)
        last = "upscore" if self.stride == 32 else f"upscore{self.stride}"
        x, margin = self.up(last, x.astype(jnp.float32), self.stride, 1, margin)  # 1
        return {"logits": crop(x, margin, image.shape).astype(jnp.float32)}

    def score(self, name: str, x: jax.Array) -> jax.Array:
        """Class scores, zero at the start."""
        zeros = nn.initializers.zeros
        return Conv(self.num_classes, (1, 1), kernel_init=zeros, dtype=self.dtype, name=name)(x)

    def up(
        self, name: str, x: jax.Array, factor: int, stride: int, margin: float
    ) -> tuple[jax.Array, float]:
        """Upsampled x, of `stride` now, and its margin in pixels of the image."""
        dtype = jnp.float32 if stride == 1 else self.dtype
        y = self.upsample(features=self.num_classes, factor=factor, dtype=dtype, name=name)(x)
        overhang = (y.shape[1] - factor * x.shape[1]) / 2
        return y, margin + stride * overhang

    def input_size(self, output: int) -> int:
        """The smallest legal side of an input whose output covers `output` pixels."""
        return output

    def output_size(self, size: int) -> int:
        """The side of the output: that of the input, whatever it is."""
        return size


def crop(x: jax.Array, offset: float, shape: tuple[int, ...]) -> jax.Array:
    """Rows and columns of [B, H, W, C] from `offset` on, as many as `shape` (B, h, w, C) has."""
    start = int(offset)
    return x[:, start : start + shape[1], start : start + shape[2]]


def padded_vgg16(width: int = 64, **options: Any) -> VGG:
    """VGG-16 as FCN needs it, from `width` channels on: padded by 100, with pools rounded up."""
    widths = tuple(width * n for n in (1, 2, 4, 8, 8))
    return vgg16(widths, pool_rounding="ceil", first_padding=100, **options)


fcn32s = functools.partial(FCN, backbone=padded_vgg16(), stride=32)
fcn16s = functools.partial(FCN, backbone=padded_vgg16(), stride=16)
fcn8s = functools.partial(FCN, backbone=padded_vgg16(), stride=8)
fcn8s_at_once = functools.partial(fcn8s, scale_pool4=0.01, scale_pool3=0.0001)
fcn_alexnet = functools.partial(
    FCN,
    backbone=caffenet(first_padding=100),
    stride=32,
    margin=82.5,
    window=6,
    upsample=functools.partial(deconvolution, kernel_size=63),
)
"""56,954,261 parameters and 1,750,329 of the upsampling."""
