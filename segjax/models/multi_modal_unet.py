"""U-Net with an encoder for each modality: colour and depth, or the contrasts of an MRI scan.

Layer-level fusion in the terms of Zhou et al. 2019 (arXiv:2004.10664, section 4): the features of
the encoders are concatenated at every level. Input-level fusion is a U-Net on stacked channels.
"""

from collections.abc import Callable
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from segjax.errors import InputError
from segjax.models.unet import ConvPair, concatenate
from segjax.nn.layers import Conv
from segjax.nn.sizes import check_multiple, round_up
from segjax.nn.upsample import TransposedConv
from segjax.ops.pooling import max_pool_with_switches


class MultiModalUNet(nn.Module):
    """Padded U-Net whose skips and bottom concatenate one encoder per modality.

    Images [B, H, W, sum(modalities)], the modalities' channels one after another -> {'logits':
    float32 [B, H, W, num_classes]}; H and W are multiples of 2**depth, or InputError. One entry in
    `modalities` is early fusion, the U-Net of Ronneberger et al. 2015. Max unpooling takes the
    switches of the first modality. 43,568,066 parameters for colour and depth and two classes.
    """

    num_classes: int
    modalities: tuple[int, ...] = (3, 1)
    width: int = 64
    depth: int = 4
    norm: Callable[..., nn.Module] | None = None
    upsample: Callable[..., nn.Module] = TransposedConv
    merge: Callable[[jax.Array, jax.Array], jax.Array] = concatenate
    dropout: float = 0.5
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        chex.assert_rank(image, 4)
        check_multiple(image.shape[1:3], 2**self.depth, "MultiModalUNet")
        if image.shape[-1] != sum(self.modalities):
            raise InputError(
                f"The image has {image.shape[-1]} channels but modalities={self.modalities} have "
                f"{sum(self.modalities)}: list the channels of each modality."
            )

        def convs(name: str, level: int, x: jax.Array) -> jax.Array:
            features = (self.width * 2**level,) * 2
            return ConvPair(features, "same", self.norm, train, self.dtype, name=name)(x)

        streams = jnp.split(image, np.cumsum(self.modalities)[:-1], axis=-1)
        skips = []
        for level in range(self.depth):
            streams = [convs(f"down{level}_{m}", level, x) for m, x in enumerate(streams)]
            skip = jnp.concatenate(streams, axis=-1)
            pooled = [max_pool_with_switches(x) for x in streams]
            streams = [x for x, _ in pooled]
            skips.append((skip, pooled[0][1]))
        x = convs("bottom", self.depth, jnp.concatenate(streams, axis=-1))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        for level in reversed(range(self.depth)):
            skip, switches = skips[level]
            up = self.upsample(features=self.width * 2**level, dtype=self.dtype, name=f"up{level}")
            x = up(x, switches=switches, size=skip.shape[1:3])
            x = convs(f"merge{level}", level, self.merge(skip, x))
        logits = Conv(self.num_classes, (1, 1), dtype=self.dtype, name="head")(x)
        return {"logits": logits.astype(jnp.float32)}

    def input_size(self, output: int) -> int:
        """The smallest legal side of an input whose output covers `output` pixels."""
        return round_up(output, 2**self.depth)

    def output_size(self, size: int) -> int:
        """The side of the output for a legal side of the input."""
        return size
