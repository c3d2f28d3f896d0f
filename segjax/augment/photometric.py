"""Photometric augmentation: brightness, contrast, colour, grey-value curves, noise."""

from typing import Any

import chex
import jax
import jax.numpy as jnp

from segjax import fields
from segjax.augment.compose import Augmentation
from segjax.errors import InputError

_GREY = (0.2989, 0.587, 0.114)  # ITU-R BT.601 luma, with torchvision's digits


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


def _photometric(example):
    """The augmentation that applies `example(rng, image)` to every image."""

    def augment(rng, batch: dict[str, Any]) -> dict[str, Any]:
        image = fields.unit(batch["image"])
        keys = jax.random.split(rng, len(image))
        return {**batch, "image": jax.vmap(example)(keys, image)}

    return augment
