"""Semantic FPN: Panoptic Feature Pyramid Networks (Kirillov et al. 2019, arXiv:1901.02446).

With the five feature pyramids of figure 1 of Feature Pyramid Networks for Object Detection (Lin et
al. 2016, arXiv:1612.03144), and PANet's (Liu et al. 2018), under one head.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from segjax.errors import InputError
from segjax.nn.fpn import FPN, PathAggregation, Select
from segjax.nn.layers import Conv, ConvNorm, GroupNorm, SpatialDropout
from segjax.nn.upsample import Bilinear, legal_side
from segjax.ops import resize


class SemanticFPN(nn.Module):
    """The semantic branch of Panoptic FPN on a feature pyramid, section 3.1 and figure 3.

    Images [B, H, W, C] -> {'logits': float32 [B, H, W, num_classes], 'pK': the same for every level
    K of the pyramid}, of any size. Each level is brought to 1/4 by rounds of a 3x3 convolution,
    group normalisation, ReLU and 2x upsampling, one convolution alone at level 2; their sum goes
    through a 1x1 convolution to 'logits'. 'pK' is what this 1x1 convolution makes of level K alone,
    the prediction at every level of the pyramids below, for a loss on each; it has no parameters of
    its own.

    `neck` is a factory of a feature pyramid of `nn.fpn` and `upsample` one of `nn.upsample`;
    `resize` takes logits to the image's size. `dropout`, of whole maps, is not in the paper.
    28,483,190 parameters on a ResNet-50 with 54 classes.
    """

    num_classes: int
    backbone: nn.Module
    neck: Callable[..., nn.Module] = FPN
    width: int = 128
    dropout: float = 0.0
    norm: Callable[..., nn.Module] = functools.partial(GroupNorm, num_groups=32)
    upsample: Callable[..., nn.Module] = Bilinear
    resize: Callable[[jax.Array, tuple[int, int]], jax.Array] = resize.bilinear
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        features = self.backbone(image, train=train)
        sizes = {name: x.shape[1:3] for name, x in features.items()}
        branches = {}
        neck = self.neck(dtype=self.dtype, name="neck")
        for name, x in neck(features, train=train).items():
            level = int(name[1:])
            if level < 2:
                raise InputError(f"The neck gives {name}, finer than the head's 1/4: leave it out.")
            for i, target in enumerate(reversed(range(2, max(level, 3)))):
                conv = ConvNorm(self.width, norm=self.norm, dtype=self.dtype, name=f"{name}_{i}")
                x = conv(x, train=train)
                if level > 2:
                    up = self.upsample(features=self.width, dtype=self.dtype, name=f"{name}_up{i}")
                    x = up(x, size=sizes[f"c{target}"])
            branches[name] = x  # 1/4
        total = functools.reduce(jnp.add, branches.values())
        total = SpatialDropout(self.dropout, deterministic=not train)(total)
        head = Conv(self.num_classes, (1, 1), dtype=self.dtype, name="head")
        logits = {"logits": total} | branches
        return {
            name: self.resize(head(x).astype(jnp.float32), (image.shape[1], image.shape[2]))  # 1
            for name, x in logits.items()
        }

    def input_size(self, output: int) -> int:
        """The smallest legal side of an input whose output covers `output` pixels."""
        halvings = self.backbone.halvings if isinstance(self.backbone, ImagePyramid) else 0
        side = legal_side(output, self.upsample, 32 * 2**halvings)
        return self.neck(parent=None).input_size(side)

    def output_size(self, size: int) -> int:
        """The side of the output for a legal side of the input."""
        return size


class ImagePyramid(nn.Module):
    """A backbone on the image and on its halves: 'c5' to 'c7' are its last maps at each scale.

    Images [B, H, W, C] -> {'c1', ..., 'c5', 'c6', ...}, one more for each of `halvings`. The
    weights are those of the backbone, under its own names. Lin et al. 2016, figure 1 (a).
    """

    backbone: nn.Module
    halvings: int = 2

    def setup(self) -> None:
        nn.share_scope(self, self.backbone)

    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        maps = dict(self.backbone(image, train=train))
        for level in range(6, 6 + self.halvings):
            image = resize.bilinear(image, (-(-image.shape[1] // 2), -(-image.shape[2] // 2)))
            maps[f"c{level}"] = self.backbone(image, train=train)["c5"]
        return maps


def image_pyramid(num_classes: int, backbone: nn.Module, **options: Any) -> SemanticFPN:
    """(a) Featurised image pyramid: the same network at the scales 1, 1/2 and 1/4."""
    neck = functools.partial(Select, (5, 6, 7))
    return SemanticFPN(num_classes, ImagePyramid(backbone), neck=neck, **options)


single_map = functools.partial(SemanticFPN, neck=functools.partial(Select, (5,)))
"""(b) The last map alone."""

hierarchy = functools.partial(SemanticFPN, neck=functools.partial(Select, (2, 3, 4, 5)))
"""(c) Pyramidal feature hierarchy: the backbone's maps with no path between them."""

semantic_fpn = SemanticFPN
"""(d) Feature Pyramid Network."""

top_down = functools.partial(SemanticFPN, neck=functools.partial(FPN, outputs=(2,)))
"""(e) As (d), but predicting from the finest map alone, like a U-Net; figure 2, top."""

panet = functools.partial(SemanticFPN, neck=PathAggregation)
"""FPN, then up again: PANet's bottom-up path augmentation."""

smp_fpn = functools.partial(
    SemanticFPN,
    neck=functools.partial(FPN, output_kernel=None),
    dropout=0.2,
    upsample=functools.partial(Bilinear, convention="corner-aligned"),
    resize=functools.partial(resize.bilinear, convention="corner-aligned"),
)
"""As in segmentation-models-pytorch: no 3x3 convolutions behind the sums, dropout, corner-aligned.

26,118,355 parameters on a ResNet-50 with 19 classes.
"""

PYRAMIDS: dict[str, Callable[..., SemanticFPN]] = {
    "image_pyramid": image_pyramid,
    "single_map": single_map,
    "hierarchy": hierarchy,
    "fpn": semantic_fpn,
    "top_down": top_down,
    "panet": panet,
}
"""The structures by name, called with num_classes, backbone= and any other field but the neck."""
