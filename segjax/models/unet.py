"""U-Net: Convolutional Networks for Biomedical Image Segmentation (Ronneberger et al. 2015)."""

import functools
from collections.abc import Callable
from typing import Any, Literal

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from segjax.nn.layers import BatchNorm, Conv
from segjax.nn.sizes import check_unet, unet_input_size, unet_output_size
from segjax.nn.upsample import Bilinear, Size, Switches, TransposedConv
from segjax.ops.activation import relu
from segjax.ops.pooling import max_pool_with_switches


def concatenate(skip: jax.Array, up: jax.Array) -> jax.Array:
    """The paper's skip: encoder channels before decoder channels."""
    return jnp.concatenate([skip, up], axis=-1)


def concatenate_after(skip: jax.Array, up: jax.Array) -> jax.Array:
    """The released network's skip: encoder channels after decoder channels."""
    return jnp.concatenate([up, skip], axis=-1)


def without_skip(skip: jax.Array, up: jax.Array) -> jax.Array:
    """No skip: what an encoder-decoder without them would see, for ablations."""
    del skip
    return up


class UNet(nn.Module):
    """U-Net, section 2 and figure 1 of the paper.

    Images [B, H, W, C] -> {'logits': float32 [B, H', W', num_classes]}. With `padding='valid'`, the
    paper's unpadded convolutions, H' = H - 184 at depth 4 and the skips are cropped to the centre
    (572 -> 388); with 'same', H' = H, a multiple of 2**depth. Raises `InputError` for other sizes.

    The defaults are the paper's network: 31,030,658 parameters for one channel and two classes,
    dropout at the bottom, no normalisation. `width` doubles at each of `depth` poolings; `norm` is
    a factory such as `nn.layers.BatchNorm` (its convolutions then have no bias); `upsample` is any
    factory of `nn.upsample`; `merge` joins a skip with the path from below. The paper places
    dropout "at the end of the contracting path" without a rate; 0.5 is the released network's,
    which has it at the lowest two levels (`dropout_levels`), hence in a skip too.

    `halving` says what halves the channels on the way up: the 'upsample' of each level, as in the
    paper; all of them but the last, as in the 'released' network; or the second 'convolution' of
    the level below, for an upsampling without weights. See `unet_caffe` and `unet_bilinear`.
    """

    num_classes: int
    width: int = 64
    depth: int = 4
    padding: Literal["valid", "same"] = "valid"
    norm: Callable[..., nn.Module] | None = None
    upsample: Callable[..., nn.Module] = TransposedConv
    merge: Callable[[jax.Array, jax.Array], jax.Array] = concatenate
    halving: Literal["upsample", "released", "convolution"] = "upsample"
    dropout: float = 0.5
    dropout_levels: int = 1  # the bottom, and those above it
    dtype: Any = None  # of the computation; parameters and logits are float32
    remat: bool = False  # recompute activations in the backward pass instead of storing them

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        chex.assert_rank(image, 4)
        self.check_size(image.shape[1:3])
        pair = nn.remat(ConvPair) if self.remat else ConvPair

        def convs(name: str, x: jax.Array, *features: int) -> jax.Array:
            return pair(features, self.padding, self.norm, train, self.dtype, name=name)(x)

        def drop(x: jax.Array) -> jax.Array:
            return nn.Dropout(self.dropout, deterministic=not train)(x)

        widths = [self.width * 2**level for level in range(self.depth + 1)]
        up_widths = [widths[1], *widths[1:]] if self.halving == "released" else widths
        out_widths = [widths[0], *widths[:-1]] if self.halving == "convolution" else widths
        x, skips = image, []
        for level in range(self.depth):
            x = convs(f"down{level}", x, widths[level], widths[level])
            if level > self.depth - self.dropout_levels:
                x = drop(x)
            pooled, switches = max_pool_with_switches(x)
            skips.append((x, switches))
            x = pooled
        x = drop(convs("bottom", x, out_widths[-1], out_widths[-1]))
        for level in reversed(range(self.depth)):
            skip, switches = skips[level]
            up = self.upsample(features=up_widths[level], dtype=self.dtype, name=f"up{level}")
            x = up(x, switches=switches)
            x = self.merge(centre_crop(skip, x.shape[1:3]), x)
            x = convs(f"merge{level}", x, widths[level], out_widths[level])
        logits = Conv(self.num_classes, (1, 1), dtype=self.dtype, name="head")(x)
        return {"logits": logits.astype(jnp.float32)}

    def input_size(self, output: int) -> int:
        """The smallest legal side of an input whose output covers `output` pixels."""
        return unet_input_size(output, self.depth, self.padding)

    def output_size(self, size: int) -> int:
        """The side of the output for a legal side of the input."""
        return unet_output_size(size, self.depth, self.padding)

    def check_size(self, sizes: tuple[int, ...]) -> None:
        """Raise `InputError` with the nearest legal sizes unless every side is legal."""
        check_unet(sizes, self.depth, self.padding, "U-Net")


class ConvPair(nn.Module):
    """Two 3x3 convolutions, each followed by the normalisation, if any, and ReLU."""

    features: tuple[int, ...]
    padding: str
    norm: Callable[..., nn.Module] | None
    train: bool
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for i, features in enumerate(self.features, 1):
            x = Conv(
                features,
                (3, 3),
                padding=self.padding.upper(),
                use_bias=self.norm is None,
                dtype=self.dtype,
                name=f"conv{i}",
            )(x)
            if self.norm is not None:
                x = self.norm(dtype=self.dtype, name=f"norm{i}")(x, train=self.train)
            x = relu(x)
        return x


def centre_crop(x: jax.Array, size: tuple[int, ...]) -> jax.Array:
    """The centre of [B, H, W, C] at `size` (h, w)."""
    top, left = (x.shape[1] - size[0]) // 2, (x.shape[2] - size[1]) // 2
    return x[:, top : top + size[0], left : left + size[1]]


class RectifiedUp(nn.Module):
    """The upsampling of the released network: a transposed convolution and ReLU."""

    features: int
    factor: int = 2
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: jax.Array, switches: Switches | None = None, size: Size | None = None
    ) -> jax.Array:
        up = TransposedConv(self.features, self.factor, self.dtype)
        nn.share_scope(self, up)
        return relu(up(x, size=size))


# The network that the authors released for Caffe: 31,100,354 parameters (one channel, two classes).
unet_caffe = functools.partial(
    UNet,
    upsample=RectifiedUp,
    merge=concatenate_after,
    halving="released",
    dropout_levels=2,
)

# The common padded networks, github.com/milesial/Pytorch-UNet: with transposed convolutions
# 31,037,698 parameters (three channels, two classes), upsampling without weights 17,263,042.
unet_padded = functools.partial(UNet, padding="same", norm=BatchNorm, dropout=0.0)
unet_bilinear = functools.partial(
    unet_padded,
    upsample=functools.partial(Bilinear, convention="corner-aligned"),
    halving="convolution",
)
