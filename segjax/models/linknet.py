"""LinkNet: Exploiting Encoder Representations (Chaurasia and Culurciello 2017, arXiv:1707.03718).

With the two variants in use: LinkNet-34 of Shvets et al. 2018 (arXiv:1803.01207, surgical
instruments) and that of segmentation-models.
"""

import functools
from collections.abc import Callable
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from segjax.backbones.resnet import resnet18, resnet34
from segjax.nn import sizes
from segjax.nn.layers import BatchNorm, Conv, ConvNorm
from segjax.nn.upsample import TransposedConv
from segjax.ops.activation import relu
from segjax.ops.pooling import max_pool


class Decoder(nn.Module):
    """1x1 convolution to a quarter of the channels, upsampling, 1x1 convolution; section III."""

    features: int
    factor: int
    upsample: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    use_bias: bool
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, size: tuple[int, int], *, train: bool) -> jax.Array:
        conv = functools.partial(
            ConvNorm, kernel_size=1, norm=self.norm, use_bias=self.use_bias, dtype=self.dtype
        )
        quarter = x.shape[-1] // 4
        x = conv(quarter, name="conv1")(x, train=train)
        up = self.upsample(features=quarter, factor=self.factor, dtype=self.dtype, name="up")
        x = up(x, size=size)
        x = relu(self.norm(dtype=self.dtype, name="norm2")(x, train=train))
        return conv(self.features, name="conv3")(x, train=train)


class FullConvHead(nn.Module):
    """The paper's: upsampling, 3x3 convolution, upsampling to the logits at four times the size."""

    num_classes: int
    features: int = 32
    upsample: Callable[..., nn.Module] = functools.partial(TransposedConv, kernel_size=3)
    upsample_logits: Callable[..., nn.Module] = TransposedConv
    norm: Callable[..., nn.Module] = BatchNorm
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = self.upsample(features=self.features, dtype=self.dtype, name="up1")(x)  # 1/2
        norm = self.norm(epsilon=1e-5, dtype=self.dtype, name="norm1")  # as the released code has
        x = relu(norm(x, train=train))
        conv = ConvNorm(self.features, norm=self.norm, use_bias=True, dtype=self.dtype, name="conv")
        x = conv(x, train=train)
        up = self.upsample_logits(features=self.num_classes, dtype=self.dtype, name="up2")
        return up(x)  # 1/1


class UnpaddedHead(nn.Module):
    """LinkNet-34's: n -> 2n + 1 -> 2n - 1 -> 2n, of kernels 3, 3 and 2, without normalisation."""

    num_classes: int
    features: int = 32
    upsample: Callable[..., nn.Module] = functools.partial(TransposedConv, kernel_size=3, padding=0)
    norm: Callable[..., nn.Module] | None = None
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        conv = functools.partial(Conv, dtype=self.dtype)
        up = self.upsample(features=self.features, dtype=self.dtype, name="up")
        x = relu(up(x, size=(2 * x.shape[1] + 1, 2 * x.shape[2] + 1)))
        x = relu(conv(self.features, (3, 3), padding="VALID", name="conv")(x))
        return conv(self.num_classes, (2, 2), padding=1, name="logits")(x)


class ConvHead(nn.Module):
    """segmentation-models': a 1x1 convolution."""

    num_classes: int
    norm: Callable[..., nn.Module] | None = None
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return Conv(self.num_classes, (1, 1), dtype=self.dtype, name="logits")(x)


class LinkNet(nn.Module):
    """Images [B, H, W, C] -> {'logits': float32 [B, H, W, num_classes]}; section III.

    H and W are multiples of 32; InputError otherwise. Each decoder doubles the resolution and is
    added to the encoder's map named in `skips`; 'stem' is the max-pooled stem, which the paper's
    last decoder meets at its own resolution, and None adds nothing to a decoder of `features`.
    The defaults are the paper's network: ReLU after each sum, 11,535,659 parameters for CamVid's 11
    classes, 11,536,691 for Cityscapes' 19. As in its released code, `norm` has epsilon 1e-3,
    but in the first layer of the head 1e-5, whatever it is given. `upsample` is the decoders'; the
    heads have fields of their own, as in `functools.partial(FullConvHead, upsample=Nearest)`.
    """

    num_classes: int
    backbone: nn.Module = resnet18()
    skips: tuple[str | None, ...] = ("c4", "c3", "c2", "stem")
    features: int = 64
    after_sum: Callable[[jax.Array], jax.Array] = relu
    use_bias: bool = True  # in the convolutions before normalisation
    head: Callable[..., nn.Module] = FullConvHead
    upsample: Callable[..., nn.Module] = functools.partial(TransposedConv, kernel_size=3)
    norm: Callable[..., nn.Module] = functools.partial(BatchNorm, epsilon=1e-3)
    dtype: Any = None  # of the decoder's computation; parameters and logits are float32

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        chex.assert_rank(image, 4)
        sizes.check_multiple(image.shape[1:3], 32, "LinkNet")
        maps = self.backbone(image, train=train)
        maps["stem"] = max_pool(maps["c1"], (3, 3), (2, 2), ((1, 1), (1, 1)))  # 1/4
        x = maps["c5"]  # 1/32
        for i, name in enumerate(self.skips):
            skip = None if name is None else maps[name]
            factor = 1 if name == "stem" else 2
            x = Decoder(
                self.features if skip is None else skip.shape[-1],
                factor,
                self.upsample,
                self.norm,
                self.use_bias,
                self.dtype,
                name=f"decoder{len(self.skips) - i}",
            )(x, (factor * x.shape[1], factor * x.shape[2]), train=train)
            if skip is not None:
                x = self.after_sum(x + skip)
        head = self.head(
            num_classes=self.num_classes, norm=self.norm, dtype=self.dtype, name="head"
        )
        return {"logits": head(x, train=train).astype(jnp.float32)}

    def input_size(self, output: int) -> int:
        """The smallest legal side of an input whose output covers `output` pixels."""
        return sizes.round_up(output, 32)

    def output_size(self, size: int) -> int:
        """The side of the output for a legal side of the input."""
        return size


linknet18 = LinkNet
linknet34 = functools.partial(
    LinkNet,
    backbone=resnet34(),
    skips=("c4", "c3", "c2", None),
    after_sum=lambda x: x,
    head=UnpaddedHead,
    upsample=functools.partial(TransposedConv, kernel_size=4),
    norm=BatchNorm,
)
"""LinkNet-34 as Shvets et al. 2018 released it: 21,794,721 parameters for one class."""
linknet34_smp = functools.partial(
    LinkNet,
    backbone=resnet34(),
    skips=("c4", "c3", "c2", "c1", None),
    features=32,
    after_sum=lambda x: x,
    use_bias=False,
    head=ConvHead,
    upsample=functools.partial(TransposedConv, kernel_size=4),
    norm=BatchNorm,
)
"""LinkNet of segmentation-models: 21,771,937 parameters for one class."""
