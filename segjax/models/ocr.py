"""OCR: Object-Contextual Representations for Semantic Segmentation (Yuan et al. 2019).

arXiv:1909.11065. On HRNet as released with it ("HRNet + OCR").
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from segjax.backbones import hrnet
from segjax.models.hrnet import concatenate_maps
from segjax.nn.layers import BatchNorm, Conv, ConvNorm, SpatialDropout
from segjax.nn.upsample import Bilinear, legal_side
from segjax.ops import resize


class OCR(nn.Module):
    """OCR behind an HRNet, section 3 and figure 3 of the paper.

    Images [B, H, W, C] -> {'logits': float32 [B, H, W, num_classes], 'aux': the same}, of any size.
    'aux' are the coarse soft regions, trained with a weight of 0.4; each pixel attends to the mean
    feature of every region. `backbone`, `upsample` and `resize` as for `segjax.models.hrnet`; the
    released checkpoints are corner-aligned. Dropout, as there, is of whole maps.
    70,372,678 parameters at width 48 with 19 classes.
    """

    num_classes: int
    backbone: nn.Module
    features: int = 512
    key_features: int = 256
    dropout: float = 0.05
    norm: Callable[..., nn.Module] = BatchNorm
    upsample: Callable[..., nn.Module] = Bilinear
    resize: Callable[[jax.Array, tuple[int, int]], jax.Array] = resize.bilinear
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        conv = functools.partial(ConvNorm, norm=self.norm, dtype=self.dtype)
        classes = functools.partial(Conv, self.num_classes, (1, 1), dtype=self.dtype)
        maps = concatenate_maps(self.backbone(image, train=train), self.upsample, self.dtype)  # 1/4
        aux = conv(maps.shape[-1], 1, use_bias=True, name="aux_conv")(maps, train=train)
        aux = classes(name="aux_head")(aux).astype(jnp.float32)
        pixels = conv(self.features, 3, use_bias=True, name="conv3x3_ocr")(maps, train=train)

        # Equation 2: the mean feature of every region, weighted by its probability over the image.
        regions = jax.nn.softmax(aux, axis=(1, 2)).astype(pixels.dtype)
        means = jnp.einsum("bhwk,bhwc->bkc", regions, pixels)[:, None]  # [B, 1, K, C]

        # Equations 3 and 4: what the regions tell each pixel, by its similarity to them.
        def transform(x: jax.Array, *names: str) -> jax.Array:
            for name in names:
                x = conv(self.key_features, 1, name=name)(x, train=train)
            return x

        query = transform(pixels, "f_pixel_0", "f_pixel_1")
        key = transform(means, "f_object_0", "f_object_1")[:, 0]
        value = transform(means, "f_down")[:, 0]
        similarity = jnp.einsum("bhwc,bkc->bhwk", query, key) / math.sqrt(self.key_features)
        weights = jax.nn.softmax(similarity.astype(jnp.float32), axis=-1).astype(value.dtype)
        context = jnp.einsum("bhwk,bkc->bhwc", weights, value)
        context = conv(self.features, 1, name="f_up")(context, train=train)

        # Equation 5: the augmented representation.
        x = jnp.concatenate([context, pixels], axis=-1)
        x = conv(self.features, 1, name="fuse")(x, train=train)
        x = SpatialDropout(self.dropout, deterministic=not train)(x)
        logits = classes(name="head")(x).astype(jnp.float32)
        size = image.shape[1], image.shape[2]
        return {"logits": self.resize(logits, size), "aux": self.resize(aux, size)}  # 1

    def input_size(self, output: int) -> int:
        """The smallest legal side of an input whose output covers `output` pixels."""
        side = legal_side(output, self.upsample, 32)
        return legal_side(side, self.backbone.upsample, 32)

    def output_size(self, size: int) -> int:
        """The side of the output for a legal side of the input."""
        return size


hrnet_w48_ocr = functools.partial(OCR, backbone=hrnet.hrnet_w48())
