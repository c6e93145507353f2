"""Histogram equalisation of a grey image, as radiology recipes use it."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from remedis_jax.augment.color import luminance

Mapping = Literal["cdf", "pil"]


def equalize_histogram(image: jax.Array, mapping: Mapping = "cdf") -> jax.Array:
    """Spread the 256 grey levels of an image so that they are used about equally.

    The image is reduced to its luminance, rounded to 8 bits, mapped through a table made from its
    own histogram, and copied to all channels. With c(v) the number of pixels of level <= v and N
    the number of pixels:

    - 'cdf' (official-code, REMEDIS): round((c(v) - c_min) * 255 / (N - 1)) with c_min the count
      of the lowest level present. An image whose lowest level covers much of it, such as a black
      background, keeps that fraction of the range unused at the top. The official code truncates
      to 8 bits where this rounds, which on 8-bit files gives levels one lower.
    - 'pil': the table of PIL's `ImageOps.equalize` and of RandAugment:
      (step // 2 + c(v - 1)) // step with step = (N - count of the highest level present) // 255,
      at most 255, and no change if step is 0.

    An image of one single level stays as it is ('pil') or becomes black ('cdf').

    Args:
        image: float32 [H, W, C] in [0, 1], C = 1 or 3.
        mapping: Which table.

    Returns:
        float32 [H, W, C] in [0, 1], multiples of 1/255.
    """
    levels = jnp.clip(jnp.rint(luminance(image) * 255), 0, 255).astype(jnp.int32).ravel()
    count = levels.size
    histogram = jnp.bincount(levels, length=256)
    below_or_at = jnp.cumsum(histogram)
    if mapping == "cdf":
        lowest = histogram[levels.min()]
        scaled = (below_or_at - lowest).astype(jnp.float32) * 255 / max(count - 1, 1)
        table = jnp.rint(jnp.maximum(scaled, 0.0)).astype(jnp.int32)
    else:
        step = (count - histogram[levels.max()]) // 255
        divisor = jnp.maximum(step, 1)
        spread = jnp.minimum((divisor // 2 + below_or_at - histogram) // divisor, 255)
        table = jnp.where(step == 0, jnp.arange(256), spread)
    grey = table[levels].astype(jnp.float32) / 255
    return jnp.broadcast_to(grey.reshape(*image.shape[:2], 1), image.shape)
