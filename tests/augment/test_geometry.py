"""Rotation and elastic deformation against TensorFlow and scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats

from remedis_jax.augment import geometry

rotate = jax.jit(geometry.rotate)
elastic_deform = jax.jit(geometry.elastic_deform)
smooth_field = jax.jit(geometry.smooth_field, static_argnums=1)


@pytest.mark.parametrize("degrees", [-37.0, 10.0, 90.0])
def test_rotation_is_tensorflows(golden, rgb, degrees):
    got = rotate(jnp.asarray(rgb), degrees)
    np.testing.assert_allclose(got, golden[f"rotate_{degrees}"], atol=1e-5)


@pytest.mark.parametrize("degrees", [-170.0, -12.5, 33.0])
def test_rotation_is_scipys(rgb, degrees):
    expected = scipy.ndimage.rotate(
        rgb.astype(np.float64), degrees, reshape=False, order=1, mode="grid-constant"
    )
    got = rotate(jnp.asarray(rgb), degrees)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_a_quarter_turn_is_counter_clockwise():
    image = np.arange(25, dtype=np.float32).reshape(5, 5, 1)
    np.testing.assert_allclose(rotate(jnp.asarray(image), 90), np.rot90(image), atol=1e-4)


def test_no_turn_and_no_displacement_change_no_bit(rgb):
    image = jnp.asarray(rgb)
    np.testing.assert_array_equal(rotate(image, 0.0), rgb)
    still = jnp.zeros((*rgb.shape[:2], 2))
    np.testing.assert_array_equal(elastic_deform(image, still), rgb)


def test_angles_are_uniform(key, monkeypatch):
    monkeypatch.setattr(geometry, "rotate", lambda image, degrees: degrees)
    keys = jax.random.split(key, 3000)
    image = jnp.zeros((2, 2, 1))
    draw = jax.jit(jax.vmap(lambda k: geometry.random_rotation(k, image, 30.0)))
    assert scipy.stats.kstest((np.asarray(draw(keys)) + 30) / 60, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("size", [1.0, 40.0])
def test_elastic_deformation_is_scipys_map_coordinates(rgb, size):
    displacement = np.random.default_rng(3).normal(0, size, (*rgb.shape[:2], 2)).astype(np.float32)
    grid = np.stack(np.mgrid[: rgb.shape[0], : rgb.shape[1]], axis=-1) + displacement
    got = elastic_deform(jnp.asarray(rgb), jnp.asarray(displacement))
    for channel in range(3):
        expected = scipy.ndimage.map_coordinates(
            rgb[..., channel], np.moveaxis(grid, -1, 0), order=1, mode="nearest", prefilter=False
        )
        np.testing.assert_allclose(got[..., channel], expected, atol=1e-5)


@pytest.mark.parametrize("sigma", [1.3, 4.0, 9.0])
def test_smoothing_is_scipys_gaussian_filter(sigma):
    noise = np.random.default_rng(4).uniform(-1, 1, (29, 23, 2)).astype(np.float32)
    got = smooth_field(jnp.asarray(noise), sigma)
    expected = scipy.ndimage.gaussian_filter(
        noise.astype(np.float64), sigma, mode="constant", axes=(0, 1)
    )
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_displacements_have_the_promised_size_and_are_independent(key):
    sigma, rms = 4.0, 1.5
    alpha = geometry.alpha_for_rms(rms, sigma)
    field = jax.jit(jax.vmap(lambda k: geometry.displacement_field(k, (48, 56), sigma, alpha)))
    inner = np.asarray(field(jax.random.split(key, 200)))[:, 16:-16, 16:-16]
    assert abs(np.sqrt((inner**2).mean()) / rms - 1) < 0.03
    assert abs(inner.mean()) < 3 * rms / np.sqrt(2 * 400)
    # A field this smooth holds about two independent cells in the part that is looked at.
    correlation = np.corrcoef(inner[..., 0].ravel(), inner[..., 1].ravel())[0, 1]
    assert abs(correlation) < 3 / np.sqrt(2 * 200)
    # The paper's MNIST setting, sigma 4 and alpha 34, moves pixels by 1.4 pixels.
    assert geometry.alpha_for_rms(1.384, 4.0) == pytest.approx(34, rel=1e-3)


def test_elastic_parameters_are_fractions_of_the_shorter_side(key, monkeypatch):
    asked = {}

    def field(key, shape, sigma, alpha):
        asked.update(shape=shape, sigma=sigma, alpha=alpha)
        return jnp.zeros((*shape, 2))

    monkeypatch.setattr(geometry, "displacement_field", field)
    image = jnp.zeros((30, 20, 1))
    jax.eval_shape(lambda k: geometry.random_elastic(k, image, 0.2, 0.05), key)
    assert asked["shape"] == (30, 20) and asked["sigma"] == pytest.approx(4.0)
    assert asked["alpha"] == pytest.approx(geometry.alpha_for_rms(1.0, 4.0))
