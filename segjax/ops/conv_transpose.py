"""Transposed convolution, as a convolution and a depth-to-space."""

import chex
import jax
import jax.numpy as jnp
from jax import lax

from segjax.errors import InputError
from segjax.ops.convolution import NHWC, Padding, Pair, conv_general_dilated, is_fast, pad


def conv_transpose(
    x: jax.Array,
    kernel: jax.Array,
    stride: Pair,
    padding: Padding = ((0, 0), (0, 0)),
    output_padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
) -> jax.Array:
    """Transposed convolution: the adjoint of a strided convolution, as torch.nn.ConvTranspose2d.

    `x` [B, h, w, Cin] and `kernel` [kh, kw, Cin, Cout], not flipped, give [B, H, W, Cout] with
    out[stride * i + dilation * a - padding] += x[i] * kernel[a] on each axis, hence
    H = (h - 1) * stride - sum(padding) + dilation * (kh - 1) + output_padding + 1.
    Raises `InputError` where that is not positive.

    Each block of stride x stride outputs sees the same few inputs, so this is one undilated
    convolution to stride * stride * Cout channels and a depth-to-space (Shi et al. 2016,
    "Is the deconvolution layer the same as a convolutional layer?"), on every backend: the gradient
    of `lax.conv_transpose` is slow on CPUs and on GPUs. On a mesh with explicit axes a sharded
    batch needs `use_fast(False)`: jax carries no such sharding through the depth-to-space.
    """
    chex.assert_rank([x, kernel], 4)
    size = tuple(
        (n - 1) * s - sum(p) + d * (k - 1) + extra + 1
        for n, s, p, d, k, extra in zip(
            x.shape[1:3], stride, padding, dilation, kernel.shape[:2], output_padding, strict=True
        )
    )
    if min(size) < 1:
        raise InputError(
            f"conv_transpose of {x.shape[1]} x {x.shape[2]} inputs has no outputs "
            f"({size[0]} x {size[1]}): use less padding than {padding}."
        )
    if not is_fast():
        return _lax_conv_transpose(x, kernel, stride, padding, size, dilation)
    if stride != (1, 1) and dilation != (1, 1):  # rare: write the dilation as zeros in the kernel
        between = [(0, 0, d - 1) for d in dilation]
        kernel = lax.pad(kernel, jnp.zeros((), kernel.dtype), [*between, (0, 0, 0), (0, 0, 0)])
        dilation = (1, 1)
    return _subpixel(x, kernel, stride, padding, size, dilation)


def _subpixel(x, kernel, stride, padding, size, dilation):
    """A convolution to stride * stride * Cout channels, depth-to-space, and a crop to `size`."""
    (kh, kw, cin, cout), (sh, sw) = kernel.shape, stride
    taps_h, taps_w = -(-kh // sh), -(-kw // sw)  # blocks of the kernel, each one stride long
    fill = ((0, taps_h * sh - kh), (0, taps_w * sw - kw), (0, 0), (0, 0))
    blocks = jnp.pad(kernel, fill).reshape(taps_h, sh, taps_w, sw, cin, cout)
    # Output block I takes input I - A through kernel block A: a convolution, blocks flipped.
    blocks = blocks[::-1, :, ::-1].transpose(0, 2, 4, 1, 3, 5)
    reach = [d * (taps - 1) for d, taps in zip(dilation, (taps_h, taps_w), strict=True)]
    y = conv_general_dilated(
        x,
        blocks.reshape(taps_h, taps_w, cin, sh * sw * cout),
        (1, 1),
        [(reach[0], reach[0]), (reach[1], reach[1])],
        rhs_dilation=dilation,
        dimension_numbers=NHWC,
    )
    b, h, w, _ = y.shape
    y = y.reshape(b, h, w, sh, sw * cout).transpose(0, 1, 3, 2, 4).reshape(b, h * sh, w * sw, cout)
    crop = [(-p[0], n - (m - p[0])) for p, n, m in zip(padding, size, y.shape[1:3], strict=True)]
    return pad(y, crop)


def _lax_conv_transpose(x, kernel, stride, padding, size, dilation):
    """The definition, as a convolution of the dilated input with the flipped kernel."""
    pads = []
    for n, s, p, out, d, k in zip(
        x.shape[1:3], stride, padding, size, dilation, kernel.shape[:2], strict=True
    ):
        low = d * (k - 1) - p[0]
        pads.append((low, out - 1 + d * (k - 1) - (n - 1) * s - low))
    return lax.conv_general_dilated(
        x,
        kernel[::-1, ::-1],
        (1, 1),
        pads,
        lhs_dilation=stride,
        rhs_dilation=dilation,
        dimension_numbers=NHWC,
    )
