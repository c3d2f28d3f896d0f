"""Augmentation on the device, inside the training step: pure functions of a key and a batch.

An augmentation is a function `(rng, batch) -> batch`. A batch is a dict with 'image' float
[B, H, W, C] and, where present, 'label' int [B, H, W], 'weight' float [B, H, W] and 'instances'
int [B, H, W], which move with the image; entries with one value per example ('valid', names)
are left alone. Every example has its own key, so what happens to it does not depend on its
neighbours, nor on how the batch is spread over devices.
"""

import math
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from segjax.errors import InputError
from segjax.ops.warp import affine_coordinates, coarse_displacement, sample

Batch = dict[str, jax.Array]
Augmentation = Callable[[jax.Array, Batch], Batch]

_SPATIAL = ("image", "label", "weight", "instances")
_GREY = (0.2989, 0.587, 0.114)  # ITU-R BT.601 luma, with torchvision's digits


def compose(*augmentations: Augmentation) -> Augmentation:
    """One augmentation that applies `augmentations` from left to right, each with its own key."""

    def augment(rng, batch):
        for key, augmentation in zip(
            jax.random.split(rng, len(augmentations)), augmentations, strict=True
        ):
            batch = augmentation(key, batch)
        return batch

    return augment if augmentations else lambda rng, batch: batch


def with_augment(loss: Callable, augment: Augmentation) -> Callable:
    """The loss function of augmented batches.

    `loss(params, model_state, batch, rng)` becomes a function of the same arguments which gives
    `augment` one half of the key and `loss` the other.
    """

    def augmented_loss(params, model_state, batch, rng):
        augment_rng, loss_rng = jax.random.split(rng)
        return loss(params, model_state, augment(augment_rng, batch), loss_rng)

    return augmented_loss


def flip(horizontal: bool = True, vertical: bool = False) -> Augmentation:
    """Mirrors left and right (`horizontal`) and top and bottom (`vertical`), each half the time."""

    def example(rng, arrays):
        draws = jax.random.bernoulli(rng, shape=(2,))
        for yes, axis, wanted in zip(draws, (1, 0), (horizontal, vertical), strict=True):
            if wanted:
                arrays = {k: jnp.where(yes, jnp.flip(x, axis), x) for k, x in arrays.items()}
        return arrays

    return _geometric(example, "flip")


def quarter_turns() -> Augmentation:
    """Turns by 0, 90, 180 or 270 degrees, equally often; the images must be square."""

    def example(rng, arrays):
        H, W = arrays["image"].shape[:2]
        if H != W:
            raise InputError(
                f"quarter_turns: the images must be square, not {H} x {W}; crop them before,"
                " or use flip(horizontal=True, vertical=True)."
            )
        quarter, half = jax.random.bernoulli(rng, shape=(2,))
        arrays = {k: jnp.where(quarter, jnp.rot90(x), x) for k, x in arrays.items()}
        return {k: jnp.where(half, jnp.rot90(x, 2), x) for k, x in arrays.items()}

    return _geometric(example, "quarter_turns")


def warp(
    scale: tuple[float, float] = (1.0, 1.0),
    rotation: float = 0.0,
    elastic_sigma: float = 0.0,
    elastic_grid: int = 3,
    crop: tuple[int, int] | None = None,
    ignore: int = 255,
) -> Augmentation:
    """Scaling, rotation, elastic deformation and a random crop in one resampling.

    `scale` bounds a uniform enlargement factor; `rotation` bounds a uniform angle in degrees,
    either way, about the crop's centre; `elastic_sigma` is the standard deviation, in output
    pixels, of the displacements on an `elastic_grid` x `elastic_grid` grid over the output,
    interpolated bicubically (`ops.warp.coarse_displacement`; U-Net, Ronneberger et al. 2015,
    section 3.1, has 10 pixels on 3 x 3). `crop` (h, w) is the output's size, the input's if
    None. The crop lies anywhere within the scaled image, or anywhere around it where it is the
    larger of the two; without scaling it moves by whole pixels, and nothing is blurred.

    Image: bilinear, mirrored at the border. Weight: bilinear, 0 outside. Label and instances:
    nearest, `ignore` and 0 outside.
    """
    lowest, highest = scale
    if not 0 < lowest <= highest:
        raise InputError(f"warp: scale must be (low, high) with 0 < low <= high, not {scale}.")
    if elastic_sigma < 0:
        raise InputError(f"warp: elastic_sigma must be 0 or more pixels, not {elastic_sigma}.")

    def example(rng, arrays):
        uniform_rng, elastic_rng = jax.random.split(rng)
        draws = jax.random.uniform(uniform_rng, (4,))
        source = arrays["image"].shape[:2]
        size = source if crop is None else crop
        zoom = lowest + draws[0] * (highest - lowest)
        angle = math.radians(rotation) * (2 * draws[1] - 1)
        displacement = None
        if elastic_sigma > 0:
            nodes = jax.random.normal(elastic_rng, (2, elastic_grid, elastic_grid))
            displacement = coarse_displacement(elastic_sigma * nodes, size)
        # The crop's corner: whole pixels, all equally likely, so that a plain crop copies pixels.
        whole, part = jnp.array(source, jnp.float32), jnp.array(size, jnp.float32)
        slack = jnp.abs(whole - part / zoom) / 2
        first, last = (whole - part) / 2 - slack, (whole - part) / 2 + slack
        corner = jnp.floor(first + draws[2:] * (2 * slack + 1))
        centre = jnp.clip(corner, first, last) + (part - 1) / 2
        coordinates = affine_coordinates(size, centre, zoom, angle, displacement)
        how = {
            "image": ("bilinear", "mirror"),
            "weight": ("bilinear", 0),
            "label": ("nearest", ignore),
            "instances": ("nearest", 0),
        }
        return {k: sample(x, coordinates, *how[k]) for k, x in arrays.items()}

    return _geometric(example, "warp")


