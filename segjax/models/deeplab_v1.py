"""Semantic Image Segmentation with Deep Convolutional Nets and Fully Connected CRFs.

Chen et al. 2014, arXiv:1412.7062: the network that the paper calls DeepLab-LargeFOV.
"""

import functools
from collections.abc import Callable
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from segjax.backbones.vgg import vgg16
from segjax.nn.initializers import normal
from segjax.nn.layers import Conv
from segjax.nn.upsample import Bilinear, legal_side, legal_side_of_corners
from segjax.ops.activation import relu
from segjax.ops.pooling import avg_pool


class DeepLabV1(nn.Module):
    """DeepLab-LargeFOV, sections 3 and 4: dilated VGG-16 and a 3x3 fc6 with a large field of view.

    Images [B, H, W, C] of any size -> {'logits': float32 [B, H, W, num_classes]}. The paper's sides
    are 32 k - 31, as 321: those have corners on the map of stride 8, which its bilinear upsampling
    aligns. `deeplab_v1` is the published network, whose pools round up, so that the last pixel of
    the map is at the image's edge or up to 7 pixels beyond; upsamplers that make eight pixels of
    one need a backbone whose pools round down, and multiples of 8, and raise `InputError` for what
    does not fit. 20,505,429 parameters for 21 classes (the paper: 20.5M).

    Three details are the authors' Caffe file's, not the paper's: that rounding, the 3x3 average
    after the last pool, and N(0, 0.01) where the last layer starts. It takes fc6 and fc7 from 1,024
    of VGG-16's 4,096 channels and from 3x3 of its 7x7 taps; here they start with He's
    initialisation.
    """

    num_classes: int
    backbone: nn.Module
    hidden: int = 1024
    dilation: int = 12
    upsample: Callable[..., nn.Module] = functools.partial(Bilinear, convention="corner-aligned")
    dropout: float = 0.5
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        chex.assert_rank(image, 4)
        self.input_size(1)  # the upsampler fits
        x = self.backbone(image, train=train)["c5"]  # 1/8
        x = avg_pool(x, (3, 3), (1, 1), ((1, 1), (1, 1)))
        for name, size, dilation in (("fc6", 3, self.dilation), ("fc7", 1, 1)):
            conv = Conv(
                self.hidden,
                (size, size),
                padding=dilation * (size - 1) // 2,
                kernel_dilation=dilation,
                dtype=self.dtype,
                name=name,
            )
            x = nn.Dropout(self.dropout, deterministic=not train)(relu(conv(x)))
        gaussian = normal(0.01)
        head = Conv(self.num_classes, (1, 1), kernel_init=gaussian, dtype=self.dtype, name="fc8")
        x = head(x).astype(jnp.float32)
        up = self.upsample(features=self.num_classes, factor=8, dtype=jnp.float32, name="up")
        return {"logits": up(x, size=image.shape[1:3])}  # 1

    def input_size(self, output: int) -> int:
        """The smallest legal side of an input whose output covers `output` pixels.

        Raises `InputError` for upsamplers that no side fits.
        """
        if getattr(self.backbone, "pool_rounding", "floor") == "floor":
            return legal_side(output, self.upsample, 8)
        remedy = "the backbone's pool_rounding is 'floor'"
        return legal_side_of_corners(output, self.upsample, 8, "DeepLab v1", remedy)

    def output_size(self, size: int) -> int:
        """The side of the output: that of the input, whatever it is."""
        return size


deeplab_v1 = functools.partial(
    DeepLabV1, backbone=vgg16(pool_size=3, pool_rounding="ceil", output_stride=8)
)
