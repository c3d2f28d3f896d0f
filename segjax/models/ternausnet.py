"""TernausNet: U-Net with VGG11 Encoder (Iglovikov and Shvets 2018, arXiv:1801.05746).

With the authors' later networks: UNet-16, and for surgical instruments (Shvets et al. 2018,
arXiv:1803.01207) UNet-11 with other upsampling and AlbuNet-34.
"""

import functools
from collections.abc import Callable
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from segjax.backbones.resnet import BasicBlock
from segjax.backbones.vgg import vgg11, vgg16
from segjax.nn import sizes
from segjax.nn.layers import BatchNorm, Conv, ConvNorm
from segjax.nn.upsample import Bilinear, Switches, TransposedConv
from segjax.ops.activation import relu
from segjax.ops.pooling import max_pool_with_switches


class ConvUp(nn.Module):
    """3x3 convolution to `middle` channels and upsampling to `features`, a ReLU after each."""

    middle: int
    features: int
    upsample: Callable[..., nn.Module]
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, switches: Switches | None, *, train: bool) -> jax.Array:
        conv = ConvNorm(self.middle, norm=None, dtype=self.dtype, name="conv")
        up = self.upsample(features=self.features, factor=2, dtype=self.dtype, name="up")
        return relu(up(conv(x, train=train), switches=switches))


class UpConvs(nn.Module):
    """Upsampling, then 3x3 convolutions to `middle` and `features` channels, each with ReLU."""

    middle: int
    features: int
    upsample: Callable[..., nn.Module]
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, switches: Switches | None, *, train: bool) -> jax.Array:
        up = self.upsample(features=x.shape[-1], factor=2, dtype=self.dtype, name="up")
        conv = functools.partial(ConvNorm, norm=None, dtype=self.dtype)
        x = conv(self.middle, name="conv1")(up(x, switches=switches), train=train)
        return conv(self.features, name="conv2")(x, train=train)


class AlbuEncoder(nn.Module):
    """AlbuNet's ResNet, its stem pooled in adjacent 2x2 windows: -> {'c1', ..., 'c5', 's2'}.

    The variables are those of `backbones.resnet` with basic blocks.
    """

    stage_sizes: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    norm: Callable[..., nn.Module] = BatchNorm
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, Any]:
        conv = Conv(
            self.width, (7, 7), 2, padding=3, use_bias=False, dtype=self.dtype, name="conv1"
        )
        x = relu(self.norm(dtype=self.dtype, name="bn1")(conv(image), train=train))
        maps: dict[str, Any] = {"c1": x}  # 1/2
        x, maps["s2"] = max_pool_with_switches(x)  # 1/4
        for stage, units in enumerate(self.stage_sizes, 1):
            for i in range(units):
                x = BasicBlock(
                    features=self.width * 2 ** (stage - 1),
                    stride=2 if stage > 1 and i == 0 else 1,
                    dilation=1,
                    norm=self.norm,
                    stride_in="3x3",
                    dtype=self.dtype,
                    name=f"layer{stage}_{i}",
                )(x, train=train)
            maps[f"c{stage + 1}"] = x
        return maps


class TernausNet(nn.Module):
    """Images [B, H, W, C] -> {'logits': float32 [B, H, W, num_classes]}; figure 1 of the paper.

    The deepest of the maps in `skips` is pooled once more; then each pair (middle, features) of
    `decoder` is a `block` that doubles the resolution, whose output is concatenated with its skip,
    decoder first. H and W are multiples of 2**len(decoder), 32 in the paper; InputError otherwise.
    Max unpooling fits where a ConvUp has the features of its skip, twice the paper's.

    The defaults are the paper's UNet-11: 22,927,393 parameters for one class. The released networks
    for several classes end in a log-softmax, which is not part of the logits.
    """

    num_classes: int
    backbone: nn.Module = vgg11()
    skips: tuple[str | None, ...] = ("c4", "c3", "c2", "c1", "c0")
    decoder: tuple[tuple[int, int], ...] = (
        (512, 256),
        (512, 256),
        (512, 128),
        (256, 64),
        (128, 32),
    )
    block: Callable[..., nn.Module] = ConvUp
    upsample: Callable[..., nn.Module] = functools.partial(TransposedConv, kernel_size=3)
    dtype: Any = None  # of the decoder's computation; parameters and logits are float32

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        chex.assert_rank(image, 4)
        sizes.check_multiple(image.shape[1:3], 2 ** len(self.decoder), "TernausNet")
        maps = self.backbone(image, train=train)
        depth = len(self.decoder)
        x, maps[f"s{depth}"] = max_pool_with_switches(maps[f"c{depth - 1}"])  # 1/2**depth
        for i, (skip, widths) in enumerate(zip(self.skips, self.decoder, strict=True)):
            name = f"dec{6 - i}" if i else "center"
            block = self.block(*widths, upsample=self.upsample, dtype=self.dtype, name=name)
            x = block(x, maps.get(f"s{depth - i}"), train=train)
            if skip is not None:
                x = jnp.concatenate([x, maps[skip]], axis=-1)
        last = ConvNorm(widths[1], norm=None, dtype=self.dtype, name=f"dec{5 - i}")
        logits = Conv(self.num_classes, (1, 1), dtype=self.dtype, name="final")
        return {"logits": logits(last(x, train=train)).astype(jnp.float32)}

    def input_size(self, output: int) -> int:
        """The smallest legal side of an input whose output covers `output` pixels."""
        return sizes.round_up(output, 2 ** len(self.decoder))

    def output_size(self, size: int) -> int:
        """The side of the output for a legal side of the input."""
        return size


ternausnet11 = TernausNet
ternausnet16 = functools.partial(
    TernausNet,
    backbone=vgg16(),
    decoder=((512, 256), (512, 256), (512, 256), (256, 64), (128, 32)),
    block=UpConvs,
    upsample=Bilinear,
)
"""UNet-16 of the released code: 29,306,465 parameters for one class."""
ternausnet16_transposed = functools.partial(
    ternausnet16, block=ConvUp, upsample=functools.partial(TransposedConv, kernel_size=4)
)
"""UNet-16 with transposed convolutions, the one for surgical instruments: 32,202,337."""
ternausnet11_surgical = functools.partial(
    TernausNet, upsample=functools.partial(TransposedConv, kernel_size=4)
)
"""UNet-11 for surgical instruments: 25,364,513 parameters for one class."""
albunet34 = functools.partial(
    TernausNet,
    backbone=AlbuEncoder(),
    skips=("c5", "c4", "c3", "c2", None, None),
    decoder=((512, 256), (512, 256), (512, 256), (256, 64), (128, 128), (128, 32)),
    block=UpConvs,
    upsample=Bilinear,
)
"""AlbuNet-34: 35,117,897 parameters for one class, with 513,000 of a classifier that is unused."""
albunet34_transposed = functools.partial(
    albunet34, block=ConvUp, upsample=functools.partial(TransposedConv, kernel_size=4)
)
"""AlbuNet-34 with transposed convolutions, `is_deconv=True`: 38,128,457, with the same unused."""
