"""Holistically-Nested Edge Detection (Xie and Tu 2015, arXiv:1504.06375)."""

from collections.abc import Callable
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from segjax.nn.layers import Conv
from segjax.nn.upsample import Bilinear, legal_side


class HED(nn.Module):
    """Side outputs on every stage of a VGG, upsampled and fused; figure 3 and section 3.

    Images [B, H, W, C] of any size -> {'logits': the fused map, 'side1' ... 'side5'}, all float32
    [B, H, W, num_classes]; one class is an edge. 14,716,171 parameters with VGG-16, whose pools
    round up. The paper's Caffe network pads its first convolution by 35 and crops what its fixed
    deconvolutions return; here the sides are resized, which differs near the border.
    """

    num_classes: int
    backbone: nn.Module
    upsample: Callable[..., nn.Module] = Bilinear
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        chex.assert_rank(image, 4)
        features = self.backbone(image, train=train)
        sides = {}
        for stage in range(5):
            side = Conv(
                self.num_classes,
                (1, 1),
                kernel_init=nn.initializers.zeros,
                dtype=self.dtype,
                name=f"dsn{stage + 1}",
            )(features[f"c{stage}"]).astype(jnp.float32)
            if stage > 0:
                up = self.upsample(
                    features=self.num_classes, factor=2**stage, name=f"up{stage + 1}"
                )
                side = up(side, size=image.shape[1:3])
            sides[f"side{stage + 1}"] = side
        fused = Conv(
            self.num_classes,
            (1, 1),
            kernel_init=nn.initializers.constant(0.2),
            name="fuse",
        )(jnp.concatenate(list(sides.values()), axis=-1))
        return {"logits": fused, **sides}

    def input_size(self, output: int) -> int:
        """The smallest legal side of an input whose output covers `output` pixels."""
        return legal_side(output, self.upsample, 16)

    def output_size(self, size: int) -> int:
        """The side of the output for a legal side of the input."""
        return size
