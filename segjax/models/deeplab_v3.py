"""Rethinking Atrous Convolution for Semantic Image Segmentation (Chen et al. 2017).

arXiv:1706.05587. Context from dilation: in parallel (ASPP) or in cascade (more blocks of a ResNet).
"""

import functools
import math
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax

from segjax.backbones.mobilenet_v3 import mobilenet_v3_large
from segjax.backbones.resnet import Bottleneck, resnet50, resnet101
from segjax.nn.aspp import ASPP
from segjax.nn.fcn_head import FCNHead, enlarged, stride_of
from segjax.nn.layers import BatchNorm, Conv, ConvNorm, SpatialDropout
from segjax.nn.upsample import Bilinear, legal_side

CornerAligned = functools.partial(Bilinear, convention="corner-aligned")
"""How the authors' code upsamples."""


class Cascade(nn.Module):
    """Blocks 5 to 7: copies of a ResNet's last stage, [B, h, w, C] -> [B, h, w, C].

    One block for each of `rates`, whose 3x3 convolutions dilate by that rate times those of
    `multi_grid`. Rates (1, 1, 1) and strides (2, 2, 2) are what the paper compares with, "going
    deeper without atrous convolution". Section 3.2 and figure 3.
    """

    rates: tuple[int, ...] = (4, 8, 16)  # at output stride 16
    strides: tuple[int, ...] = (1, 1, 1)
    multi_grid: tuple[int, ...] = (1, 2, 1)
    norm: Callable[..., nn.Module] = BatchNorm
    dtype: Any = None

    @property
    def stride(self) -> int:
        return math.prod(self.strides)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        for block, (rate, stride) in enumerate(zip(self.rates, self.strides, strict=True), 5):
            for i, unit_rate in enumerate(self.multi_grid):
                x = Bottleneck(
                    features=x.shape[-1] // Bottleneck.expansion,
                    stride=stride if i == 0 else 1,
                    dilation=rate * unit_rate,
                    norm=self.norm,
                    stride_in="3x3",
                    dtype=self.dtype,
                    name=f"block{block}_{i}",
                )(x, train=train)
        return x


class DeepLabV3(nn.Module):
    """Images [B, H, W, C] -> {'logits': float32 [B, H, W, num_classes], ...}, of any size.

    `context` makes the module between the backbone's 'c5' and the logits, `nn.aspp.ASPP` or
    `Cascade`; `convs` 3x3 convolutions follow it in torchvision's and smp's networks, where the
    paper has none. `auxiliary` names the map behind an auxiliary head, whose logits are 'aux'.

    `deeplab_v3_resnet50` and its siblings are published networks.
    """

    num_classes: int
    backbone: nn.Module
    context: Callable[..., nn.Module] = ASPP
    convs: int = 0
    auxiliary: str | None = None
    drop: Callable[..., nn.Module] = nn.Dropout  # of the auxiliary head
    norm: Callable[..., nn.Module] = BatchNorm
    upsample: Callable[..., nn.Module] = CornerAligned
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        options = {"norm": self.norm, "dtype": self.dtype}
        up = functools.partial(enlarged, self.upsample, image)
        stride = self.backbone.output_stride
        maps = self.backbone(image, train=train)
        context = self.context(**options, name="context")
        x = context(maps["c5"], train=train)  # 1/16 or 1/8
        for i in range(self.convs):
            x = ConvNorm(x.shape[-1], **options, name=f"conv{i}")(x, train=train)
        x = Conv(self.num_classes, (1, 1), dtype=self.dtype, name="head")(x)
        out = {"logits": up("up", x, stride * context.stride)}  # 1/1
        if self.auxiliary is not None:
            head = FCNHead(self.num_classes, drop=self.drop, **options, name="aux")
            x = head(maps[self.auxiliary], train=train)
            out["aux"] = up("up_aux", x, stride_of(self.auxiliary, stride))
        return out

    def input_size(self, output: int) -> int:
        """The smallest legal side of an input whose output covers `output` pixels."""
        stride = self.backbone.output_stride * self.context(parent=None).stride
        return legal_side(output, self.upsample, stride)

    def output_size(self, size: int) -> int:
        """The side of the output for a side of the input."""
        return size


def deeplab_v3(
    resnet: Callable[..., nn.Module],
    num_classes: int,
    *,
    output_stride: Literal[8, 16] = 16,
    norm: Callable[..., nn.Module] = BatchNorm,
    dtype: Any = None,
    **options: Any,
) -> DeepLabV3:
    """The paper's network with ASPP, trained at output stride 16 and tested at 8; section 4.2.

    Multi-grid (1, 2, 4), and rates 6, 12, 18 or twice that: the same weights fit either stride.
    With 21 classes 39,048,533 parameters on ResNet-50 and 58,040,661 on ResNet-101.
    """
    backbone = resnet(
        output_stride=output_stride, first_unit="new", multi_grid=(1, 2, 4), norm=norm, dtype=dtype
    )
    rates = (6, 12, 18) if output_stride == 16 else (12, 24, 36)
    context = functools.partial(ASPP, rates=rates)
    return DeepLabV3(num_classes, backbone, context, norm=norm, dtype=dtype, **options)


