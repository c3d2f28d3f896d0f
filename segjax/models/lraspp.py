"""Lite reduced ASPP of Searching for MobileNetV3 (Howard et al. 2019, arXiv:1905.02244)."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from segjax.backbones.mobilenet_v3 import mobilenet_v3_large
from segjax.nn.layers import BatchNorm, Conv, ConvNorm
from segjax.nn.upsample import Bilinear, legal_side


class LRASPP(nn.Module):
    """LR-ASPP, section 6.4 and figure 10: 3,221,538 parameters with 21 classes.

    Images [B, H, W, C] -> {'logits': float32 [B, H, W, num_classes]}, of any size. As torchvision's
    network: the gate sees the mean of the whole map, where the paper's sees 49x49 windows.

    `lraspp` is the published network.
    """

    num_classes: int
    backbone: nn.Module
    features: int = 128
    norm: Callable[..., nn.Module] = BatchNorm
    upsample: Callable[..., nn.Module] = Bilinear
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        maps = self.backbone(image, train=train)
        low, high = maps["c3"], maps["c5"]  # 1/8, 1/16
        x = ConvNorm(self.features, 1, norm=self.norm, dtype=self.dtype, name="cbr")(
            high, train=train
        )
        mean = jnp.mean(high, axis=(1, 2), keepdims=True, dtype=jnp.float32).astype(high.dtype)
        scale = Conv(self.features, (1, 1), use_bias=False, dtype=self.dtype, name="scale")(mean)
        x = x * nn.sigmoid(scale)
        up = self.upsample(
            features=self.features,
            factor=self.backbone.output_stride // 8,
            dtype=self.dtype,
            name="up0",
        )
        x = up(x, size=low.shape[1:3])  # 1/8
        x = Conv(self.num_classes, (1, 1), dtype=self.dtype, name="high_classifier")(x)
        x = x + Conv(self.num_classes, (1, 1), dtype=self.dtype, name="low_classifier")(low)
        up = self.upsample(features=self.num_classes, factor=8, dtype=jnp.float32, name="up1")
        return {"logits": up(x.astype(jnp.float32), size=image.shape[1:3])}  # 1/1

    def input_size(self, output: int) -> int:
        """The smallest legal side of an input whose output covers `output` pixels."""
        return legal_side(output, self.upsample, self.backbone.output_stride)

    def output_size(self, size: int) -> int:
        """The side of the output for a side of the input."""
        return size


def lraspp(num_classes: int, *, dtype: Any = None, **options: Any) -> LRASPP:
    """torchvision's network, on a MobileNetV3-Large whose last stage is dilated."""
    backbone = mobilenet_v3_large(output_stride=16, dtype=dtype)
    return LRASPP(num_classes, backbone, dtype=dtype, **options)
