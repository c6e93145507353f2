"""Where a pixel comes from: rotation and elastic deformation, by bilinear sampling.

Images are float32 [H, W, C]. Coordinates are in pixels, pixel centres at integers, rows first.
"""

from __future__ import annotations

import math
from typing import Literal

import jax
import jax.numpy as jnp

from remedis_jax.augment.blur import gaussian_band

Border = Literal["zero", "edge"]


def sample_bilinear(
    image: jax.Array, rows: jax.Array, columns: jax.Array, border: Border
) -> jax.Array:
    """Read an image at real-valued places.

    Args:
        image: float32 [H, W, C].
        rows: float32 [h, w], row coordinate of every output pixel.
        columns: float32 [h, w], column coordinate.
        border: 'zero': pixels outside the image count as 0 (TensorFlow's CONSTANT, scipy's
            'grid-constant'). 'edge': the nearest border pixel (scipy's 'nearest').

    Returns:
        float32 [h, w, C].
    """
    height, width, channels = image.shape
    pixels = image.reshape(height * width, channels)
    # Stored by a loop, because XLA would otherwise compute a coordinate once for its floor and
    # again for the distance from it, round the two differently next to an integer, and read a
    # wrong neighbour (one pixel in 600,000, measured). Barriers are ignored here, and so is a loop
    # that only copies. Two pixels beyond the border everything is border.
    beyond = jnp.array([height + 1.0, width + 1.0])
    _, (rows, columns) = jax.lax.scan(
        lambda _, axis: (None, jnp.clip(axis[0], -2.0, axis[1])),
        None,
        (jnp.stack([rows, columns]), beyond),
    )
    top, left = jnp.floor(rows), jnp.floor(columns)
    down, right = rows - top, columns - left

    def tap(row: jax.Array, column: jax.Array, weight: jax.Array) -> jax.Array:
        if border == "zero":
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            weight = jnp.where(inside, weight, 0.0)
        row = jnp.clip(row, 0, height - 1).astype(jnp.int32)
        column = jnp.clip(column, 0, width - 1).astype(jnp.int32)
        return pixels[row * width + column] * weight[..., None]

    def line(total: jax.Array, below: jax.Array) -> tuple[jax.Array, None]:
        row, weight = top + below, jnp.abs(1 - below - down)
        at_left = tap(row, left, weight * (1 - right))
        return total + at_left + tap(row, left + 1, weight * right), None

    # A loop over the two rows, because XLA's CPU backend would otherwise compute whatever made the
    # image once more for each of the four taps (twice the time of the radiology recipe).
    sampled, _ = jax.lax.scan(line, jnp.zeros((*rows.shape, channels)), jnp.array([0.0, 1.0]))
    return sampled


def rotate(image: jax.Array, degrees: jax.Array | float) -> jax.Array:
    """Turn an image counter-clockwise about its centre, keeping its size; outside is black.

    The semantics of tensorflow_addons' `image.rotate(..., 'BILINEAR')`, which REMEDIS calls
    (official-code): centre at ((H - 1) / 2, (W - 1) / 2), zeros beyond the border.

    Args:
        image: float32 [H, W, C].
        degrees: Scalar angle.

    Returns:
        float32 [H, W, C].
    """
    height, width, _ = image.shape
    angle = jnp.asarray(degrees, jnp.float32) * (math.pi / 180)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    y = (jnp.arange(height, dtype=jnp.float32) - (height - 1) / 2)[:, None]
    x = (jnp.arange(width, dtype=jnp.float32) - (width - 1) / 2)[None, :]
    rows = sin * x + cos * y + (height - 1) / 2
    columns = cos * x - sin * y + (width - 1) / 2
    return sample_bilinear(image, rows, columns, "zero")


def sample_angle(key: jax.Array, max_degrees: float) -> jax.Array:
    """A float32 scalar, uniform in (-max_degrees, max_degrees)."""
    return jax.random.uniform(key, (), minval=-max_degrees, maxval=max_degrees)


