"""Encoder-Decoder with Atrous Separable Convolution (DeepLab v3+, Chen et al. 2018).

arXiv:1802.02611. DeepLab v3 with a decoder that reads the first stage's features.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from segjax.backbones.resnet import resnet50, resnet101
from segjax.nn.aspp import ASPP, SeparableConvNorm
from segjax.nn.fcn_head import FCNHead, enlarged, stride_of
from segjax.nn.layers import BatchNorm, Conv, ConvNorm, SpatialDropout
from segjax.nn.upsample import Bilinear, legal_side


class DeepLabV3Plus(nn.Module):
    """Images [B, H, W, C] -> {'logits': float32 [B, H, W, num_classes], ...}, of any size.

    The backbone's 'c5' goes through ASPP and up to the size of 'c2', joins `low_features` channels
    of it, goes through `depth` 3x3 convolutions and up to the image. `conv` makes all the 3x3
    convolutions, plain or separable (section 3.1). `convs` more follow ASPP in smp's network, where
    the paper has none. `auxiliary` names the map behind an auxiliary head, whose logits are 'aux'.

    `deeplab_v3plus_resnet50` and its siblings are published networks.
    """

    num_classes: int
    backbone: nn.Module
    features: int = 256
    aspp: Callable[..., nn.Module] = ASPP
    conv: Callable[..., nn.Module] = ConvNorm
    convs: int = 0
    low_features: int = 48
    depth: int = 2
    dropout: float = 0.0  # before the logits; ASPP has its own
    drop: Callable[..., nn.Module] = nn.Dropout  # there and in the auxiliary head
    auxiliary: str | None = None
    norm: Callable[..., nn.Module] = BatchNorm
    upsample: Callable[..., nn.Module] = functools.partial(Bilinear, convention="corner-aligned")
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        options = {"norm": self.norm, "dtype": self.dtype}
        conv = functools.partial(self.conv, self.features, **options)
        up = functools.partial(enlarged, self.upsample, image)
        stride = self.backbone.output_stride
        maps = self.backbone(image, train=train)
        aspp = self.aspp(features=self.features, conv=self.conv, **options, name="aspp")
        x = aspp(maps["c5"], train=train)  # 1/16 or 1/8
        for i in range(self.convs):
            x = conv(name=f"conv{i}")(x, train=train)
        low = ConvNorm(self.low_features, 1, **options, name="low")(maps["c2"], train=train)
        enlarge = self.upsample(
            features=self.features, factor=stride // 4, dtype=self.dtype, name="up0"
        )
        x = enlarge(x, size=low.shape[1:3])  # 1/4
        x = jnp.concatenate([x, low], axis=-1)
        for i in range(self.depth):
            x = conv(name=f"decoder{i}")(x, train=train)
        x = self.drop(self.dropout, deterministic=not train)(x)
        x = Conv(self.num_classes, (1, 1), dtype=self.dtype, name="head")(x)
        out = {"logits": up("up1", x, 4)}  # 1/1
        if self.auxiliary is not None:
            head = FCNHead(self.num_classes, drop=self.drop, **options, name="aux")
            x = head(maps[self.auxiliary], train=train)
            out["aux"] = up("up_aux", x, stride_of(self.auxiliary, stride))
        return out

    def input_size(self, output: int) -> int:
        """The smallest legal side of an input whose output covers `output` pixels."""
        return legal_side(output, self.upsample, self.backbone.output_stride)

    def output_size(self, size: int) -> int:
        """The side of the output for a side of the input."""
        return size


def deeplab_v3plus(
    resnet: Callable[..., nn.Module],
    num_classes: int,
    *,
    output_stride: Literal[8, 16] = 16,
    norm: Callable[..., nn.Module] = BatchNorm,
    dtype: Any = None,
    **options: Any,
) -> DeepLabV3Plus:
    """The paper's network on a ResNet (section 4.1), whose encoder is that of DeepLab v3.

    With 21 classes 40,352,181 parameters on ResNet-50 and 59,344,309 on ResNet-101. The paper's
    separable convolutions are `conv=nn.aspp.SeparableConvNorm`.
    """
    backbone = resnet(
        output_stride=output_stride, first_unit="new", multi_grid=(1, 2, 4), norm=norm, dtype=dtype
    )
    aspp = functools.partial(ASPP, rates=(6, 12, 18) if output_stride == 16 else (12, 24, 36))
    return DeepLabV3Plus(num_classes, backbone, aspp=aspp, norm=norm, dtype=dtype, **options)


deeplab_v3plus_resnet50 = functools.partial(deeplab_v3plus, resnet50)
deeplab_v3plus_resnet101 = functools.partial(deeplab_v3plus, resnet101)


def deeplab_v3plus_pytorch(
    resnet: Callable[..., nn.Module],
    num_classes: int,
    *,
    output_stride: Literal[8, 16] = 16,
    norm: Callable[..., nn.Module] = BatchNorm,
    dtype: Any = None,
    **options: Any,
) -> DeepLabV3Plus:
    """The paper's network in deeplab-pytorch: a ResNet as Caffe's, half-pixel resizing, no dropout.

    The stem's pooling rounds up and units stride in their first convolution. 59,344,309 parameters
    on ResNet-101 with 21 classes.
    """
    backbone = resnet(
        output_stride=output_stride,
        first_unit="new",
        multi_grid=(1, 2, 4),
        stride_in="1x1",
        pool_rounding="ceil",
        norm=norm,
        dtype=dtype,
    )
    rates = (6, 12, 18) if output_stride == 16 else (12, 24, 36)
    aspp = functools.partial(ASPP, rates=rates, pooled="last", dropout=0.0)
    options = {"aspp": aspp, "upsample": Bilinear, **options}
    return DeepLabV3Plus(num_classes, backbone, norm=norm, dtype=dtype, **options)


def deeplab_v3plus_mmseg(
    resnet: Callable[..., nn.Module],
    num_classes: int,
    *,
    norm: Callable[..., nn.Module] = BatchNorm,
    dtype: Any = None,
    **options: Any,
) -> DeepLabV3Plus:
    """mmsegmentation's network: 512 separable channels, and a 3x3 convolution ends ASPP.

    With 19 classes 43,589,878 parameters on `resnet50_v1c` and 62,582,006 on `resnet101_v1c`;
    41,225,187 on the first with `auxiliary=None`. Its auxiliary loss weighs 0.4.
    """
    backbone = resnet(output_stride=8, norm=norm, dtype=dtype)
    options = {
        "features": 512,
        "aspp": functools.partial(ASPP, rates=(12, 24, 36), fuse_size=3, dropout=0.0),
        "conv": SeparableConvNorm,
        "dropout": 0.1,
        "drop": SpatialDropout,
        "auxiliary": "c4",
        "upsample": Bilinear,
        **options,
    }
    return DeepLabV3Plus(num_classes, backbone, norm=norm, dtype=dtype, **options)


def deeplab_v3plus_smp(
    resnet: Callable[..., nn.Module],
    num_classes: int,
    *,
    output_stride: Literal[8, 16] = 16,
    norm: Callable[..., nn.Module] = BatchNorm,
    dtype: Any = None,
    **options: Any,
) -> DeepLabV3Plus:
    """segmentation-models-pytorch's network: rates 12, 24, 36 at output stride 16 too.

    A separable convolution more behind ASPP and one less in the decoder; nothing between the two
    halves of a separable convolution.
    """
    backbone = resnet(output_stride=output_stride, first_unit="new", norm=norm, dtype=dtype)
    options = {
        "aspp": functools.partial(ASPP, rates=(12, 24, 36), pooled="last", dropout=0.5),
        "conv": functools.partial(SeparableConvNorm, depthwise="linear"),
        "convs": 1,
        "depth": 1,
        **options,
    }
    return DeepLabV3Plus(num_classes, backbone, norm=norm, dtype=dtype, **options)
