"""MIMO-UNet: Rethinking Coarse-to-Fine Approach in Single Image Deblurring (Cho et al. 2021).

arXiv:2108.05054: one U-Net with the image at three scales in and the result at three scales out.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from segjax.errors import InputError
from segjax.nn.initializers import torch_uniform
from segjax.nn.layers import Conv, SpatialDropout
from segjax.nn.sizes import check_multiple, round_up
from segjax.nn.upsample import TransposedConv
from segjax.ops.activation import relu
from segjax.ops.resize import nearest


class MIMOUNet(nn.Module):
    """MIMO-UNet, section 3 and figure 2 of the paper; layers as in the authors' code.

    Images [B, H, W, C] -> {'logits': [B, H, W, num_classes], 'logits2' at 1/2, 'logits4' at 1/4},
    float32; H and W are multiples of 4, or InputError. The paper trains all three, each against the
    target at its own scale (for labels: labels[:, ::2, ::2]).

    The paper deblurs: with `output='image'` each result is added to the image at its scale, and
    num_classes is the image's number of channels (InputError otherwise). 6,807,171 parameters for 3
    channels and 3 outputs with the 8 residual blocks a stage of the paper; MIMO-UNet+ has 20.
    """

    num_classes: int
    width: int = 32
    blocks: int = 8
    output: Literal["logits", "image"] = "logits"
    dropout: float = 0.0  # of whole channels of the fused skips
    upsample: Callable[..., nn.Module] = functools.partial(TransposedConv, kernel_size=4)
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        chex.assert_rank(image, 4)
        check_multiple(image.shape[1:3], 4, "MIMO-UNet")
        channels, w = image.shape[-1], self.width
        if self.output == "image" and self.num_classes != channels:
            raise InputError(
                f"output='image' adds the image's {channels} channels to num_classes="
                f"{self.num_classes}: make them equal, or set output='logits'."
            )
        conv = functools.partial(_Conv, dtype=self.dtype)
        body = functools.partial(_Residuals, blocks=self.blocks, dtype=self.dtype)
        dropout = SpatialDropout(self.dropout, deterministic=not train)
        image2, image4 = image[:, ::2, ::2], image[:, ::4, ::4]  # nearest resize

        res1 = body(name="Encoder_0")(relu(conv(w, name="feat_extract_0")(image)))
        z = relu(conv(2 * w, strides=2, name="feat_extract_1")(res1))  # 1/2
        z = self.attend("FAM2", z, self.shallow("SCM2", image2, 2 * w))
        res2 = body(name="Encoder_1")(z)
        z = relu(conv(4 * w, strides=2, name="feat_extract_2")(res2))  # 1/4
        z = self.attend("FAM1", z, self.shallow("SCM1", image4, 4 * w))
        z = body(name="Encoder_2")(z)

        full, half = (image.shape[1], image.shape[2]), (image2.shape[1], image2.shape[2])
        fused2 = [res1[:, ::2, ::2], res2, nearest(z, half)]
        fused1 = [res1, nearest(res2, full), nearest(z, full)]
        res2 = dropout(self.fuse("AFFs_1", fused2, 2 * w))
        res1 = dropout(self.fuse("AFFs_0", fused1, w))

        def up(name: str, features: int, z: jax.Array) -> jax.Array:
            return relu(self.upsample(features=features, dtype=self.dtype, name=name)(z))

        outputs = {}
        z = body(name="Decoder_0")(z)
        outputs["logits4"] = conv(self.num_classes, name="ConvsOut_0")(z)
        z = jnp.concatenate([up("feat_extract_3", 2 * w, z), res2], axis=-1)  # 1/2
        z = body(name="Decoder_1")(relu(conv(2 * w, size=1, name="Convs_0")(z)))
        outputs["logits2"] = conv(self.num_classes, name="ConvsOut_1")(z)
        z = jnp.concatenate([up("feat_extract_4", w, z), res1], axis=-1)  # 1
        z = body(name="Decoder_2")(relu(conv(w, size=1, name="Convs_1")(z)))
        outputs["logits"] = conv(self.num_classes, name="feat_extract_5")(z)
        outputs = {name: x.astype(jnp.float32) for name, x in outputs.items()}
        if self.output == "image":
            images = {"logits4": image4, "logits2": image2, "logits": image}
            outputs = {name: x + images[name] for name, x in outputs.items()}
        return outputs

    def shallow(self, name: str, image: jax.Array, features: int) -> jax.Array:
        """The shallow convolution module of a scaled image."""
        x = image
        rest = features - image.shape[-1]
        widths = ((features // 4, 3), (features // 2, 1), (features // 2, 3), (rest, 1))
        for i, (width, size) in enumerate(widths):
            x = relu(_Conv(width, size, dtype=self.dtype, name=f"{name}_main_{i}")(x))
        x = jnp.concatenate([image, x], axis=-1)
        return _Conv(features, 1, dtype=self.dtype, name=f"{name}_conv")(x)

    def attend(self, name: str, x: jax.Array, shallow: jax.Array) -> jax.Array:
        """The feature attention module."""
        merge = _Conv(x.shape[-1], dtype=self.dtype, name=f"{name}_merge")
        return x + merge(x * shallow)

    def fuse(self, name: str, maps: list[jax.Array], features: int) -> jax.Array:
        """The asymmetric feature fusion of the three scales at one of them."""
        x = jnp.concatenate(maps, axis=-1)
        x = relu(_Conv(features, 1, dtype=self.dtype, name=f"{name}_conv_0")(x))
        return _Conv(features, dtype=self.dtype, name=f"{name}_conv_1")(x)

    def input_size(self, output: int) -> int:
        """The smallest legal side of an input whose output covers `output` pixels."""
        return round_up(output, 4)

    def output_size(self, size: int) -> int:
        """The side of the output for a legal side of the input."""
        return size


class _Conv(nn.Module):
    """A convolution padded to keep the size, with a bias.

    It starts as the authors' code does: from He's weights, through 48 residual blocks without a
    norm, the first logits are about 1e11.
    """

    features: int
    size: int = 3
    strides: int = 1
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv = Conv(
            self.features,
            (self.size, self.size),
            strides=self.strides,
            padding=self.size // 2,
            kernel_init=torch_uniform,
            dtype=self.dtype,
        )
        nn.share_scope(self, conv)
        return conv(x)


class _Residuals(nn.Module):
    """Residual blocks of two 3x3 convolutions."""

    blocks: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for i in range(self.blocks):
            y = relu(_Conv(x.shape[-1], dtype=self.dtype, name=f"layers_{i}_0")(x))
            x = x + _Conv(x.shape[-1], dtype=self.dtype, name=f"layers_{i}_1")(y)
        return x


mimo_unet_plus = functools.partial(MIMOUNet, blocks=20, dropout=0.1)
"""MIMO-UNet+, section 4.1; the dropout is the authors' code's. 16,107,651 parameters."""
