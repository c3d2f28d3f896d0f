"""Attention U-Net with an image pyramid and deep supervision (Abraham and Khan 2018).

A Novel Focal Tversky Loss Function with Improved Attention U-Net for Lesion Segmentation,
arXiv:1810.07842; gates after Oktay et al. 2018, arXiv:1804.03999.
"""

import functools
from collections.abc import Callable
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from segjax.nn.layers import BatchNorm, Conv, ConvNorm
from segjax.nn.sizes import check_multiple, round_up
from segjax.nn.upsample import TransposedConv
from segjax.ops.activation import relu
from segjax.ops.pooling import avg_pool, max_pool_with_switches
from segjax.ops.resize import bilinear, nearest


class AttentionMNet(nn.Module):
    """The improved attention U-Net, section 3.2 and figure 3; layers as in the authors' Keras code.

    Images [B, H, W, C] -> {'logits', 'pred1', 'pred2', 'pred3'}, each float32 [B, H, W,
    num_classes]; H and W are multiples of 16, or InputError. 'pred1' to 'pred3' are the classifiers
    at strides 8, 4 and 2, resized to the image; the paper trains each, with the focal Tversky loss,
    against labels of its own size.

    As in that code, the decoder has convolutions in front of the classifiers alone, and the gate of
    the level at stride 2 takes its signal from stride 8. Its transposed convolutions crop the last
    row and column, ours the first, as torch's do. Its running statistics keep 0.99 of the past at
    each step, ours 0.9: 0.99 would leave those of a short run near their start. `width` is that of
    the first level (32); 5,640,103 parameters for 3 channels and one class, with the code's biases
    before BatchNorm.
    """

    num_classes: int
    width: int = 32
    norm: Callable[..., nn.Module] = functools.partial(BatchNorm, epsilon=1e-3)  # Keras' default
    upsample: Callable[..., nn.Module] = functools.partial(TransposedConv, kernel_size=3)
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        chex.assert_rank(image, 4)
        check_multiple(image.shape[1:3], 16, "AttentionMNet")
        w = self.width
        layer = functools.partial(ConvNorm, norm=self.norm, use_bias=True, dtype=self.dtype)
        gate = functools.partial(AttentionGate, norm=self.norm, dtype=self.dtype)

        def pair(name: str, features: int, x: jax.Array) -> jax.Array:
            for i in (1, 2):
                x = layer(features, name=f"{name}_{i}")(x, train=train)
            return x

        def up(name: str, features: int, x: jax.Array, level: int) -> jax.Array:
            skip, switches = skips[level]
            raise_by_two = self.upsample(features=features, dtype=self.dtype, name=name)
            return relu(raise_by_two(x, switches=switches, size=skip.shape[1:3]))

        x, scaled, skips = image, image, []
        for level, (inputs, features) in enumerate(((0, w), (2 * w, 2 * w), (4 * w, 4 * w))):
            if level:
                scaled = avg_pool(scaled, (2, 2))
                x = self.beside(f"conv_scale{level + 1}", inputs, scaled, x)
            skip = pair(f"conv{level + 1}", features, x)
            x, switches = max_pool_with_switches(skip)
            skips.append((skip, switches))
        x = self.beside("conv_scale4", 8 * w, avg_pool(scaled, (2, 2)), x)
        skip = pair("conv4", 2 * w, x)
        x, switches = max_pool_with_switches(skip)
        skips.append((skip, switches))
        x = pair("center", 16 * w, x)  # 1/16

        def signal(name: str, x: jax.Array) -> jax.Array:
            return layer(x.shape[-1], kernel_size=1, name=name)(x, train=train)

        (conv1, _), (conv2, _), (conv3, _), (conv4, _) = skips
        attended = gate(4 * w, name="attn1")(conv4, signal("g1", x), train=train)
        up1 = jnp.concatenate([up("up1", w, x, 3), attended], axis=-1)  # 1/8
        attended = gate(2 * w, name="attn2")(conv3, signal("g2", up1), train=train)
        up2 = jnp.concatenate([up("up2", 2 * w, up1, 2), attended], axis=-1)  # 1/4
        attended = gate(w, name="attn3")(conv2, signal("g3", up1), train=train)
        up3 = jnp.concatenate([up("up3", w, up2, 1), attended], axis=-1)  # 1/2
        up4 = jnp.concatenate([up("up4", w, up3, 0), conv1], axis=-1)  # 1

        height, width = image.shape[1:3]
        outputs = {}
        names = ("pred1", "pred2", "pred3", "final")
        for i, (name, x) in enumerate(zip(names, (up1, up2, up3, up4), strict=True)):
            x = pair(f"conv{6 + i}", w * 2 ** (3 - i), x)
            x = Conv(self.num_classes, (1, 1), dtype=self.dtype, name=name)(x)
            outputs[name] = bilinear(x.astype(jnp.float32), (height, width))
        return {"logits": outputs.pop("final"), **outputs}

    def beside(self, name: str, features: int, scaled: jax.Array, x: jax.Array) -> jax.Array:
        """The scaled image through a convolution, beside the features from the level above."""
        conv = Conv(features, (3, 3), padding=1, dtype=self.dtype, name=name)
        return jnp.concatenate([relu(conv(scaled)), x], axis=-1)

    def input_size(self, output: int) -> int:
        """The smallest legal side of an input whose output covers `output` pixels."""
        return round_up(output, 16)

    def output_size(self, size: int) -> int:
        """The side of the output for a legal side of the input."""
        return size


class AttentionGate(nn.Module):
    """A skip [B, H, W, C] weighted by a signal of a coarser level: sigmoid(psi(relu(x + g))).

    The additive gate of Oktay et al. 2018, at half the skip's resolution.
    """

    features: int
    norm: Callable[..., nn.Module]
    dtype: Any = None

    @nn.compact
    def __call__(self, skip: jax.Array, signal: jax.Array, *, train: bool) -> jax.Array:
        conv = functools.partial(Conv, dtype=self.dtype)
        theta = conv(self.features, (2, 2), strides=2, padding=0, name="theta")(skip)
        phi = conv(self.features, (1, 1), name="phi")(signal)
        size, half = (skip.shape[1], skip.shape[2]), (theta.shape[1], theta.shape[2])
        up = TransposedConv(
            self.features,
            half[0] // phi.shape[1],
            self.dtype,
            kernel_size=3,
            name="phi_up",
        )
        sum_ = relu(theta + up(phi, size=half))
        psi = nn.sigmoid(conv(1, (1, 1), name="psi")(sum_))
        out = conv(skip.shape[-1], (1, 1), name="out")(nearest(psi, size) * skip)
        return self.norm(dtype=self.dtype, name="norm")(out, train=train)
