"""3D U-Net: Learning Dense Volumetric Segmentation from Sparse Annotation (Çiçek et al. 2016).

arXiv:1606.06650.
"""

from collections.abc import Callable
from typing import Any, Literal

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from segjax.models.unet import concatenate
from segjax.nn.layers import BatchNorm, Conv
from segjax.nn.sizes import check_unet, unet_input_size, unet_output_size
from segjax.nn.upsample3d import TransposedConv3D
from segjax.ops.activation import relu


class UNet3D(nn.Module):
    """3D U-Net, section 2 and figure 2 of the paper.

    Volumes [B, D, H, W, C] -> {'logits': float32 [B, D', H', W', num_classes]}. With
    `padding='valid'`, the paper's unpadded convolutions, a side loses 88 voxels at depth 3 and the
    skips are cropped to the centre (132x132x116 -> 44x44x28); with 'same' it stays, a multiple of
    2**depth. Raises `InputError` for other sizes.

    The defaults are the paper's network: channels double before each pooling, up-convolutions keep
    theirs, normalisation before ReLU. The paper counts 19,069,955 parameters for 3 channels and 3
    classes: without the scales and biases of the normalisation, 19,074,627 with them. Its batches
    are single tiles, normalised by their own statistics in testing too: `norm=TileNorm`. Voxels
    without a label take no part where the loss weighs them 0 (sparse annotation). `upsample` is
    any factory of `nn.upsample3d`; `merge` joins a skip with the path from below.
    """

    num_classes: int
    width: int = 32
    depth: int = 3
    padding: Literal["valid", "same"] = "valid"
    norm: Callable[..., nn.Module] | None = BatchNorm
    upsample: Callable[..., nn.Module] = TransposedConv3D
    merge: Callable[[jax.Array, jax.Array], jax.Array] = concatenate
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        chex.assert_rank(image, 5)
        self.check_size(image.shape[1:4])

        def convs(name: str, first: int, second: int, x: jax.Array) -> jax.Array:
            pair = _ConvPair((first, second), self.padding, self.norm, self.dtype, name=name)
            return pair(x, train=train)

        x, skips = image, []
        for level in range(self.depth):
            features = self.width * 2**level
            x = convs(f"down{level}", features, 2 * features, x)
            skips.append(x)
            x = max_pool(x)
        features = self.width * 2**self.depth
        x = convs("bottom", features, 2 * features, x)
        for level in reversed(range(self.depth)):
            features = self.width * 2 ** (level + 1)
            up = self.upsample(features=2 * features, dtype=self.dtype, name=f"up{level}")
            x = up(x)
            x = self.merge(centre_crop(skips[level], x.shape[1:4]), x)
            x = convs(f"merge{level}", features, features, x)
        logits = Conv(self.num_classes, (1, 1, 1), dtype=self.dtype, name="head")(x)
        return {"logits": logits.astype(jnp.float32)}

    def input_size(self, output: int) -> int:
        """The smallest legal side of an input whose output covers `output` voxels."""
        return unet_input_size(output, self.depth, self.padding)

    def output_size(self, size: int) -> int:
        """The side of the output for a legal side of the input."""
        return unet_output_size(size, self.depth, self.padding)

    def check_size(self, sizes: tuple[int, ...]) -> None:
        """Raise `InputError` with the nearest legal sizes unless every side is legal."""
        check_unet(sizes, self.depth, self.padding, "3D U-Net")


class TileNorm(nn.Module):
    """Normalisation by the statistics of each volume itself, in testing as in training.

    Batch normalisation with batches of one tile, as the paper trains and tests. Statistics are
    float32; epsilon as in `nn.layers.BatchNorm`.
    """

    epsilon: float = 1e-5
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        del train  # the same in training and evaluation
        norm = nn.InstanceNorm(epsilon=self.epsilon, dtype=self.dtype)
        nn.share_scope(self, norm)
        return norm(x)


class _ConvPair(nn.Module):
    """Two 3x3x3 convolutions with biases, each followed by the normalisation, if any, and ReLU."""

    features: tuple[int, int]
    padding: str
    norm: Callable[..., nn.Module] | None
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        for i, features in enumerate(self.features, 1):
            conv = Conv(
                features,
                (3, 3, 3),
                padding=self.padding.upper(),
                dtype=self.dtype,
                name=f"conv{i}",
            )
            x = conv(x)
            if self.norm is not None:
                x = self.norm(dtype=self.dtype, name=f"norm{i}")(x, train=train)
            x = relu(x)
        return x


def max_pool(x: jax.Array) -> jax.Array:
    """Maximum over 2x2x2 blocks of [B, D, H, W, C] with even sides."""
    for axis in (1, 2, 3):
        blocks = (*x.shape[:axis], x.shape[axis] // 2, 2, *x.shape[axis + 1 :])
        x = jnp.max(x.reshape(blocks), axis + 1)
    return x


def centre_crop(x: jax.Array, size: tuple[int, ...]) -> jax.Array:
    """The centre of [B, D, H, W, C] at `size` (d, h, w)."""
    front, top, left = ((n - m) // 2 for n, m in zip(x.shape[1:4], size, strict=True))
    return x[:, front : front + size[0], top : top + size[1], left : left + size[2]]
