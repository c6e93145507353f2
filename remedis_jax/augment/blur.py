"""Gaussian blur of a view, with the kernel and the borders of the official SimCLR code."""

from __future__ import annotations

import jax
import jax.numpy as jnp

SIGMA_RANGE = (0.1, 2.0)  # official-code: pixels, whatever the image size.


def blur_radius(height: int) -> int:
    """Pixels on either side of the kernel's centre: int((height // 10) / 2) (official-code).

    11 at 224 (23 taps), 1 at 32; 0 below 20 pixels, where the blur changes nothing.
    """
    return int((height // 10) / 2)


def gaussian_kernel(sigma: jax.Array | float, radius: int) -> jax.Array:
    """float32 [2 * radius + 1]: exp(-x^2 / (2 sigma^2)) at integer x, normalised to sum one."""
    offsets = jnp.arange(-radius, radius + 1, dtype=jnp.float32)
    weights = jnp.exp(-(offsets**2) / (2.0 * jnp.asarray(sigma, jnp.float32) ** 2))
    return weights / weights.sum()


def gaussian_band(size: int, sigma: jax.Array | float, radius: int) -> jax.Array:
    """float32 [size, size]: the matrix that filters `size` pixels with `gaussian_kernel`."""
    pixel = jnp.arange(size, dtype=jnp.float32)
    offset = pixel[:, None] - pixel[None, :]
    peak = gaussian_kernel(sigma, radius)[radius]
    weights = peak * jnp.exp(-(offset**2) / (2.0 * jnp.asarray(sigma, jnp.float32) ** 2))
    return jnp.where(jnp.abs(offset) <= radius, weights, 0.0)


def gaussian_blur(image: jax.Array, sigma: jax.Array | float, radius: int) -> jax.Array:
    """Convolve with a truncated Gaussian along both axes, with zeros beyond the border.

    The kernel is normalised before it meets the border, so borders darken (official-code: 'SAME'
    padding). PIL's GaussianBlur is a box approximation and gives other values.

    Args:
        image: float32 [H, W, C].
        sigma: Scalar > 0, in pixels.
        radius: Pixels on either side, fixed at compile time; see `blur_radius`.

    Returns:
        float32 [H, W, C].
    """
    rows, columns, channels = image.shape
    # Rows by a banded matrix product, columns by shifted sums. Two shifted passes would be fused
    # by XLA's CPU backend into (2 * radius + 1)^2 taps per pixel; a depthwise convolution is five
    # times slower.
    flat = image.reshape(rows, columns * channels)
    vertical = jnp.matmul(gaussian_band(rows, sigma, radius), flat, precision="highest")
    padded = jnp.pad(vertical, ((0, 0), (radius * channels, radius * channels)))
    kernel = gaussian_kernel(sigma, radius)
    starts = range(0, (2 * radius + 1) * channels, channels)
    shifted = (padded[:, start : start + columns * channels] for start in starts)
    blurred = sum(weight * part for weight, part in zip(kernel, shifted, strict=True))
    return blurred.reshape(image.shape)


def sample_sigma(key: jax.Array, sigma_range: tuple[float, float] = SIGMA_RANGE) -> jax.Array:
    """A float32 scalar, uniform in `sigma_range`, in pixels."""
    return jax.random.uniform(key, (), minval=sigma_range[0], maxval=sigma_range[1])


def random_gaussian_blur(
    key: jax.Array, image: jax.Array, sigma_range: tuple[float, float] = SIGMA_RANGE
) -> jax.Array:
    """Blur [H, W, C] with a sigma drawn for this image and the radius that its height gives.

    The official code draws one sigma for a whole batch; a recipe offers that as
    `blur_sigma='per_batch'`.

    Reference: google-research/simclr data_util.py, `random_blur`.
    """
    return gaussian_blur(image, sample_sigma(key, sigma_range), blur_radius(image.shape[0]))
