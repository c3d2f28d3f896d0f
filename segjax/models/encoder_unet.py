"""U-Net (Ronneberger et al. 2015) around a classifier, as segmentation-models (Yakubovskiy 2019).

The encoder is a network trained on ImageNet, whose feature maps at strides 2 to 16 are the skips.
"""

import functools
from collections.abc import Callable
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from segjax.backbones.efficientnet import TFNorm, efficientnet_b0, efficientnet_b4
from segjax.backbones.mobilenet_v2 import MobileNetV2
from segjax.backbones.resnet import resnet18, resnet34, resnet50, resnet101
from segjax.backbones.vgg import vgg16, vgg16_bn
from segjax.nn.initializers import xavier_uniform
from segjax.nn.layers import BatchNorm, Conv, ConvNorm
from segjax.nn.sizes import check_multiple, round_up
from segjax.nn.upsample import Nearest


class EncoderUNet(nn.Module):
    """Images [B, H, W, C] -> {'logits': float32 [B, H, W, num_classes]}, H and W multiples of 32.

    `backbone` is any of `segjax.backbones` that gives 'c1' to 'c5'. Five times the path from below
    is upsampled by 2, joined with the skip of that stride (the last time with none) and convolved
    twice to the next of `widths`. `centre` 3x3 convolutions come before: two behind VGG, whose last
    map is a pooled one. Max unpooling needs an encoder with switches, and `widths` equal to the
    channels before its pools: (512, 256, 128, 64, 16) behind VGG-16. Raises `InputError` for other
    sizes.

    Differs from the U-Net of the paper by its encoder, batch normalisation, padded convolutions,
    nearest upsampling, a fifth upsampling and a 3x3 head. 24,436,369 parameters with ResNet-34 and
    one class.
    """

    num_classes: int
    backbone: nn.Module
    widths: tuple[int, int, int, int, int] = (256, 128, 64, 32, 16)
    centre: int = 0
    upsample: Callable[..., nn.Module] = Nearest
    norm: Callable[..., nn.Module] | None = BatchNorm  # of the decoder
    dtype: Any = None  # of the decoder; the backbone has its own

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        chex.assert_rank(image, 4)
        check_multiple(image.shape[1:3], 32, "The U-Net with an encoder")
        conv = functools.partial(ConvNorm, norm=self.norm, dtype=self.dtype)
        maps = self.backbone(image, train=train)
        x = maps["c5"]  # 1/32
        for i in range(self.centre):
            x = conv(x.shape[-1], name=f"centre{i}")(x, train=train)
        for i, width in enumerate(self.widths):
            level = 4 - i
            up = self.upsample(features=x.shape[-1], factor=2, dtype=self.dtype, name=f"up{i}")
            x = up(x, switches=maps.get(f"s{level + 1}"))  # 1/16, 1/8, 1/4, 1/2, 1
            if level > 0:
                x = jnp.concatenate([x, maps[f"c{level}"]], axis=-1)
            x = conv(width, name=f"block{i}_conv1")(x, train=train)
            x = conv(width, name=f"block{i}_conv2")(x, train=train)
        head = Conv(
            self.num_classes,
            (3, 3),
            kernel_init=xavier_uniform,
            dtype=self.dtype,
            name="head",
        )
        return {"logits": head(x).astype(jnp.float32)}

    def input_size(self, output: int) -> int:
        """The smallest legal side of an input whose output covers `output` pixels."""
        return round_up(output, 32)

    def output_size(self, size: int) -> int:
        """The side of the output for a legal side of the input."""
        return size


unet_resnet18 = functools.partial(EncoderUNet, backbone=resnet18())
unet_resnet34 = functools.partial(EncoderUNet, backbone=resnet34())
unet_resnet50 = functools.partial(EncoderUNet, backbone=resnet50())
unet_resnet101 = functools.partial(EncoderUNet, backbone=resnet101())

# As segmentation-models has them: the skip at stride 2 is the stem, that of b0 at stride 16 the
# first unit with 112 channels, and the padding is that of the images they were trained on.
unet_efficientnet_b0 = functools.partial(
    EncoderUNet, backbone=efficientnet_b0(padding=224, norm=TFNorm, taps=(("c1", 0), ("c4", 9)))
)
unet_efficientnet_b4 = functools.partial(
    EncoderUNet, backbone=efficientnet_b4(padding=380, norm=TFNorm, taps=(("c1", 0),))
)
unet_mobilenet_v2 = functools.partial(EncoderUNet, backbone=MobileNetV2())
unet_vgg16 = functools.partial(EncoderUNet, backbone=vgg16(), centre=2)
unet_vgg16_bn = functools.partial(EncoderUNet, backbone=vgg16_bn(), centre=2)
