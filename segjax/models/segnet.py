"""SegNet: A Deep Convolutional Encoder-Decoder (Badrinarayanan et al. 2015, arXiv:1511.00561).

SegNet-Basic is the smaller network of arXiv:1505.07293 and of the paper's ablations.
"""

import functools
from collections.abc import Callable
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from segjax.backbones.vgg import VGG, vgg16_bn
from segjax.errors import InputError
from segjax.nn.layers import BatchNorm, Conv
from segjax.nn.upsample import MaxUnpool, legal_side
from segjax.ops.activation import relu
from segjax.ops.local_response import local_response_norm
from segjax.ops.pooling import max_pool_with_switches


class SegNet(nn.Module):
    """SegNet, section 3: the convolutions of VGG-16 and their mirror image, of unpooling.

    Images [B, H, W, C] of any size from 17 on -> {'logits': float32 [B, H, W, num_classes]}; raises
    `InputError` for smaller ones. Pools round up as Caffe's do, and unpooling goes back to the
    exact size before: 360x480 has maps of 45x60, 23x30 and 12x15. 29,449,355 parameters for 11
    classes, 29,455,125 for 21.

    The authors compute the statistics of the normalisation again over the training set after
    training, and start the encoder from VGG-16's weights.
    """

    num_classes: int
    backbone: VGG
    upsample: Callable[..., nn.Module] = MaxUnpool
    norm: Callable[..., nn.Module] = BatchNorm
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        chex.assert_rank(image, 4)
        check_size(self, image)
        depths, widths = self.backbone.depths, self.backbone.widths
        maps = self.backbone(image, train=train)
        x = maps[f"c{len(depths)}"]  # 1/32
        for stage in range(len(depths), 0, -1):
            up = self.upsample(features=x.shape[-1], dtype=self.dtype, name=f"upsample{stage}")
            x = up(x, switches=maps[f"s{stage}"], size=maps[f"c{stage - 1}"].shape[1:3])
            for i in range(depths[stage - 1], 0, -1):
                features, name = widths[stage - 1], f"conv{stage}_{i}_D"
                if i == 1:
                    features = widths[stage - 2] if stage > 1 else self.num_classes
                x = Conv(features, (3, 3), padding=1, dtype=self.dtype, name=name)(x)
                if (stage, i) != (1, 1):
                    norm = self.norm(dtype=self.dtype, name=f"{name}_bn")
                    x = relu(norm(x, train=train))
        return {"logits": x.astype(jnp.float32)}

    def input_size(self, output: int) -> int:
        """The smallest legal side of an input whose output covers `output` pixels."""
        depth = len(self.backbone.depths)
        return legal_side(max(output, 2 ** (depth - 1) + 1), self.upsample, 2**depth)

    def output_size(self, size: int) -> int:
        """The side of the output for a legal side of the input: the same."""
        return size


class SegNetBasic(nn.Module):
    """SegNet-Basic: four 7x7 convolutions of one width, and four more without ReLU.

    Images [B, H, W, C] of any size from 9 on -> {'logits': float32 [B, H, W, num_classes]}; raises
    `InputError` for smaller ones. Local response normalisation of the image comes first. 1,416,587
    parameters for 11 classes.
    """

    num_classes: int
    width: int = 64
    depth: int = 4
    upsample: Callable[..., nn.Module] = MaxUnpool
    norm: Callable[..., nn.Module] = BatchNorm
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        chex.assert_rank(image, 4)
        check_size(self, image)

        def conv_norm(name: str, x: jax.Array) -> jax.Array:
            x = Conv(self.width, (7, 7), padding=3, dtype=self.dtype, name=name)(x)
            return self.norm(dtype=self.dtype, name=f"{name}_bn")(x, train=train)

        x, pools = local_response_norm(image), []
        for i in range(1, self.depth + 1):
            x, switches = max_pool_with_switches(relu(conv_norm(f"conv{i}", x)), ceil_mode=True)
            pools.append(switches)  # 1/2**i
        for i in range(self.depth, 0, -1):
            up = self.upsample(features=self.width, dtype=self.dtype, name=f"upsample{i}")
            x = up(x, switches=pools[i - 1], size=pools[i - 1].size)
            x = conv_norm(f"conv_decode{i}", x)
        x = Conv(self.num_classes, (1, 1), dtype=self.dtype, name="conv_classifier")(x)
        return {"logits": x.astype(jnp.float32)}

    def input_size(self, output: int) -> int:
        """The smallest legal side of an input whose output covers `output` pixels."""
        least = 2 ** (self.depth - 1) + 1
        return legal_side(max(output, least), self.upsample, 2**self.depth)

    def output_size(self, size: int) -> int:
        """The side of the output for a legal side of the input: the same."""
        return size


def check_size(model: SegNet | SegNetBasic, image: jax.Array) -> None:
    """Raise `InputError` for images of which the last pool would see a single pixel."""
    least = model.input_size(1)
    if min(image.shape[1:3]) < least:
        raise InputError(
            f"{type(model).__name__} cannot take an image of {image.shape[1]} x {image.shape[2]} "
            f"pixels: the smallest legal side is {least}."
        )


segnet = functools.partial(SegNet, backbone=vgg16_bn(pool_rounding="ceil"))
