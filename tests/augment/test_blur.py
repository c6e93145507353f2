"""Gaussian blur against TensorFlow's depthwise convolution and scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats

from remedis_jax.augment import blur

gaussian_blur = jax.jit(blur.gaussian_blur, static_argnums=2)
gaussian_kernel = jax.jit(blur.gaussian_kernel, static_argnums=1)


@pytest.mark.parametrize("sigma", [0.1, 0.9, 2.0])
def test_blur_is_tensorflows(golden, sigma):
    image = jnp.asarray(golden["blur_image"] / np.float32(255))
    got = gaussian_blur(image, sigma, blur.blur_radius(image.shape[0]))
    np.testing.assert_allclose(got, golden[f"blur_{sigma}"], atol=1e-6)


@pytest.mark.parametrize("radius, sigma", [(1, 0.5), (3, 1.7), (11, 2.0), (30, 6.0)])
def test_blur_is_two_correlations_with_zeros_outside(rgb, radius, sigma):
    taps = scipy.stats.norm.pdf(np.arange(-radius, radius + 1), scale=sigma)
    taps /= taps.sum()
    expected = rgb.astype(np.float64)
    for axis in (0, 1):
        expected = scipy.ndimage.correlate1d(expected, taps, axis=axis, mode="constant")
    np.testing.assert_allclose(gaussian_blur(rgb, sigma, radius), expected, atol=1e-6)
    np.testing.assert_allclose(gaussian_kernel(sigma, radius), taps, atol=1e-7)


def test_radius_follows_the_official_rule():
    assert [blur.blur_radius(height) for height in (224, 240, 64, 32, 20, 19)] == [
        11, 12, 3, 1, 1, 0,
    ]  # fmt: skip


def test_radius_zero_changes_nothing(rgb):
    np.testing.assert_array_equal(gaussian_blur(rgb, 1.3, 0), rgb)


def test_sigma_is_uniform_in_its_range(key, monkeypatch):
    monkeypatch.setattr(blur, "gaussian_blur", lambda image, sigma, radius: sigma)
    image = jnp.zeros((20, 20, 1))
    keys = jax.random.split(key, 3000)
    draw = jax.jit(jax.vmap(lambda k: blur.random_gaussian_blur(k, image, (0.1, 2.0))))
    assert scipy.stats.kstest((np.asarray(draw(keys)) - 0.1) / 1.9, "uniform").pvalue > 1e-3
