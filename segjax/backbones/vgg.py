"""Very Deep Convolutional Networks (Simonyan and Zisserman 2014, arXiv:1409.1556).

With the changes that segmentation networks make: the padding and rounding of FCN, and the pools and
dilation of DeepLab v1.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from segjax.errors import InputError
from segjax.nn.layers import BatchNorm, Conv
from segjax.ops.activation import relu
from segjax.ops.pooling import max_pool, max_pool_with_switches


class VGG(nn.Module):
    """Images [B, H, W, C] -> {'c0', ..., 'c5', 's1', ..., 's5'}; see `segjax.backbones`.

    Stage k is depths[k - 1] 3x3 convolutions of widths[k - 1] channels, which give 'c(k-1)', and a
    max-pool; 'c5' is what the last pool gives. Convolutions have a bias even before a `norm`, as
    torchvision's, SegNet's and DeconvNet's have. `first_padding` is that of the first convolution,
    100 in FCN. With pool_size 3 the pools are 3x3, padded by 1, without switches; then a lower
    `output_stride` gives the last ones stride 1 and dilates what follows (DeepLab).
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    pool_size: Literal[2, 3] = 2
    pool_rounding: Literal["floor", "ceil"] = "floor"
    output_stride: Literal[8, 16, 32] = 32
    first_padding: int = 1
    norm: Callable[..., nn.Module] | None = None
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, Any]:
        chex.assert_rank(image, 4)
        if self.output_stride < 32 and self.pool_size != 3:
            raise InputError(
                f"output_stride {self.output_stride} needs pools that can keep the resolution: set "
                "pool_size to 3."
            )
        ceil = self.pool_rounding == "ceil"
        x, maps, stride_now, dilation = image, {}, 1, 1
        for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True), 1):
            for i in range(1, depth + 1):
                x = Conv(
                    width,
                    (3, 3),
                    padding=self.first_padding if stage == i == 1 else dilation,
                    kernel_dilation=dilation,
                    dtype=self.dtype,
                    name=f"conv{stage}_{i}",
                )(x)
                if self.norm is not None:
                    x = self.norm(dtype=self.dtype, name=f"bn{stage}_{i}")(x, train=train)
                x = relu(x)
            maps[f"c{stage - 1}"] = x  # 1/2**(stage - 1)
            if self.pool_size == 2:
                x, maps[f"s{stage}"] = max_pool_with_switches(x, ceil_mode=ceil)
                continue
            stride = 2 if 2 * stride_now <= self.output_stride else 1
            stride_now, dilation = stride * stride_now, dilation * (2 if stride == 1 else 1)
            x = max_pool(x, (3, 3), (stride, stride), ((1, 1), (1, 1)), ceil)
        maps[f"c{len(self.depths)}"] = x
        return maps


class Classifier(nn.Module):
    """A VGG as the classifier it is trained as, its dense layers made convolutions.

    Images -> {'logits': [B, num_classes], 'scores': [B, h, w, num_classes]}. An image of 224 pixels
    has one score; a larger one has one for each crop of 224 that is 32 pixels from the next, and
    their mean is the logits (section 3.2). Raises `InputError` for images below 32 * `window`.
    """

    backbone: nn.Module
    num_classes: int = 1000
    hidden: int = 4096
    window: int = 7

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        maps = self.backbone(image, train=train)
        x = maps[max(name for name in maps if name.startswith("c"))]
        if min(x.shape[1:3]) < self.window:
            raise InputError(
                f"The classifier needs {self.window} x {self.window} features and got "
                f"{x.shape[1]} x {x.shape[2]}: give larger images than {image.shape[1:3]}."
            )
        for name, size in (("fc6", self.window), ("fc7", 1)):
            x = relu(Conv(self.hidden, (size, size), padding=0, name=name)(x))
            x = nn.Dropout(0.5, deterministic=not train)(x)
        scores = Conv(self.num_classes, (1, 1), name="fc8")(x).astype(jnp.float32)
        return {"logits": jnp.mean(scores, axis=(1, 2)), "scores": scores}


vgg11 = functools.partial(VGG, (1, 1, 2, 2, 2))
vgg13 = functools.partial(VGG, (2, 2, 2, 2, 2))
vgg16 = functools.partial(VGG, (2, 2, 3, 3, 3))
vgg19 = functools.partial(VGG, (2, 2, 4, 4, 4))
vgg11_bn = functools.partial(vgg11, norm=BatchNorm)
vgg13_bn = functools.partial(vgg13, norm=BatchNorm)
vgg16_bn = functools.partial(vgg16, norm=BatchNorm)
vgg19_bn = functools.partial(vgg19, norm=BatchNorm)
