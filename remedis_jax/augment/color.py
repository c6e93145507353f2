"""Colour distortions with TensorFlow's semantics, and SimCLR's jitter made of them.

Images are float32 [H, W, C], nominally in [0, 1], with C = 3 (RGB) or C = 1 (grey). A grey image
has no saturation, no hue and nothing to remove: those three operations return it unchanged.
torchvision differs: its saturation blends with the luminance and its contrast uses the mean
luminance; hue and greyscale agree.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from remedis_jax.errors import UserError

# ITU-R BT.601 as TensorFlow writes it; the weights sum to 0.9999 there and here.
LUMINANCE = (0.2989, 0.5870, 0.1140)

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
ORDERS = np.array(list(itertools.permutations(range(4))), np.int32)


def _is_grey(image: jax.Array) -> bool:
    channels = image.shape[-1]
    if channels not in (1, 3):
        raise UserError(
            f"An image has {channels} channels; colour operations know 1 (grey) and 3 (RGB).",
            "Convert the images to grey or RGB when decoding.",
        )
    return channels == 1


def adjust_brightness(image: jax.Array, factor: jax.Array | float) -> jax.Array:
    """Multiply [H, W, C] by `factor`: the brightness of SimCLR v2 and REMEDIS (official-code)."""
    return image * factor


def shift_brightness(image: jax.Array, delta: jax.Array | float) -> jax.Array:
    """Add `delta` to [H, W, C]: the brightness of SimCLR v1, `tf.image.adjust_brightness`."""
    return image + delta


def adjust_contrast(image: jax.Array, factor: jax.Array | float) -> jax.Array:
    """Stretch each channel of [H, W, C] about its own mean, as `tf.image.adjust_contrast`."""
    mean = image.mean(axis=(0, 1), keepdims=True)
    return (image - mean) * factor + mean


def adjust_saturation(image: jax.Array, factor: jax.Array | float) -> jax.Array:
    """Multiply the saturation of HSV by `factor` >= 0, as `tf.image.adjust_saturation`.

    With V the largest channel and C = V - min the chroma, S = C / V becomes min(S * factor, 1) at
    fixed hue and value. Every channel x is V - S * V * t with t a function of the hue alone, so
    x becomes V - (V - x) * min(factor, 1 / S), and the hue itself is never needed.

    Args:
        image: float32 [H, W, 3]; [H, W, 1] is returned unchanged.
        factor: Scalar.

    Returns:
        float32, same shape.
    """
    if _is_grey(image):
        return image
    return _channels_last(_saturate(_channels_first(image), factor))


def adjust_hue(image: jax.Array, delta: jax.Array | float) -> jax.Array:
    """Turn the hue of HSV by `delta` full circles at fixed saturation and value.

    As `tf.image.adjust_hue`: `delta` in [-1, 1], 1/3 turns red into green.

    Args:
        image: float32 [H, W, 3]; [H, W, 1] is returned unchanged.
        delta: Scalar, in turns.

    Returns:
        float32, same shape.
    """
    if _is_grey(image):
        return image
    return _channels_last(_turn_hue(_channels_first(image), delta))


def solarize(image: jax.Array, threshold: float = 0.5) -> jax.Array:
    """Invert the pixels at or above a threshold: [H, W, C] in [0, 1] (Grill et al. 2020, BYOL)."""
    return jnp.where(image < threshold, image, 1.0 - image)


def to_grayscale(image: jax.Array) -> jax.Array:
    """Replace every channel of [H, W, 3] by 0.2989 R + 0.5870 G + 0.1140 B; [H, W, 1] is kept."""
    if _is_grey(image):
        return image
    red, green, blue = (image[..., i] * weight for i, weight in enumerate(LUMINANCE))
    return jnp.repeat((red + green + blue)[..., None], 3, axis=-1)


def luminance(image: jax.Array) -> jax.Array:
    """One channel for an image that is declared grey: [H, W, C] to [H, W, 1].

    R + 0.5870 (G - R) + 0.1140 (B - R) is a weighted mean with weights that sum to exactly one, so
    three equal channels give that channel bit for bit (0.9999 of it with `to_grayscale`).
    """
    if _is_grey(image):
        return image
    red, green, blue = image[..., :1], image[..., 1:2], image[..., 2:]
    return red + LUMINANCE[1] * (green - red) + LUMINANCE[2] * (blue - red)


def random_grayscale(key: jax.Array, image: jax.Array, probability: float = 0.2) -> jax.Array:
    """Apply `to_grayscale` to [H, W, C] with `probability` (official-code: 0.2)."""
    return jnp.where(jax.random.bernoulli(key, probability), to_grayscale(image), image)


def jitter_in_order(
    image: jax.Array,
    order: jax.Array,
    brightness: jax.Array | float | None = None,
    contrast: jax.Array | float | None = None,
    saturation: jax.Array | float | None = None,
    hue: jax.Array | float | None = None,
    additive_brightness: bool = False,
) -> jax.Array:
    """Apply the four distortions in a given order, clipping to [0, 1] after each one.

    Args:
        image: float32 [H, W, C], C = 3 or 1.
        order: int [4], a permutation of BRIGHTNESS, CONTRAST, SATURATION, HUE.
        brightness: Factor (or term, if `additive_brightness`); None leaves the operation out.
        contrast: Factor, or None.
        saturation: Factor, or None; not used for C = 1.
        hue: Turns, or None; not used for C = 1.
        additive_brightness: Add `brightness` (SimCLR v1) instead of multiplying (v2).

    Returns:
        float32 [H, W, C] in [0, 1].
    """
    coloured = not _is_grey(image)

    def step(planes: jax.Array, operation: jax.Array) -> tuple[jax.Array, None]:
        # Under vmap a switch evaluates every branch anyway; selecting lets XLA fuse them.
        result = planes
        if brightness is not None:
            change = shift_brightness if additive_brightness else adjust_brightness
            result = jnp.where(operation == BRIGHTNESS, change(planes, brightness), result)
        if contrast is not None:
            mean = planes.mean(axis=(1, 2), keepdims=True)
            result = jnp.where(operation == CONTRAST, (planes - mean) * contrast + mean, result)
        if coloured and saturation is not None:
            result = jnp.where(operation == SATURATION, _saturate(planes, saturation), result)
        if coloured and hue is not None:
            result = jnp.where(operation == HUE, _turn_hue(planes, hue), result)
        return jnp.clip(result, 0.0, 1.0), None

    # A scan, because four unrolled steps are recomputed inside one another by XLA's CPU fusion
    # (ten times slower); planes first, because interleaved channels do not vectorise.
    planes, _ = jax.lax.scan(step, _channels_first(image), order)
    return _channels_last(planes)


class Jitter(NamedTuple):
    """What `sample_jitter` draws; None for an operation that is left out.

    Attributes:
        order: int32 [4], a permutation of BRIGHTNESS, CONTRAST, SATURATION, HUE.
        brightness: float32 factor, or term.
        contrast: float32 factor.
        saturation: float32 factor.
        hue: float32, turns.
    """

    order: jax.Array
    brightness: jax.Array | None
    contrast: jax.Array | None
    saturation: jax.Array | None
    hue: jax.Array | None


def sample_jitter(
    key: jax.Array,
    brightness: float = 0.8,
    contrast: float = 0.8,
    saturation: float = 0.8,
    hue: float = 0.2,
    additive_brightness: bool = False,
) -> Jitter:
    """Draw the order and the strengths of `random_color_jitter`; arguments as there."""
    numbers = jax.random.uniform(key, (5,))
    order = jnp.asarray(ORDERS)[jnp.floor(numbers[4] * len(ORDERS)).astype(jnp.int32)]

    def factor(number: jax.Array, strength: float) -> jax.Array | None:
        if strength == 0:
            return None
        low, high = max(0.0, 1 - strength), 1 + strength
        return low + (high - low) * number

    def term(number: jax.Array, strength: float) -> jax.Array | None:
        return strength * (2 * number - 1) if strength > 0 else None

    return Jitter(
        order,
        (term if additive_brightness else factor)(numbers[0], brightness),
        factor(numbers[1], contrast),
        factor(numbers[2], saturation),
        term(numbers[3], hue),
    )


def random_color_jitter(
    key: jax.Array,
    image: jax.Array,
    brightness: float = 0.8,
    contrast: float = 0.8,
    saturation: float = 0.8,
    hue: float = 0.2,
    additive_brightness: bool = False,
) -> jax.Array:
    """SimCLR's colour jitter: four random distortions in one of the 24 orders, each equally likely.

    Factors of brightness, contrast and saturation are uniform in [max(0, 1 - v), 1 + v], the hue
    turns by U[-v, v]; additive brightness adds U[-v, v]. A strength of 0 leaves the operation out.
    Defaults are those of strength 1.0 (official-code); scale all four for another strength.

    Args:
        key: One typed PRNG key.
        image: float32 [H, W, C], C = 3 or 1; grey images keep brightness and contrast only.
        brightness, contrast, saturation, hue: Strengths v >= 0.
        additive_brightness: See `jitter_in_order`.

    Returns:
        float32 [H, W, C] in [0, 1].

    Reference: Chen et al., A Simple Framework for Contrastive Learning, 2020, appendix A;
    google-research/simclr tf2/data_util.py.
    """
    drawn = sample_jitter(key, brightness, contrast, saturation, hue, additive_brightness)
    return jitter_in_order(image, *drawn, additive_brightness)


def _channels_first(image: jax.Array) -> jax.Array:
    return jnp.moveaxis(image, -1, 0)


def _channels_last(planes: jax.Array) -> jax.Array:
    return jnp.moveaxis(planes, 0, -1)


def _saturate(planes: jax.Array, factor: jax.Array | float) -> jax.Array:
    """`adjust_saturation` on [3, H, W]."""
    value, chroma = _value_and_chroma(planes)
    limit = value / jnp.where(chroma > 0, chroma, 1.0)
    return value[None] - (value[None] - planes) * jnp.minimum(factor, limit)[None]


def _turn_hue(planes: jax.Array, delta: jax.Array | float) -> jax.Array:
    """`adjust_hue` on [3, H, W]: hue in sectors of 60 degrees, then channel by channel back."""
    red, green, blue = planes
    value, chroma = _value_and_chroma(planes)
    inverse = 1.0 / jnp.where(chroma > 0, chroma, 1.0)
    # Order comparisons, not equality with `value`: XLA may compute a channel twice with different
    # rounding, an equality then fails, and the pixel lands in a wrong sector.
    sector = jnp.where(
        (red >= green) & (red >= blue),
        (green - blue) * inverse,
        jnp.where(green >= blue, 2 + (blue - red) * inverse, 4 + (red - green) * inverse),
    )
    turned = sector + 6 * delta
    turned = turned - 6 * jnp.floor(turned / 6)
    position = turned[None] + jnp.array([5.0, 3.0, 1.0])[:, None, None]
    position = jnp.where(position >= 6, position - 6, position)
    missing = jnp.clip(jnp.minimum(position, 4 - position), 0.0, 1.0)
    return value[None] - chroma[None] * missing


def _value_and_chroma(planes: jax.Array) -> tuple[jax.Array, jax.Array]:
    red, green, blue = planes
    value = jnp.maximum(jnp.maximum(red, green), blue)
    return value, value - jnp.minimum(jnp.minimum(red, green), blue)
