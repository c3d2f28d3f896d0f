"""Learning Deconvolution Network for Semantic Segmentation (Noh et al. 2015, arXiv:1505.04366)."""

import functools
from collections.abc import Callable
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from segjax.backbones.vgg import VGG, vgg16_bn
from segjax.errors import InputError
from segjax.nn.initializers import normal
from segjax.nn.layers import BatchNorm, Conv
from segjax.nn.upsample import MaxUnpool, TransposedConv, legal_side
from segjax.ops.activation import relu


class DeconvNet(nn.Module):
    """DeconvNet, section 3 and table 1: a VGG-16, then unpooling and deconvolution in mirror image.

    Images [B, H, W, C] -> {'logits': float32 [B, H, W, num_classes]}. The paper's are 224x224;
    larger ones of any size go too. Raises `InputError` for those that leave less than window x
    window features, 193 pixels for VGG-16. 251,805,653 parameters for 21 classes.

    Every layer of the decoder is a transposed convolution of stride 1 with normalisation and ReLU;
    the last of a stage goes to the width of the stage above. They start from N(0, 0.01), and the
    encoder, fc6 and fc7 from VGG-16's weights (He's initialisation without them).

    The paper trains in two stages: first on crops around one object each, everything else being
    background, then on proposals that overlap an object by half or more; resized to 250 and
    cropped to 224. At test it pastes the scores of the 50 best proposals of an image into one
    map and takes the maximum.
    """

    num_classes: int
    backbone: VGG
    window: int = 7  # of fc6
    hidden: int = 4096
    upsample: Callable[..., nn.Module] = MaxUnpool
    norm: Callable[..., nn.Module] = BatchNorm
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        chex.assert_rank(image, 4)
        gaussian = normal(0.01)

        def norm_relu(name: str, x: jax.Array) -> jax.Array:
            return relu(self.norm(dtype=self.dtype, name=name)(x, train=train))

        def deconv(name: str, norm: str, features: int, x: jax.Array, k: int, pad: int):
            layer = TransposedConv(
                features,
                factor=1,
                kernel_size=k,
                padding=pad,
                output_padding=0,
                kernel_init=gaussian,
                dtype=self.dtype,
                name=name,
            )
            return norm_relu(norm, layer(x))

        if min(image.shape[1:3]) < self.input_size(1):
            raise InputError(
                f"DeconvNet cannot take an image of {image.shape[1]} x {image.shape[2]} pixels: "
                f"the smallest legal side is {self.input_size(1)}."
            )
        depths, widths = self.backbone.depths, self.backbone.widths
        maps = self.backbone(image, train=train)
        x = maps[f"c{len(depths)}"]  # 1/32: 7x7
        for name, k in (("fc6", self.window), ("fc7", 1)):  # 1x1
            x = Conv(self.hidden, (k, k), padding=0, dtype=self.dtype, name=name)(x)
            x = norm_relu(f"bn{name}", x)
        x = deconv("fc6-deconv", "fc6-deconv-bn", widths[-1], x, self.window, 0)  # 7x7
        for stage in range(len(depths), 0, -1):
            unpool = self.upsample(features=x.shape[-1], dtype=self.dtype, name=f"unpool{stage}")
            x = unpool(x, switches=maps[f"s{stage}"], size=maps[f"c{stage - 1}"].shape[1:3])
            for i in range(1, depths[stage - 1] + 1):
                narrow = i == depths[stage - 1] and stage > 1
                features = widths[stage - 2 if narrow else stage - 1]
                x = deconv(f"deconv{stage}_{i}", f"debn{stage}_{i}", features, x, 3, 1)
        x = Conv(
            self.num_classes, (1, 1), kernel_init=gaussian, dtype=self.dtype, name="seg-score"
        )(x)
        return {"logits": x.astype(jnp.float32)}

    def input_size(self, output: int) -> int:
        """The smallest legal side of an input whose output covers `output` pixels."""
        step = 2 ** len(self.backbone.depths)
        least = (self.window - 1) * step
        least += 1 if self.backbone.pool_rounding == "ceil" else step
        return legal_side(max(output, least), self.upsample, step)

    def output_size(self, size: int) -> int:
        """The side of the output for a legal side of the input: the same."""
        return size


deconvnet = functools.partial(DeconvNet, backbone=vgg16_bn(pool_rounding="ceil"))