def photometric(
    brightness: float = 0.0, contrast: float = 0.0, saturation: float = 0.0, hue: float = 0.0
) -> Augmentation:
    """Random brightness, contrast, saturation and hue, in this order; images in [0, 1].

    The first three are factors drawn uniformly from [max(0, 1 - x), 1 + x], the hue moves by at
    most `hue` <= 0.5 turns either way (torchvision's ColorJitter in fixed order). Place it before
    any normalisation: every step clips to [0, 1]. Saturation and hue need RGB.
    """
    if min(brightness, contrast, saturation, hue) < 0 or hue > 0.5:
        raise InputError("photometric: strengths must be 0 or more, and hue at most 0.5 turns.")

    def example(rng, image):
        if image.shape[-1] != 3 and (saturation or hue):
            raise InputError(
                "photometric: saturation and hue need RGB images, not"
                f" {image.shape[-1]} channels; set them to 0."
            )
        draws = jax.random.uniform(rng, (4,))
        for draw, strength, adjust in (
            (draws[0], brightness, adjust_brightness),
            (draws[1], contrast, adjust_contrast),
            (draws[2], saturation, adjust_saturation),
        ):
            if strength:
                lowest = max(0.0, 1 - strength)
                image = adjust(image, lowest + draw * (1 + strength - lowest))
        return adjust_hue(image, hue * (2 * draws[3] - 1)) if hue else image

    return _photometric(example)


def gamma(limits: tuple[float, float] = (0.7, 1.5)) -> Augmentation:
    """Grey-value curve x^g of images in [0, 1] (others are clipped), log g uniform in `limits`."""
    lowest, highest = limits
    if not 0 < lowest <= highest:
        raise InputError(f"gamma: limits must be (low, high) with 0 < low <= high, not {limits}.")

    def example(rng, image):
        return adjust_gamma(image, lowest * (highest / lowest) ** jax.random.uniform(rng))

    return _photometric(example)


def gaussian_noise(sigma: float) -> Augmentation:
    """Adds independent noise from N(0, sigma) to every pixel and channel; clips nothing."""

    def example(rng, image):
        return image + sigma * jax.random.normal(rng, image.shape, image.dtype)

    return _photometric(example)


def adjust_brightness(image: jax.Array, factor: float | jax.Array) -> jax.Array:
    """`image` [..., C] times `factor`, clipped to [0, 1]."""
    return jnp.clip(image * factor, 0, 1)


def adjust_contrast(image: jax.Array, factor: float | jax.Array) -> jax.Array:
    """`image` [H, W, C] drawn to its mean grey value (factor 0) or away from it, in [0, 1]."""
    chex.assert_rank(image, 3)
    mean = jnp.mean(_grey(image) if image.shape[-1] == 3 else image)
    return jnp.clip(mean + factor * (image - mean), 0, 1)


def adjust_saturation(image: jax.Array, factor: float | jax.Array) -> jax.Array:
    """RGB `image` [..., 3] drawn to its grey version (factor 0) or away from it, in [0, 1]."""
    grey = _grey(image)
    return jnp.clip(grey + factor * (image - grey), 0, 1)


def adjust_hue(image: jax.Array, turns: float | jax.Array) -> jax.Array:
    """RGB `image` [..., 3] in [0, 1] with its HSV hue moved by `turns` of the colour circle."""
    r, g, b = jnp.moveaxis(image, -1, 0)
    value = jnp.max(image, -1)
    chroma = value - jnp.min(image, -1)
    sextant = jnp.where(
        value == r, g - b, jnp.where(value == g, b - r + 2 * chroma, r - g + 4 * chroma)
    ) / jnp.where(chroma == 0, 1, chroma)
    k = (jnp.array([5, 3, 1]) + (sextant + 6 * turns)[..., None]) % 6
    return value[..., None] - chroma[..., None] * jnp.clip(jnp.minimum(k, 4 - k), 0, 1)


def adjust_gamma(image: jax.Array, exponent: float | jax.Array) -> jax.Array:
    """`image` clipped to [0, 1] and raised to `exponent` > 0; the gradient at 0 is 0."""
    positive = image > 0
    return jnp.where(positive, jnp.minimum(jnp.where(positive, image, 1), 1) ** exponent, 0)


def _grey(image):
    return jnp.sum(image * jnp.array(_GREY, image.dtype), -1, keepdims=True)


def _geometric(example, name):
    """The augmentation that applies `example(rng, arrays)` to all that lies on the pixel grid."""

    def augment(rng, batch):
        chex.assert_rank(batch["image"], 4)
        for key, x in batch.items():
            if key not in _SPATIAL and jnp.ndim(x) > 1:
                raise InputError(
                    f"{name}: cannot move batch[{key!r}] with the image; it moves"
                    f" {', '.join(_SPATIAL)}: augment before {key!r} is made, or leave it out."
                )
        arrays = {key: batch[key] for key in _SPATIAL if key in batch}
        chex.assert_equal_shape_prefix(list(arrays.values()), 3)
        keys = jax.random.split(rng, len(batch["image"]))
        return {**batch, **jax.vmap(example)(keys, arrays)}

    return augment


def _photometric(example):
    """The augmentation that applies `example(rng, image)` to every image."""

    def augment(rng, batch):
        image = batch["image"]
        chex.assert_rank(image, 4)
        chex.assert_type(image, float)
        keys = jax.random.split(rng, len(image))
        return {**batch, "image": jax.vmap(example)(keys, image)}

    return augment
