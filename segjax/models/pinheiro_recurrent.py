"""Recurrent Convolutional Neural Networks for Scene Labeling (Pinheiro and Collobert 2014).

arXiv:1306.2795, ICML 2014.
"""

from typing import Any, Literal

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

from segjax.errors import InputError
from segjax.nn.initializers import he_normal
from segjax.ops import convolution
from segjax.ops.pooling import avg_pool


class RecurrentCNN(nn.Module):
    """rCNN, section 3.2 and figure 2 of the paper: one small network applied to its own labels.

    Images [B, H, W, C] -> {'logits', 'instance1', 'instance2', ...}, each float32 [B, H', W',
    num_classes]: the last instance and those before it, all of which the paper trains. H' = H +
    1 - context with `padding='valid'`, the paper's; with 'same' the image is padded with zeros and
    H' = H. Any size, no less than the context; InputError otherwise.

    The network f is an 8x8 convolution to 25 maps, one to 50, each with 2x2 max-pooling and tanh,
    and a 1x1 to the classes: it sees 25 pixels a side and labels every fourth. An instance sees the
    scores of the one before it (zeros at first) beside the image at their resolution, here the mean
    of 4x4 pixels, 16x16 pixels, ..., so the `context` grows to 121 pixels with two instances and
    505 with three, while the weights stay the same. 98,083 parameters for RGB and 8 classes.

    The paper labels each pixel by giving f the image at all shifts and interleaving the results.
    Here this is done at once: instead of the strides, windows and kernels are dilated, which is
    the same arithmetic without the repetitions.
    """

    num_classes: int
    maps: tuple[int, int] = (25, 50)
    kernel_size: int = 8
    instances: int = 2
    padding: Literal["valid", "same"] = "valid"
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        del train  # the same in training and evaluation
        chex.assert_rank(image, 4)
        if self.padding == "same":
            pad = (self.context(self.instances) // 2,) * 2
            image = jnp.pad(image, ((0, 0), pad, pad, (0, 0)))
        least = self.context(self.instances)
        if min(image.shape[1:3]) < least:
            raise InputError(
                f"RecurrentCNN with instances={self.instances} needs images of at least {least} "
                f"pixels a side, not {image.shape[1]} x {image.shape[2]}: give larger images or "
                "set padding='same'."
            )
        k, channels = self.kernel_size, image.shape[-1] + self.num_classes
        conv1 = _SharedConv((k, k, channels, self.maps[0]), self.dtype, name="conv1")
        conv2 = _SharedConv((k, k, *self.maps), self.dtype, name="conv2")
        head = _SharedConv((1, 1, self.maps[1], self.num_classes), self.dtype, name="head")

        scores, x = [], image
        for p in range(self.instances):
            rate = 4**p  # pixels of the image to one of this instance
            if scores:
                offset = (self.context(p) - rate) // 2  # to the middle of what a score has seen
                height, width = scores[-1].shape[1:3]
                seen = avg_pool(image[:, offset:, offset:], (rate, rate), (1, 1))
                seen = seen[:, :height, :width].astype(scores[-1].dtype)
                x = jnp.concatenate([seen, scores[-1]], axis=-1)
            x = nn.tanh(_pool(conv1(x, rate), rate))
            x = nn.tanh(_pool(conv2(x, 2 * rate), 2 * rate))
            scores.append(head(x, 1))

        height, width = scores[-1].shape[1:3]
        outputs = {"logits": scores[-1].astype(jnp.float32)}
        for p, x in enumerate(scores[:-1], 1):
            margin = (least - self.context(p)) // 2
            x = x[:, margin : margin + height, margin : margin + width]
            outputs[f"instance{p}"] = x.astype(jnp.float32)
        return outputs

    def context(self, instances: int) -> int:
        """The side of the square of pixels that a score of the last of `instances` depends on."""
        return 1 + 3 * self.kernel_size * sum(4**p for p in range(instances))

    def input_size(self, output: int) -> int:
        """The smallest legal side of an input whose output covers `output` pixels."""
        if self.padding == "same":
            return output
        return max(output, 1) + self.context(self.instances) - 1

    def output_size(self, size: int) -> int:
        """The side of the output for a legal side of the input."""
        return size if self.padding == "same" else size + 1 - self.context(self.instances)


class _SharedConv(nn.Module):
    """Unpadded convolution with one kernel for every instance, whatever its dilation."""

    shape: tuple[int, int, int, int]
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, dilation: int) -> jax.Array:
        kernel = self.param("kernel", he_normal, self.shape)
        bias = self.param("bias", nn.initializers.zeros, self.shape[-1:])
        kernel = kernel[:, :, : x.shape[-1]]  # the first instance's labels are zeros
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        rates = (dilation, dilation)
        return bias + convolution.conv_general_dilated(
            x, kernel, (1, 1), "VALID", rhs_dilation=rates, dimension_numbers=convolution.NHWC
        )


def _pool(x: jax.Array, dilation: int) -> jax.Array:
    """2x2 max-pooling, from every pixel on, of pixels `dilation` apart."""
    x = jnp.maximum(x[:, :-dilation], x[:, dilation:])
    return jnp.maximum(x[:, :, :-dilation], x[:, :, dilation:])
