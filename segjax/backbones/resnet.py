"""Deep Residual Learning for Image Recognition (He et al. 2015, arXiv:1512.03385).

With the variants in use for segmentation: dilated stages (Yu et al. 2017; DeepLab), multi-grid
(DeepLab v3), the deep stem of PSPNet and ResNet-v1c, the stride in the first 1x1 convolution as in
the Caffe release, and pre-activation (He et al. 2016, arXiv:1603.05027).
"""

import functools
from collections.abc import Callable
from typing import Any, Literal

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from segjax.errors import InputError
from segjax.nn.layers import BatchNorm, Conv, Dense
from segjax.ops.activation import relu
from segjax.ops.pooling import max_pool


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; figure 5, left."""

    features: int
    stride: int
    dilation: int
    norm: Callable[..., nn.Module]
    stride_in: Literal["3x3", "1x1"]  # it has one place only
    dtype: Any = None
    expansion = 1

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        conv = functools.partial(_conv, dtype=self.dtype, dilation=self.dilation)
        norm = functools.partial(_norm, self.norm, self.dtype, train)
        y = relu(norm("bn1", conv(self.features, 3, "conv1", stride=self.stride)(x)))
        y = norm("bn2", conv(self.features, 3, "conv2")(y))
        return relu(y + _shortcut(self, x, norm))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut; figure 5, right."""

    features: int
    stride: int
    dilation: int
    norm: Callable[..., nn.Module]
    stride_in: Literal["3x3", "1x1"]
    dtype: Any = None
    expansion = 4

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        conv = functools.partial(_conv, dtype=self.dtype)
        norm = functools.partial(_norm, self.norm, self.dtype, train)
        first, second = (1, self.stride) if self.stride_in == "3x3" else (self.stride, 1)
        y = relu(norm("bn1", conv(self.features, 1, "conv1", stride=first)(x)))
        y = conv(self.features, 3, "conv2", stride=second, dilation=self.dilation)(y)
        y = relu(norm("bn2", y))
        y = norm("bn3", conv(4 * self.features, 1, "conv3")(y))
        return relu(y + _shortcut(self, x, norm))


class PreActBottleneck(nn.Module):
    """Bottleneck with normalisation and ReLU before each convolution; He et al. 2016, figure 1b."""

    features: int
    stride: int
    dilation: int
    norm: Callable[..., nn.Module]
    stride_in: Literal["3x3", "1x1"]
    dtype: Any = None
    expansion = 4

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        conv = functools.partial(_conv, dtype=self.dtype)
        norm = functools.partial(_norm, self.norm, self.dtype, train)
        first, second = (1, self.stride) if self.stride_in == "3x3" else (self.stride, 1)
        y = relu(norm("bn1", x))
        shortcut = x
        if x.shape[-1] != 4 * self.features or self.stride > 1:
            shortcut = conv(4 * self.features, 1, "downsample_conv", stride=self.stride)(y)
        y = relu(norm("bn2", conv(self.features, 1, "conv1", stride=first)(y)))
        y = conv(self.features, 3, "conv2", stride=second, dilation=self.dilation)(y)
        return shortcut + conv(4 * self.features, 1, "conv3")(relu(norm("bn3", y)))


