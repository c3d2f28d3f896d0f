"""DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous Convolution, and
Fully Connected CRFs (Chen et al. 2016, arXiv:1606.00915), known as DeepLab v2.

The CRF is `segjax.postprocess`.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from segjax.backbones.resnet import resnet101
from segjax.backbones.vgg import vgg16
from segjax.nn.initializers import normal
from segjax.nn.layers import BatchNorm, Conv
from segjax.nn.upsample import Bilinear, legal_side, legal_side_of_corners
from segjax.ops.activation import relu
from segjax.ops.resize import bilinear, bilinear_by_factor


class SummedASPP(nn.Module):
    """The sum of 3x3 convolutions dilated by `rates`: [B, h, w, C] -> [B, h, w, num_classes].

    "ASPP-L" of section 3.2 as it is on a ResNet, where the convolutions give the logits.
    """

    num_classes: int
    rates: Sequence[int] = (6, 12, 18, 24)
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        del train  # the same in training and evaluation
        conv = functools.partial(
            Conv, self.num_classes, (3, 3), kernel_init=_GAUSSIAN, dtype=self.dtype
        )
        branches = [
            conv(padding=rate, kernel_dilation=rate, name=f"c{i}")(x)
            for i, rate in enumerate(self.rates)
        ]
        return functools.reduce(jnp.add, branches)


class SummedClassifiers(nn.Module):
    """The sum of dilated copies of VGG's classifier: [B, h, w, C] -> [B, h, w, num_classes].

    "ASPP-L" as figure 7(b) draws it on VGG-16: each branch is a 3x3 convolution dilated by its
    rate, a 1x1 convolution, both of `hidden` channels with dropout, and one to the logits.
    """

    num_classes: int
    rates: Sequence[int] = (6, 12, 18, 24)
    hidden: int = 1024
    dropout: float = 0.5
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        conv = functools.partial(Conv, dtype=self.dtype)
        drop = nn.Dropout(self.dropout, deterministic=not train)
        branches = []
        for i, rate in enumerate(self.rates, 1):
            fc6 = conv(self.hidden, (3, 3), padding=rate, kernel_dilation=rate, name=f"fc6_{i}")
            fc7 = conv(self.hidden, (1, 1), name=f"fc7_{i}")
            fc8 = conv(self.num_classes, (1, 1), kernel_init=_GAUSSIAN, name=f"fc8_{i}")
            branches.append(fc8(drop(relu(fc7(drop(relu(fc6(x))))))))
        return functools.reduce(jnp.add, branches)


_GAUSSIAN = normal(0.01)


class DeepLabV2(nn.Module):
    """Images [B, H, W, C] -> {'logits', 'scale_1', ...}: float32 [B, H, W, num_classes].

    The same network sees the image at every one of `scales`; 'logits' are the maximum of what it
    says, and each scale's own logits take a loss too (section 4.1.2, "multi-scale inputs"). Any
    size is legal; one more than a multiple of 8 (321 in the paper) keeps corners aligned.
    `convention` is that of the image's and the logits' resizing between scales; by 'half-pixel' the
    image is resized by the factor (`ops.resize.bilinear_by_factor`), as the port to PyTorch does.

    `deeplab_v2` and `deeplab_v2_vgg16` are the published networks.
    """

    num_classes: int
    backbone: nn.Module
    aspp: Callable[..., nn.Module] = SummedASPP
    scales: Sequence[float] = (1, 0.75, 0.5)
    convention: Literal["half-pixel", "corner-aligned"] = "corner-aligned"
    upsample: Callable[..., nn.Module] = functools.partial(Bilinear, convention="corner-aligned")
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        self.input_size(1)  # the upsampler fits
        aspp = self.aspp(self.num_classes, dtype=self.dtype, name="aspp")
        up = self.upsample(
            features=self.num_classes,
            factor=self.backbone.output_stride,
            dtype=jnp.float32,
            name="up",
        )
        out = {}
        for scale in self.scales:
            if self.convention == "half-pixel":
                scaled = bilinear_by_factor(image, scale)
            else:
                size = self.scaled(image.shape[1], scale), self.scaled(image.shape[2], scale)
                scaled = bilinear(image, size, self.convention)
            maps = self.backbone(scaled, train=train)
            out[f"scale_{scale:g}"] = aspp(maps["c5"], train=train).astype(jnp.float32)  # scale/8
        largest = max((x.shape[1:3] for x in out.values()), key=max)
        out = {key: bilinear(x, largest, self.convention) for key, x in out.items()}
        out["logits"] = functools.reduce(jnp.maximum, out.values())
        return {key: up(x, size=image.shape[1:3]) for key, x in out.items()}

    def scaled(self, size: int, scale: float) -> int:
        """The side of the image at a scale: corner-aligned, the distance of corners is scaled."""
        corners = self.convention == "corner-aligned"
        return int((size - corners) * scale) + corners

    def input_size(self, output: int) -> int:
        """The smallest legal side of an input whose output covers `output` pixels.

        Raises `InputError` for upsamplers that no side fits.
        """
        stride = self.backbone.output_stride
        whole = getattr(self.backbone, "pool_rounding", "floor") == "floor"  # maps of size / stride
        if whole and max(self.scales) == 1:
            return legal_side(output, self.upsample, stride)
        remedy = "the largest of scales is 1 and the backbone's pool_rounding is 'floor'"
        side = legal_side_of_corners(output, self.upsample, stride, "DeepLab v2", remedy)
        return output if whole else side

    def output_size(self, size: int) -> int:
        """The side of the output for a side of the input."""
        return size


def deeplab_v2(
    num_classes: int,
    *,
    norm: Callable[..., nn.Module] = BatchNorm,
    dtype: Any = None,
    **options: Any,
) -> DeepLabV2:
    """The paper's ResNet-101, as the Caffe release: 44,048,532 parameters with 21 classes.

    The stem's pooling rounds up, units stride in their first 1x1 convolution, and the dilated
    stages take their rate from the first unit on. The authors start from a network trained on COCO
    and keep its normalisation: `norm=FrozenBatchNorm`.
    """
    backbone = resnet101(
        output_stride=8,
        first_unit="new",
        stride_in="1x1",
        pool_rounding="ceil",
        norm=norm,
        dtype=dtype,
    )
    return DeepLabV2(num_classes, backbone, dtype=dtype, **options)


def deeplab_v2_vgg16(num_classes: int, *, dtype: Any = None, **options: Any) -> DeepLabV2:
    """The paper's VGG-16, with pools and dilation as in DeepLab v1; section 4.1.1, one scale.

    37,877,652 parameters with 21 classes. Pools round up.
    """
    backbone = vgg16(pool_size=3, pool_rounding="ceil", output_stride=8, dtype=dtype)
    options = {"aspp": SummedClassifiers, "scales": (1,), **options}
    return DeepLabV2(num_classes, backbone, dtype=dtype, **options)
