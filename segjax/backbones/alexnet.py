"""ImageNet Classification with Deep Convolutional Neural Networks (Krizhevsky et al. 2012).

As Caffe released it, and as torchvision has it, after "One weird trick" (Krizhevsky 2014,
arXiv:1404.5997): narrower, without groups and without local response normalisation.
"""

import functools
from typing import Any, Literal

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from segjax.errors import InputError
from segjax.nn.layers import Conv
from segjax.ops.activation import relu
from segjax.ops.local_response import local_response_norm
from segjax.ops.pooling import max_pool


class AlexNet(nn.Module):
    """Images [B, H, W, C] -> {'c2', 'c3', 'c4', 'c5'}; see `segjax.backbones`.

    'c2' is the first convolution, of stride 4, 'c3' the second, 'c4' the fifth, and 'c5' the last
    pool; its pools overlap and have no switches. `normalise` is the order of the local response
    normalisation and the first two pools, the paper's or CaffeNet's. The second, fourth and fifth
    convolutions have `groups`. `first_padding` is that of the first convolution, 100 in FCN.
    """

    widths: tuple[int, int, int, int, int] = (96, 256, 384, 384, 256)
    groups: int = 2
    normalise: Literal["before pool", "after pool"] | None = "before pool"
    pool_rounding: Literal["floor", "ceil"] = "ceil"
    first_padding: int = 0
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        del train  # the same in training and evaluation
        chex.assert_rank(image, 4)
        if any(self.widths[i] % self.groups for i in (0, 1, 2, 3, 4)):
            raise InputError(
                f"AlexNet's widths {self.widths} do not divide into groups of {self.groups}."
            )

        def conv(x, number, size, padding, stride=1, groups=1):
            x = Conv(
                self.widths[number - 1],
                (size, size),
                strides=stride,
                padding=padding,
                feature_group_count=groups,
                dtype=self.dtype,
                name=f"conv{number}",
            )(x)
            return relu(x)

        def pool(x):
            return max_pool(x, (3, 3), (2, 2), ceil_mode=self.pool_rounding == "ceil")

        def normalised_pool(x):
            if self.normalise is None:
                return pool(x)
            if self.normalise == "before pool":
                return pool(local_response_norm(x))
            return local_response_norm(pool(x))

        maps = {"c2": conv(image, 1, 11, self.first_padding, stride=4)}  # 1/4
        maps["c3"] = conv(normalised_pool(maps["c2"]), 2, 5, 2, groups=self.groups)  # 1/8
        x = conv(normalised_pool(maps["c3"]), 3, 3, 1)  # 1/16
        x = conv(x, 4, 3, 1, groups=self.groups)
        maps["c4"] = conv(x, 5, 3, 1, groups=self.groups)
        maps["c5"] = pool(maps["c4"])  # 1/32
        return maps


class Classifier(nn.Module):
    """An AlexNet as the classifier it is trained as, its dense layers made convolutions.

    Images -> {'logits': [B, num_classes], 'scores': [B, h, w, num_classes]}. An image of 227 pixels
    (torchvision: 224) has one score; a larger one has one every 32 pixels, and the logits are their
    mean. Dropout precedes the first two dense layers in torchvision, and follows them in Caffe.
    Raises `InputError` for images that leave less than 6x6 features.
    """

    backbone: nn.Module
    num_classes: int = 1000
    hidden: int = 4096
    window: int = 6
    dropout: Literal["before", "after"] = "after"

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        x = self.backbone(image, train=train)["c5"]
        if min(x.shape[1:3]) < self.window:
            raise InputError(
                f"The classifier needs {self.window} x {self.window} features and got "
                f"{x.shape[1]} x {x.shape[2]}: give larger images than {image.shape[1:3]}."
            )
        drop = nn.Dropout(0.5, deterministic=not train)
        for name, size in (("fc6", self.window), ("fc7", 1)):
            x = drop(x) if self.dropout == "before" else x
            x = relu(Conv(self.hidden, (size, size), padding=0, name=name)(x))
            x = drop(x) if self.dropout == "after" else x
        scores = Conv(self.num_classes, (1, 1), name="fc8")(x).astype(jnp.float32)
        return {"logits": jnp.mean(scores, axis=(1, 2)), "scores": scores}


caffenet = functools.partial(AlexNet, normalise="after pool")
alexnet_torchvision = functools.partial(
    AlexNet,
    widths=(64, 192, 384, 256, 256),
    groups=1,
    normalise=None,
    pool_rounding="floor",
    first_padding=2,
)
