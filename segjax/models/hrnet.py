"""HRNetV2: High-Resolution Representations for Labeling Pixels and Regions (Sun et al. 2019).

arXiv:1904.04514; also Wang et al. 2019, arXiv:1908.07919, section 3.3.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from segjax.backbones import hrnet
from segjax.nn.initializers import normal
from segjax.nn.layers import BatchNorm, Conv
from segjax.nn.upsample import Bilinear, legal_side
from segjax.ops import resize
from segjax.ops.activation import relu


def concatenate_maps(
    maps: dict[str, jax.Array], upsample: Callable[..., nn.Module], dtype: Any
) -> jax.Array:
    """'c2' to 'c5' side by side at the resolution of 'c2', fine to coarse: [B, h, w, 15 width]."""
    size = maps["c2"].shape[1:3]
    columns = [maps["c2"]]
    for level in (3, 4, 5):
        x = maps[f"c{level}"]
        up = upsample(features=x.shape[-1], factor=2 ** (level - 2), dtype=dtype, name=f"up{level}")
        columns.append(up(x, size=size))
    return jnp.concatenate(columns, axis=-1)


class HRNetV2(nn.Module):
    """HRNetV2: the trunk and the representation head of Wang et al. 2019, figure 4 (b).

    Images [B, H, W, C] -> {'logits': float32 [B, H, W, num_classes]}, of any size. The four
    branches are brought to the resolution of the first and concatenated; two 1x1 convolutions, of
    which the first keeps the width, give logits at 1/4.

    `backbone` is a `segjax.backbones.hrnet.HRNet`, whose own `upsample` fuses its branches;
    `upsample` is any factory of `nn.upsample` and `resize` takes the logits to the image's size.
    All are bilinear in the half-pixel convention, as on the main branch of the authors' repository;
    other checkpoints want the corner-aligned one everywhere. The head starts from N(0, 0.001); the
    trunk from He's initialisation, since the authors' comes from ImageNet.
    65,859,379 parameters at width 48 with 19 classes.
    """

    num_classes: int
    backbone: nn.Module
    norm: Callable[..., nn.Module] = BatchNorm
    upsample: Callable[..., nn.Module] = Bilinear
    resize: Callable[[jax.Array, tuple[int, int]], jax.Array] = resize.bilinear
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        conv = functools.partial(
            Conv, kernel_size=(1, 1), kernel_init=normal(0.001), dtype=self.dtype
        )
        maps = self.backbone(image, train=train)
        x = concatenate_maps(maps, self.upsample, self.dtype)  # 1/4
        x = conv(x.shape[-1], name="last_layer_conv")(x)
        x = relu(self.norm(dtype=self.dtype, name="last_layer_norm")(x, train=train))
        logits = conv(self.num_classes, name="head")(x).astype(jnp.float32)
        return {"logits": self.resize(logits, (image.shape[1], image.shape[2]))}  # 1

    def input_size(self, output: int) -> int:
        """The smallest legal side of an input whose output covers `output` pixels."""
        side = legal_side(output, self.upsample, 32)
        return legal_side(side, self.backbone.upsample, 32)

    def output_size(self, size: int) -> int:
        """The side of the output for a legal side of the input."""
        return size


hrnet_w18 = functools.partial(HRNetV2, backbone=hrnet.hrnet_w18())
hrnet_w32 = functools.partial(HRNetV2, backbone=hrnet.hrnet_w32())
hrnet_w40 = functools.partial(HRNetV2, backbone=hrnet.hrnet_w40())
hrnet_w48 = functools.partial(HRNetV2, backbone=hrnet.hrnet_w48())
hrnet_w18_small_v1 = functools.partial(HRNetV2, backbone=hrnet.hrnet_w18_small_v1())
hrnet_w18_small_v2 = functools.partial(HRNetV2, backbone=hrnet.hrnet_w18_small_v2())