class ResNet(nn.Module):
    """Images [B, H, W, C] -> {'c1', 'c2', 'c3', 'c4', 'c5'}; see `segjax.backbones`.

    'c1' is the stem before its max-pool. With output_stride 16 or 8 the last one or two stages
    dilate instead of stride. `first_unit` says what the first unit of such a stage dilates by: the
    rate of the stage before it ('previous': torchvision, mmseg) or its own ('new': DeepLab's
    TensorFlow code, the Caffe networks, semseg). `multi_grid` multiplies the rates of the last
    stage's units. One number in `stem` is the paper's 7x7 convolution; three are 3x3 convolutions
    of these widths.
    """

    stage_sizes: tuple[int, ...]
    block: type[nn.Module] = Bottleneck
    width: int = 64
    stem: tuple[int, ...] = (64,)
    output_stride: Literal[8, 16, 32] = 32
    first_unit: Literal["previous", "new"] = "previous"
    multi_grid: tuple[int, ...] = (1,)
    stride_in: Literal["3x3", "1x1"] = "3x3"
    pool_rounding: Literal["floor", "ceil"] = "floor"
    norm: Callable[..., nn.Module] = BatchNorm
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        chex.assert_rank(image, 4)
        if self.output_stride not in (8, 16, 32):
            raise InputError(f"output_stride is {self.output_stride}; the choices are 8, 16, 32.")
        preact = self.block is PreActBottleneck
        norm = functools.partial(_norm, self.norm, self.dtype, train)
        x = image
        for i, features in enumerate(self.stem, 1):
            size, stride = (7 if len(self.stem) == 1 else 3), (2 if i == 1 else 1)
            x = _conv(features, size, f"conv{i}", stride=stride, dtype=self.dtype)(x)
            if not preact:
                x = relu(norm(f"bn{i}", x))
        maps = {"c1": x}  # 1/2
        x = max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)), self.pool_rounding == "ceil")  # 1/4
        stride_now, dilation = 4, 1
        for stage, units in enumerate(self.stage_sizes, 1):
            stride = 1 if stage == 1 else 2
            before = dilation
            if stride_now * stride > self.output_stride:
                stride, dilation = 1, dilation * 2
            stride_now *= stride
            for i in range(units):
                rate = before if i == 0 and self.first_unit == "previous" else dilation
                if stage == len(self.stage_sizes):
                    rate *= self.multi_grid[i % len(self.multi_grid)]
                x = self.block(
                    features=self.width * 2 ** (stage - 1),
                    stride=stride if i == 0 else 1,
                    dilation=rate,
                    norm=self.norm,
                    stride_in=self.stride_in,
                    dtype=self.dtype,
                    name=f"layer{stage}_{i}",
                )(x, train=train)
            maps[f"c{stage + 1}"] = x
        if preact:
            maps[f"c{stage + 1}"] = relu(norm("bn_last", x))
        return maps


class Classifier(nn.Module):
    """A backbone as the classifier it is trained as: images -> {'logits': [B, num_classes]}."""

    backbone: nn.Module
    num_classes: int = 1000

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        x = jnp.mean(self.backbone(image, train=train)["c5"], axis=(1, 2), dtype=jnp.float32)
        return {"logits": Dense(self.num_classes, name="fc")(x)}


resnet18 = functools.partial(ResNet, (2, 2, 2, 2), BasicBlock)
resnet34 = functools.partial(ResNet, (3, 4, 6, 3), BasicBlock)
resnet50 = functools.partial(ResNet, (3, 4, 6, 3))
resnet101 = functools.partial(ResNet, (3, 4, 23, 3))
resnet152 = functools.partial(ResNet, (3, 8, 36, 3))
resnet50_v1c = functools.partial(resnet50, stem=(32, 32, 64))
resnet101_v1c = functools.partial(resnet101, stem=(32, 32, 64))


def _conv(features, size, name, *, stride=1, dilation=1, dtype=None):
    return Conv(
        features,
        (size, size),
        strides=stride,
        padding=dilation * (size - 1) // 2,
        kernel_dilation=dilation,
        use_bias=False,
        dtype=dtype,
        name=name,
    )


def _norm(factory, dtype, train, name, x):
    return factory(dtype=dtype, name=name)(x, train=train)


def _shortcut(block, x, norm):
    """The identity, or a 1x1 convolution and normalisation where the shape changes (option B)."""
    features = block.expansion * block.features
    if x.shape[-1] == features and block.stride == 1:
        return x
    conv = _conv(features, 1, "downsample_conv", stride=block.stride, dtype=block.dtype)
    return norm("downsample_bn", conv(x))


RESNETS = {
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
    "resnet101": resnet101,
    "resnet152": resnet152,
}
"""By name, as configs choose one."""
