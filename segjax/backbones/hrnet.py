"""HRNet, a trunk that keeps its high resolution throughout.

Deep High-Resolution Representation Learning for Human Pose Estimation (Sun et al. 2019,
arXiv:1902.09212) and for Visual Recognition (Wang et al. 2019, arXiv:1908.07919). Four branches of
strides 4, 8, 16, 32 run side by side and exchange what they know after every module.
"""

import functools
from collections.abc import Callable
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from segjax.backbones.resnet import BasicBlock, Bottleneck
from segjax.errors import InputError
from segjax.nn.layers import BatchNorm, ConvNorm, Dense
from segjax.nn.upsample import Bilinear
from segjax.ops.activation import relu


class HighResolutionModule(nn.Module):
    """Units in every branch, then each output is the sum of all branches at its resolution.

    Maps of falling resolution [B, h, w, C], [B, h/2, w/2, 2C], ... -> the first `outputs` of them.
    Down by strided 3x3 convolutions that keep their branch's width until the last; up by a 1x1
    convolution and `upsample`. Wang et al. 2019, section 3.2 and figure 3.
    """

    units: int
    outputs: int
    norm: Callable[..., nn.Module]
    upsample: Callable[..., nn.Module]
    dtype: Any = None

    @nn.compact
    def __call__(self, maps: list[jax.Array], *, train: bool) -> list[jax.Array]:
        block = functools.partial(_block, BasicBlock, self.norm, self.dtype)
        maps = list(maps)
        for i in range(len(maps)):
            for unit in range(self.units):
                x = maps[i]
                maps[i] = block(x.shape[-1], f"branches_{i}_{unit}")(x, train=train)
        fused = []
        for i, target in enumerate(maps[: self.outputs]):
            reads = [self.carry(x, j, i, target, train) for j, x in enumerate(maps)]
            fused.append(relu(functools.reduce(jnp.add, reads)))
        return fused

    def carry(self, x: jax.Array, j: int, i: int, target: jax.Array, train: bool) -> jax.Array:
        """Map j at the resolution and width of map i."""
        conv = functools.partial(ConvNorm, norm=self.norm, dtype=self.dtype)
        features, name = target.shape[-1], f"fuse_layers_{i}_{j}"
        if j > i:
            x = conv(features, 1, activation=None, name=name)(x, train=train)
            up = self.upsample(
                features=features, factor=2 ** (j - i), dtype=self.dtype, name=f"fuse_up_{i}_{j}"
            )
            return up(x, size=target.shape[1:3])
        for k in range(i - j):
            if k < i - j - 1:
                x = conv(x.shape[-1], stride=2, name=f"{name}_{k}")(x, train=train)
            else:
                x = conv(features, stride=2, activation=None, name=f"{name}_{k}")(x, train=train)
        return x


class HRNet(nn.Module):
    """Images [B, H, W, C] -> {'c1', 'c2', 'c3', 'c4', 'c5'}; see `segjax.backbones`.

    'c2' to 'c5' are the branches, of width, 2 width, 4 width, 8 width channels; 'c1' is the first
    convolution of the stem. `upsample` brings a branch up to another: bilinear for segmentation,
    `Nearest` for pose and classification. `outputs=1` ends in the finest branch alone, 'c2', as the
    pose network does. Any image size is legal.
    """

    width: int
    stage1: tuple[int, int] = (4, 64)  # Bottlenecks, and their width
    modules: tuple[int, int, int] = (1, 4, 3)  # in stages 2, 3, 4
    units: int = 4  # in each branch of a module
    stem: int = 64
    outputs: int = 4
    norm: Callable[..., nn.Module] = BatchNorm
    upsample: Callable[..., nn.Module] = Bilinear
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        chex.assert_rank(image, 4)
        if self.outputs not in (1, 2, 3, 4):
            raise InputError(f"outputs is {self.outputs}; an HRNet has 1 to 4 of them.")
        if len(self.modules) != 3 or min(self.modules) < 1:
            raise InputError(
                f"modules is {tuple(self.modules)}; an HRNet needs three numbers of at least 1, "
                "those of stages 2, 3 and 4."
            )
        conv = functools.partial(ConvNorm, norm=self.norm, dtype=self.dtype)
        block = functools.partial(_block, Bottleneck, self.norm, self.dtype)
        c1 = conv(self.stem, stride=2, name="stem1")(image, train=train)  # 1/2
        x = conv(self.stem, stride=2, name="stem2")(c1, train=train)  # 1/4
        for i in range(self.stage1[0]):
            x = block(self.stage1[1], f"layer1_{i}")(x, train=train)
        maps = [x]
        for stage, count in enumerate(self.modules, 2):
            name = f"transition{stage - 1}"
            new = conv(self.width * 2 ** (stage - 1), stride=2, name=f"{name}_{stage - 1}_0")
            below = new(maps[-1], train=train)  # 1/8, then 1/16, then 1/32
            for i, x in enumerate(maps):
                features = self.width * 2**i
                if x.shape[-1] != features:
                    maps[i] = conv(features, name=f"{name}_{i}")(x, train=train)
            maps.append(below)
            for m in range(count):
                last = stage == 4 and m == count - 1
                maps = HighResolutionModule(
                    units=self.units,
                    outputs=self.outputs if last else stage,
                    norm=self.norm,
                    upsample=self.upsample,
                    dtype=self.dtype,
                    name=f"stage{stage}_{m}",
                )(maps, train=train)
        return {"c1": c1} | {f"c{level}": x for level, x in enumerate(maps, 2)}


class Classifier(nn.Module):
    """HRNet as the classifier it is trained as: images -> {'logits': [B, num_classes]}.

    The branches are widened by a Bottleneck each and added from fine to coarse. Wang et al. 2019,
    appendix, network pretraining. 21,299,004 parameters at width 18.
    """

    backbone: nn.Module
    num_classes: int = 1000
    width: int = 32  # of the finest Bottleneck; it doubles with every branch
    features: int = 2048  # before the classifier
    norm: Callable[..., nn.Module] = BatchNorm
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        block = functools.partial(_block, Bottleneck, self.norm, self.dtype)
        conv = functools.partial(ConvNorm, use_bias=True, norm=self.norm, dtype=self.dtype)
        maps = self.backbone(image, train=train)
        x = block(self.width, "incre_modules_0_0")(maps["c2"], train=train)
        for i in (1, 2, 3):
            branch = block(self.width * 2**i, f"incre_modules_{i}_0")
            wide = branch(maps[f"c{i + 2}"], train=train)
            down = conv(wide.shape[-1], stride=2, name=f"downsamp_modules_{i - 1}")
            x = wide + down(x, train=train)
        x = conv(self.features, 1, name="final_layer")(x, train=train)
        x = jnp.mean(x, axis=(1, 2), dtype=jnp.float32)
        return {"logits": Dense(self.num_classes, name="classifier")(x)}


hrnet_w18 = functools.partial(HRNet, 18)
hrnet_w32 = functools.partial(HRNet, 32)
hrnet_w40 = functools.partial(HRNet, 40)
hrnet_w48 = functools.partial(HRNet, 48)
hrnet_w18_small_v1 = functools.partial(HRNet, 16, stage1=(1, 32), modules=(1, 1, 1), units=2)
hrnet_w18_small_v2 = functools.partial(HRNet, 18, stage1=(2, 64), modules=(1, 3, 2), units=2)


def _block(block, norm, dtype, features, name):
    return block(
        features=features,
        stride=1,
        dilation=1,
        norm=norm,
        stride_in="3x3",
        dtype=dtype,
        name=name,
    )
