"""M-Net: joint optic disc and cup segmentation (Fu et al. 2018, arXiv:1801.00926).

A U-Net with the image again at the start of every level, and a classifier at the end of every
level: the usual meaning of a multi-input U-Net.
"""

from collections.abc import Callable
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from segjax.nn.layers import Conv
from segjax.nn.sizes import check_multiple, round_up
from segjax.nn.upsample import TransposedConv
from segjax.ops.activation import relu
from segjax.ops.pooling import avg_pool, max_pool_with_switches
from segjax.ops.resize import nearest


class MNet(nn.Module):
    """M-Net, section III-B and figure 3 of the paper; layers as in the authors' Keras code.

    Images [B, H, W, C] -> {'logits', 'side6', 'side7', 'side8', 'side9'}, each float32 [B, H, W,
    num_classes]; H and W are multiples of 16, or InputError. The sides are the classifiers of the
    four levels of the decoder, from the coarsest, upsampled by repetition. The paper trains all of
    them on multi-label targets and averages their probabilities: sigmoid(logits) is that average.
    8,547,720 parameters for 3 channels and 2 classes (disc and cup), no normalisation.
    """

    num_classes: int
    width: int = 32
    upsample: Callable[..., nn.Module] = TransposedConv
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        del train  # the same in training and evaluation
        chex.assert_rank(image, 4)
        check_multiple(image.shape[1:3], 16, "M-Net")

        def conv(name: str, level: int, x: jax.Array) -> jax.Array:
            features = self.width * 2**level
            return relu(Conv(features, (3, 3), padding=1, dtype=self.dtype, name=name)(x))

        def pair(block: int, level: int, x: jax.Array) -> jax.Array:
            for i in (1, 2):
                x = conv(f"block{block}_conv{i}", level, x)
            return x

        x, scaled, skips = image, image, []
        for level in range(4):
            if level:
                scaled = avg_pool(scaled, (2, 2))
                x = jnp.concatenate([conv(f"block{level + 1}_input1", level, scaled), x], axis=-1)
            skip = pair(level + 1, level, x)
            x, switches = max_pool_with_switches(skip)
            skips.append((skip, switches))
        x = pair(5, 4, x)
        height, width = image.shape[1:3]
        sides = {}
        for block, level in zip((6, 7, 8, 9), (3, 2, 1, 0), strict=True):
            skip, switches = skips[level]
            features = self.width * 2**level
            up = self.upsample(features=features, dtype=self.dtype, name=f"block{block}_dconv")
            x = up(x, switches=switches, size=skip.shape[1:3])
            x = pair(block, level, jnp.concatenate([x, skip], axis=-1))
            side = Conv(self.num_classes, (1, 1), dtype=self.dtype, name=f"side_{block}3")(x)
            sides[f"side{block}"] = nearest(side.astype(jnp.float32), (height, width))
        z = jnp.stack(list(sides.values()))
        # log(p / (1 - p)) of the mean probability p
        log_odds = jax.nn.logsumexp(nn.log_sigmoid(z), 0) - jax.nn.logsumexp(nn.log_sigmoid(-z), 0)
        return {"logits": log_odds, **sides}

    def input_size(self, output: int) -> int:
        """The smallest legal side of an input whose output covers `output` pixels."""
        return round_up(output, 16)

    def output_size(self, size: int) -> int:
        """The side of the output for a legal side of the input."""
        return size
