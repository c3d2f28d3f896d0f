"""Pyramid Scene Parsing Network (Zhao et al. 2016, arXiv:1612.01105)."""

import functools
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from segjax.backbones.resnet import resnet50, resnet101, resnet152
from segjax.nn.fcn_head import FCNHead, enlarged, stride_of
from segjax.nn.layers import BatchNorm, ConvNorm, SpatialDropout
from segjax.nn.upsample import Bilinear, legal_side
from segjax.ops.pooling import adaptive_avg_pool
from segjax.ops.resize import bilinear


class PyramidPooling(nn.Module):
    """The input beside its means over grids of bins: [B, h, w, C] -> [B, h, w, 2 C].

    Each grid goes through a 1x1 convolution to C / len(bins) channels and back to h, w. Section
    3.2 and figure 3.
    """

    bins: tuple[int, ...] = (1, 2, 3, 6)
    convention: Literal["half-pixel", "corner-aligned"] = "corner-aligned"
    norm: Callable[..., nn.Module] | None = BatchNorm
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        levels, size = [x], (x.shape[1], x.shape[2])
        for i, bins in enumerate(self.bins):
            y = adaptive_avg_pool(x, (bins, bins))
            features = x.shape[-1] // len(self.bins)
            conv = ConvNorm(features, 1, norm=self.norm, dtype=self.dtype, name=f"level{i}")
            levels.append(bilinear(conv(y, train=train), size, self.convention))
        return jnp.concatenate(levels, axis=-1)


class PSPNet(nn.Module):
    """Images [B, H, W, C] -> {'logits', 'aux'}: float32 [B, H, W, num_classes], of any size.

    A side that is 1 more than a multiple of 8 (473 and 713 in the paper) keeps corners aligned all
    the way. `auxiliary` names the map of the backbone behind a second head (section 3.3; its loss
    weighs 0.4); with None there is no 'aux'. The paper's Caffe code concatenates the pyramid in
    the opposite order, which matters to imported weights only. Dropout is of whole maps.

    `pspnet50` and its siblings are the published networks.
    """

    num_classes: int
    backbone: nn.Module
    features: int = 512
    pyramid: Callable[..., nn.Module] = PyramidPooling
    auxiliary: str | None = "c4"
    dropout: float = 0.1
    norm: Callable[..., nn.Module] = BatchNorm
    upsample: Callable[..., nn.Module] = functools.partial(Bilinear, convention="corner-aligned")
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        options = {"norm": self.norm, "dtype": self.dtype}
        drop = {"dropout": self.dropout, "drop": SpatialDropout}
        head = functools.partial(FCNHead, self.num_classes, **drop, **options)
        up = functools.partial(enlarged, self.upsample, image)
        stride = self.backbone.output_stride
        maps = self.backbone(image, train=train)
        x = self.pyramid(**options, name="pyramid")(maps["c5"], train=train)  # 1/8
        x = head(features=self.features, name="head")(x, train=train)
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


def pspnet(
    resnet: Callable[..., nn.Module],
    num_classes: int,
    *,
    norm: Callable[..., nn.Module] = BatchNorm,
    dtype: Any = None,
    **options: Any,
) -> PSPNet:
    """The authors' network, as their PyTorch code: a stem of three convolutions, output stride 8.

    With 19 classes 49,080,038 parameters on ResNet-50, 68,072,166 on 101, 83,715,814 on 152;
    46,715,347, 65,707,475 and 81,351,123 with `auxiliary=None`.
    """
    backbone = resnet(stem=(64, 64, 128), output_stride=8, first_unit="new", norm=norm, dtype=dtype)
    return PSPNet(num_classes, backbone, norm=norm, dtype=dtype, **options)


pspnet50 = functools.partial(pspnet, resnet50)
pspnet101 = functools.partial(pspnet, resnet101)
pspnet152 = functools.partial(pspnet, resnet152)


def pspnet_mmseg(
    resnet: Callable[..., nn.Module],
    num_classes: int,
    *,
    norm: Callable[..., nn.Module] = BatchNorm,
    dtype: Any = None,
    **options: Any,
) -> PSPNet:
    """mmsegmentation's network: half-pixel resizing, and a dilated stage starts at the old rate.

    With 19 classes 48,975,494 parameters on `resnet50_v1c` and 67,967,622 on `resnet101_v1c`;
    46,610,803 on the first with `auxiliary=None`.
    """
    backbone = resnet(output_stride=8, norm=norm, dtype=dtype)
    pyramid = functools.partial(PyramidPooling, convention="half-pixel")
    options = {"pyramid": pyramid, "upsample": Bilinear, **options}
    return PSPNet(num_classes, backbone, norm=norm, dtype=dtype, **options)