deeplab_v3_resnet50 = functools.partial(deeplab_v3, resnet50)
deeplab_v3_resnet101 = functools.partial(deeplab_v3, resnet101)


def deeplab_v3_cascade(
    resnet: Callable[..., nn.Module],
    num_classes: int,
    *,
    output_stride: Literal[8, 16] = 16,
    norm: Callable[..., nn.Module] = BatchNorm,
    dtype: Any = None,
    **options: Any,
) -> DeepLabV3:
    """The paper's network with blocks 5 to 7 in cascade and multi-grid (1, 2, 1); section 4.1."""
    grid = (1, 2, 1)
    backbone = resnet(
        output_stride=output_stride, first_unit="new", multi_grid=grid, norm=norm, dtype=dtype
    )
    rates = (4, 8, 16) if output_stride == 16 else (8, 16, 32)
    context = functools.partial(Cascade, rates=rates, multi_grid=grid)
    return DeepLabV3(num_classes, backbone, context, norm=norm, dtype=dtype, **options)


def deeplab_v3_torchvision(
    resnet: Callable[..., nn.Module],
    num_classes: int,
    *,
    norm: Callable[..., nn.Module] = BatchNorm,
    dtype: Any = None,
    **options: Any,
) -> DeepLabV3:
    """torchvision's network: no multi-grid, more dropout, a 3x3 convolution behind ASPP.

    With 21 classes 42,004,074 parameters on ResNet-50 and 60,996,202 on ResNet-101; 39,638,869 and
    58,630,997 with `auxiliary=None`. Its auxiliary loss weighs 0.5.
    """
    backbone = resnet(output_stride=8, norm=norm, dtype=dtype)
    options = {"auxiliary": "c4", **_TORCHVISION, **options}
    return DeepLabV3(num_classes, backbone, norm=norm, dtype=dtype, **options)


_TORCHVISION: dict[str, Any] = {
    "context": functools.partial(ASPP, rates=(12, 24, 36), pooled="last", dropout=0.5),
    "convs": 1,
    "upsample": Bilinear,
}


def deeplab_v3_mobilenet_v3(num_classes: int, *, dtype: Any = None, **options: Any) -> DeepLabV3:
    """torchvision's network on a MobileNetV3-Large whose last stage is dilated: output stride 16.

    With 21 classes 11,029,328 parameters; 11,025,477 with `auxiliary=None`.
    """
    backbone = mobilenet_v3_large(output_stride=16, dtype=dtype)
    options = {"auxiliary": "c3", **_TORCHVISION, **options}
    return DeepLabV3(num_classes, backbone, dtype=dtype, **options)


def deeplab_v3_pytorch(
    resnet: Callable[..., nn.Module],
    num_classes: int,
    *,
    output_stride: Literal[8, 16] = 16,
    features: int = 256,
    norm: Callable[..., nn.Module] = BatchNorm,
    dtype: Any = None,
    **options: Any,
) -> DeepLabV3:
    """The paper's network in deeplab-pytorch: a ResNet as Caffe's, half-pixel resizing, no dropout.

    The stem's pooling rounds up and units stride in their first convolution. 58,040,661 parameters
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
    context = functools.partial(ASPP, features, rates, pooled="last", dropout=0.0)
    options = {"upsample": Bilinear, **options}
    return DeepLabV3(num_classes, backbone, context, norm=norm, dtype=dtype, **options)


def deeplab_v3_mmseg(
    resnet: Callable[..., nn.Module],
    num_classes: int,
    *,
    norm: Callable[..., nn.Module] = BatchNorm,
    dtype: Any = None,
    **options: Any,
) -> DeepLabV3:
    """mmsegmentation's network: no multi-grid, 512 channels, ASPP ends in a 3x3 convolution.

    With 19 classes 68,113,030 parameters on `resnet50_v1c` and 87,105,158 on `resnet101_v1c`;
    65,748,339 on the first with `auxiliary=None`. Its auxiliary loss weighs 0.4.
    """
    backbone = resnet(output_stride=8, norm=norm, dtype=dtype)
    context = functools.partial(ASPP, 512, (12, 24, 36), fuse_size=3, drop=SpatialDropout)
    options = {"auxiliary": "c4", "drop": SpatialDropout, "upsample": Bilinear, **options}
    return DeepLabV3(num_classes, backbone, context, norm=norm, dtype=dtype, **options)
