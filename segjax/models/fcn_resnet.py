"""Fully Convolutional Networks (Long et al. 2015, arXiv:1411.4038) on a dilated ResNet.

The network torchvision calls FCN: without the paper's skips, at output stride 8 instead.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from segjax.backbones.resnet import resnet50, resnet101
from segjax.nn.fcn_head import FCNHead, enlarged, stride_of
from segjax.nn.layers import BatchNorm
from segjax.nn.upsample import Bilinear, legal_side


class FCNResNet(nn.Module):
    """Images [B, H, W, C] -> {'logits', 'aux'}: float32 [B, H, W, num_classes], of any size.

    `auxiliary` names the map of the backbone that a second head reads (torchvision weighs its loss
    by 0.5); with None there is no 'aux'.
    """

    num_classes: int
    backbone: nn.Module
    auxiliary: str | None = "c4"
    norm: Callable[..., nn.Module] | None = BatchNorm
    upsample: Callable[..., nn.Module] = Bilinear
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        head = functools.partial(FCNHead, self.num_classes, norm=self.norm, dtype=self.dtype)
        up = functools.partial(enlarged, self.upsample, image)
        stride = self.backbone.output_stride
        maps = self.backbone(image, train=train)
        x = head(name="head")(maps["c5"], train=train)  # 1/8
        out = {"logits": up("up_head", x, stride)}  # 1/1
        if self.auxiliary is not None:
            x = head(name="aux")(maps[self.auxiliary], train=train)
            out["aux"] = up("up_aux", x, stride_of(self.auxiliary, stride))
        return out

    def input_size(self, output: int) -> int:
        """The smallest legal side of an input whose output covers `output` pixels."""
        return legal_side(output, self.upsample, self.backbone.output_stride)

    def output_size(self, size: int) -> int:
        """The side of the output for a side of the input."""
        return size


def fcn_resnet(
    resnet: Callable[..., nn.Module],
    num_classes: int,
    *,
    norm: Callable[..., nn.Module] = BatchNorm,
    dtype: Any = None,
    **options: Any,
) -> FCNResNet:
    """torchvision's network on one of `segjax.backbones.resnet`.

    With 21 classes 35,322,218 parameters on ResNet-50 and 54,314,346 on ResNet-101; 32,957,013 and
    51,949,141 with `auxiliary=None`.
    """
    backbone = resnet(output_stride=8, norm=norm, dtype=dtype)
    return FCNResNet(num_classes, backbone, norm=norm, dtype=dtype, **options)


fcn_resnet50 = functools.partial(fcn_resnet, resnet50)
fcn_resnet101 = functools.partial(fcn_resnet, resnet101)
