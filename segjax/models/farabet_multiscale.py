"""Learning Hierarchical Features for Scene Labeling (Farabet et al. 2013, arXiv:1202.2160)."""

import functools
import math
from collections.abc import Callable
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype

from segjax.errors import InputError
from segjax.nn.initializers import he_normal
from segjax.nn.layers import Conv
from segjax.nn.sizes import check_multiple, round_up
from segjax.nn.upsample import Nearest
from segjax.ops import convolution, pyramid
from segjax.ops.pooling import max_pool
from segjax.ops.resize import bilinear

Table = tuple[tuple[int, ...], ...]  # of each map, the maps that it sees


def colour_table(maps: int) -> Table:
    """Of 16 maps 10 see Y and 6 see U and V; of others, as many in proportion."""
    luminance = round(maps * 10 / 16)
    return ((0,),) * luminance + ((1, 2),) * (maps - luminance)


def random_table(inputs: int, maps: int, fan_in: int, seed: int) -> Table:
    """Maps that each see `fan_in` inputs chosen at random, every input about as often."""
    generator = np.random.default_rng(seed)
    table: list[tuple[int, ...]] = []
    while len(table) < maps:
        order = generator.permutation(inputs)
        for i in range(inputs // fan_in):
            table.append(tuple(sorted(order[i * fan_in : (i + 1) * fan_in].tolist())))
    return tuple(table[:maps])


class FarabetMultiscale(nn.Module):
    """The multiscale convolutional network, sections 3 and 5 of the paper.

    RGB images [B, H, W, 3], in any units -> {'logits': float32 [B, H, W, num_classes]}; H and W are
    multiples of 16, or InputError. The image becomes YUV, three octaves of a Laplacian
    pyramid, and each of their channels has its local mean and contrast removed (windows of 15). One
    network of three 7x7 convolutions and tanh, 2x2 max-pooling behind the first two, sees each
    octave (46 pixels of it); the coarser features are upsampled to the finest and concatenated, and
    classified by a layer of `hidden` units and a linear one, or by the linear one alone (None).

    A map sees only part of the maps before it: 10 of the first 16 see Y and 6 see U and V, the 64
    see 8 of these at random, the 256 see 32 of the 64. The tables here are drawn with fixed seeds;
    the authors' own were not published. The convolutions are padded so that features align with
    the image, and the scores, at 1/4, are resized bilinearly. Superpixels and the optimal cover of
    the paper are post-processing. 1,223,566 parameters for 8 classes.
    """

    num_classes: int
    maps: tuple[int, int, int] = (16, 64, 256)
    hidden: int | None = 1024
    scales: int = 3
    upsample: Callable[..., nn.Module] = Nearest
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        del train  # the same in training and evaluation
        chex.assert_rank(image, 4)
        check_multiple(image.shape[1:3], 2 ** (self.scales + 1), "FarabetMultiscale")
        if image.shape[-1] != 3:
            raise InputError(f"FarabetMultiscale needs RGB images, not {image.shape[-1]} channels.")
        first, second, third = self.maps
        stage = functools.partial(SparseConv, dtype=self.dtype)
        stage1 = stage(colour_table(first), name="stage1")
        stage2 = stage(random_table(first, second, first // 2, seed=2), name="stage2")
        stage3 = stage(random_table(second, third, second // 2, seed=3), name="stage3")

        features = []
        for octave in pyramid.laplacian_pyramid(pyramid.rgb_to_yuv(image), self.scales):
            x = pyramid.local_contrast_normalization(octave, 15)
            x = max_pool(nn.tanh(stage1(x)), (2, 2))
            x = max_pool(nn.tanh(stage2(x)), (2, 2))
            features.append(nn.tanh(stage3(x)))  # 1/4 of the octave
        size = features[0].shape[1:3]
        for i, x in enumerate(features[1:], 1):
            up = self.upsample(features=third, factor=2**i, dtype=self.dtype, name=f"up{i}")
            features[i] = up(x, size=size)
        x = jnp.concatenate(features, axis=-1)
        if self.hidden is not None:
            x = nn.tanh(Conv(self.hidden, (1, 1), dtype=self.dtype, name="hidden")(x))
        logits = Conv(self.num_classes, (1, 1), dtype=self.dtype, name="head")(x)
        height, width = image.shape[1:3]
        return {"logits": bilinear(logits.astype(jnp.float32), (height, width))}

    def input_size(self, output: int) -> int:
        """The smallest legal side of an input whose output covers `output` pixels."""
        return round_up(output, 2 ** (self.scales + 1))

    def output_size(self, size: int) -> int:
        """The side of the output for a legal side of the input."""
        return size


class SparseConv(nn.Module):
    """7x7 convolution in which each map sees only some inputs: [B, H, W, C] -> [B, H, W, maps].

    `table` lists the inputs of each map; the kernel [7, 7, connections] has entries for no others.
    """

    table: Table
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels, maps = x.shape[-1], len(self.table)
        pairs = [(i, o) for o, inputs in enumerate(self.table) for i in inputs]
        fan_in = np.array([len(self.table[o]) for _, o in pairs], np.float32)

        def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
            return he_normal(key, shape, dtype) / np.sqrt(fan_in) / math.sqrt(2)  # for tanh

        kernel = self.param("kernel", init, (7, 7, len(pairs)))
        bias = self.param("bias", nn.initializers.zeros, (maps,))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        places = np.array([i * maps + o for i, o in pairs])
        dense = jnp.zeros((7, 7, channels * maps), kernel.dtype)
        dense = dense.at[:, :, places].set(kernel, unique_indices=True)
        return bias + convolution.conv_general_dilated(
            x,
            dense.reshape(7, 7, channels, maps),
            (1, 1),
            [(3, 3), (3, 3)],
            dimension_numbers=convolution.NHWC,
        )