def random_rotation(key: jax.Array, image: jax.Array, max_degrees: float) -> jax.Array:
    """Rotate [H, W, C] by an angle uniform in (-max_degrees, max_degrees)."""
    return rotate(image, sample_angle(key, max_degrees))


def elastic_deform(image: jax.Array, displacement: jax.Array) -> jax.Array:
    """Read every pixel at its own place plus a displacement.

    Args:
        image: float32 [H, W, C].
        displacement: float32 [H, W, 2], (rows, columns) in pixels.

    Returns:
        float32 [H, W, C]; places beyond the border read the nearest border pixel.
    """
    height, width, _ = image.shape
    rows = jnp.arange(height, dtype=jnp.float32)[:, None] + displacement[..., 0]
    columns = jnp.arange(width, dtype=jnp.float32)[None, :] + displacement[..., 1]
    return sample_bilinear(image, rows, columns, "edge")


def smooth_field(noise: jax.Array, sigma: float) -> jax.Array:
    """Gaussian-filter [H, W, K] along rows and columns, `sigma` in pixels, zeros outside.

    As `scipy.ndimage.gaussian_filter(..., mode='constant')`: cut at 4 sigma. A matrix product,
    because the kernel of a smooth field is about as wide as the image.
    """
    radius = int(4 * sigma + 0.5)
    vertical, horizontal = (gaussian_band(n, sigma, radius) for n in noise.shape[:2])
    return jnp.einsum("yh,hwk,xw->yxk", vertical, noise, horizontal, precision="highest")


def displacement_field(
    key: jax.Array, shape: tuple[int, int], sigma: float, alpha: float
) -> jax.Array:
    """The random displacements of Simard et al.: smoothed uniform noise, scaled.

    Each component is U(-1, 1) noise per pixel, filtered with a Gaussian of `sigma`, times `alpha`.
    Away from borders its root mean square is alpha / (2 sqrt(3 pi) sigma) pixels; see
    `alpha_for_rms`. On MNIST (29 x 29) they used sigma 4, alpha 34, that is 1.4 pixels.

    Args:
        key: One typed PRNG key.
        shape: (H, W) in pixels.
        sigma: Smoothness in pixels, > 0.
        alpha: Intensity in pixels.

    Returns:
        float32 [H, W, 2], (rows, columns) in pixels.

    Reference: Simard, Steinkraus, Platt, Best practices for convolutional neural networks
    applied to visual document analysis, ICDAR 2003.
    """
    noise = jax.random.uniform(key, (*shape, 2), minval=-1.0, maxval=1.0)
    return alpha * smooth_field(noise, sigma)


def alpha_for_rms(rms: float, sigma: float) -> float:
    """The `alpha` in pixels whose field moves pixels by `rms` per axis, away from borders.

    U(-1, 1) has variance 1/3, and a two-dimensional Gaussian filter of sigma >= 1 pixel divides
    the variance of white noise by 4 pi sigma^2.
    """
    return rms * 2 * math.sqrt(3 * math.pi) * sigma


def sample_displacement(
    key: jax.Array, shape: tuple[int, int], sigma: float, rms: float
) -> jax.Array:
    """The field of `random_elastic`: float32 [H, W, 2], (rows, columns) in pixels.

    `shape` is (H, W); the other arguments as there.
    """
    sigma_pixels, rms_pixels = sigma * min(shape), rms * min(shape)
    alpha = alpha_for_rms(rms_pixels, sigma_pixels)
    return displacement_field(key, shape, sigma_pixels, alpha)


def random_elastic(key: jax.Array, image: jax.Array, sigma: float, rms: float) -> jax.Array:
    """Deform an image by a smooth random field.

    Both parameters are fractions of the shorter side, so that the deformation looks alike at
    every resolution; alpha alone would not do that, because smoothing averages more pixels in a
    larger image.

    Args:
        key: One typed PRNG key.
        image: float32 [H, W, C].
        sigma: Smoothness as a fraction of the shorter side.
        rms: Root mean square displacement per axis as a fraction of the shorter side.

    Returns:
        float32 [H, W, C].
    """
    return elastic_deform(image, sample_displacement(key, image.shape[:2], sigma, rms))
