"""RefineNet: Multi-Path Refinement Networks (Lin et al. 2016, arXiv:1611.06612).

And Light-Weight RefineNet (Nekrasov et al. 2018, arXiv:1810.03272), which removes the residual
units and makes the other 3x3 convolutions 1x1.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from segjax.backbones.resnet import resnet50, resnet101, resnet152
from segjax.nn.initializers import normal
from segjax.nn.layers import Conv
from segjax.nn.upsample import Bilinear, legal_side
from segjax.ops import resize
from segjax.ops.activation import relu
from segjax.ops.pooling import max_pool


class ResidualConvUnit(nn.Module):
    """x + conv(ReLU(conv(ReLU(x)))); section 3.2, figure 3b."""

    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        features = x.shape[-1]
        y = _conv(features, 3, "conv1", use_bias=True, dtype=self.dtype)(relu(x))
        return x + _conv(features, 3, "conv2", dtype=self.dtype)(relu(y))


class ChainedResidualPooling(nn.Module):
    """ReLU, then the sum of itself and of a chain of 5x5 max-pools and convolutions; figure 3d."""

    kernel_size: int
    order: Literal["pool-conv", "conv-pool"]
    length: int = 4
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        pool = functools.partial(max_pool, window=(5, 5), stride=(1, 1), padding=((2, 2), (2, 2)))
        x = y = relu(x)
        for i in range(1, self.length + 1):
            conv = _conv(x.shape[-1], self.kernel_size, f"conv{i}", dtype=self.dtype)
            y = conv(pool(y)) if self.order == "pool-conv" else pool(conv(y))
            x = x + y
        return x


class Refine(nn.Module):
    """A RefineNet block: residual units, fusion with the deeper path, pooling, residual units.

    x [B, h, w, C] of the backbone and deeper, of the previous block, -> [B, h, w, features].
    """

    features: int
    kernel_size: int
    units: tuple[int, int]
    pooling: Literal["pool-conv", "conv-pool"]
    pools: int
    upsample: Callable[..., nn.Module]
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, deeper: jax.Array | None) -> jax.Array:
        conv = functools.partial(_conv, self.features, self.kernel_size, dtype=self.dtype)
        x = conv("reduce")(x)
        for i in range(1, self.units[0] + 1):
            x = ResidualConvUnit(self.dtype, name=f"adapt{i}")(x)
        if deeper is not None:
            up = self.upsample(features=self.features, factor=2, dtype=self.dtype, name="up")
            x = conv("fuse")(x) + up(conv("fuse_deeper")(deeper), size=x.shape[1:3])
        pool = ChainedResidualPooling(
            self.kernel_size, self.pooling, self.pools, self.dtype, name="pool"
        )
        x = pool(x)
        for i in range(1, self.units[1] + 1):
            x = ResidualConvUnit(self.dtype, name=f"output{i}")(x)
        return x


class RefineNet(nn.Module):
    """Images [B, H, W, C] -> {'logits': float32 [B, H, W, num_classes]}; section 3, figure 2c.

    H and W are any; upsamplers other than the interpolations need multiples of 32. The logits
    are made at 1/4 and resized. The default is RefineNet-101: 118,052,437 parameters for 21
    classes, with trained normalisation in the backbone. The paper keeps that of the pretrained
    network: `backbone=resnet101(norm=FrozenBatchNorm)`.

    From the released code: `features` of the deepest block are twice those of the others, three
    residual units at a block's output where figure 3 has one, dropout on the two deepest maps and
    before the logits. `pooling` is 'pool-conv' as in the paper, 'conv-pool' as in the code's
    improved networks. Bilinear upsampling is corner-aligned, as in the PyTorch port.
    """

    num_classes: int
    backbone: nn.Module = resnet101()
    features: int = 256
    kernel_size: Literal[1, 3] = 3
    units: tuple[int, int] = (2, 3)  # residual units before the fusion and at the output
    pooling: Literal["pool-conv", "conv-pool"] = "pool-conv"
    pools: int = 4
    dropout: float = 0.5
    upsample: Callable[..., nn.Module] = functools.partial(Bilinear, convention="corner-aligned")
    dtype: Any = None  # of the decoder's computation; parameters and logits are float32

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        chex.assert_rank(image, 4)
        maps = self.backbone(image, train=train)
        drop = functools.partial(nn.Dropout, self.dropout, deterministic=not train)
        x = None
        for level in (4, 3, 2, 1):  # 1/32, 1/16, 1/8, 1/4
            skip = maps[f"c{level + 1}"]
            x = Refine(
                2 * self.features if level == 4 else self.features,
                self.kernel_size,
                self.units,
                self.pooling,
                self.pools,
                self.upsample,
                self.dtype,
                name=f"refine{level}",
            )(drop()(skip) if level > 2 else skip, x)
        conv = _conv(self.num_classes, 3, "head", use_bias=True, dtype=self.dtype)
        logits = conv(drop()(x)).astype(jnp.float32)  # 1/4
        size = (image.shape[1], image.shape[2])
        return {"logits": resize.bilinear(logits, size, "corner-aligned")}

    def input_size(self, output: int) -> int:
        """The smallest legal side of an input whose output covers `output` pixels."""
        return legal_side(output, self.upsample, 32)

    def output_size(self, size: int) -> int:
        """The side of the output for a legal side of the input."""
        return size


refinenet50 = functools.partial(RefineNet, backbone=resnet50())
refinenet101 = RefineNet
refinenet152 = functools.partial(RefineNet, backbone=resnet152())

_light_weight = functools.partial(RefineNet, kernel_size=1, units=(0, 0), dropout=0.0)
refinenet_lw50 = functools.partial(_light_weight, backbone=resnet50())
refinenet_lw101 = functools.partial(_light_weight, backbone=resnet101())
refinenet_lw152 = functools.partial(_light_weight, backbone=resnet152())
"""Light-Weight RefineNet: 27, 46 and 62 million parameters for 21 classes.

It starts here as RefineNet does; its authors leave new layers as torch starts them.
"""


def _conv(features, size, name, *, use_bias=False, dtype=None):
    return Conv(
        features,
        (size, size),
        padding=size // 2,
        use_bias=use_bias,
        kernel_init=normal(0.01),  # as the released code starts its new layers
        dtype=dtype,
        name=name,
    )
