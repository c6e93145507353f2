"""Colour operations against TensorFlow's values, colorsys and matplotlib."""

import colorsys

import jax
import jax.numpy as jnp
import matplotlib.colors
import numpy as np
import pytest
import scipy.stats

from remedis_jax.augment import color
from remedis_jax.errors import UserError

adjust_contrast = jax.jit(color.adjust_contrast)
adjust_saturation = jax.jit(color.adjust_saturation)
adjust_hue = jax.jit(color.adjust_hue)
to_grayscale = jax.jit(color.to_grayscale)
jitter_in_order = jax.jit(color.jitter_in_order)


@pytest.mark.parametrize("factor", [0.2, 0.7, 1.8])
def test_contrast_and_saturation_are_tensorflows(golden, rgb, factor):
    contrast = adjust_contrast(jnp.asarray(rgb), factor)
    saturation = adjust_saturation(jnp.asarray(rgb), factor)
    np.testing.assert_allclose(contrast, golden[f"contrast_{factor}"], atol=1e-6)
    np.testing.assert_allclose(saturation, golden[f"saturation_{factor}"], atol=1e-6)


@pytest.mark.parametrize("delta", [-0.2, 0.05, 0.2, 0.6])
def test_hue_is_tensorflows(golden, rgb, delta):
    turned = adjust_hue(jnp.asarray(rgb), delta)
    np.testing.assert_allclose(turned, golden[f"hue_{delta}"], atol=2e-6)


def test_solarisation_inverts_from_the_threshold_on():
    image = jnp.array([0.0, 0.25, 0.5, 0.75, 1.0]).reshape(5, 1, 1)
    np.testing.assert_allclose(color.solarize(image).ravel(), [0, 0.25, 0.5, 0.25, 0])


def test_brightness_and_grayscale_are_tensorflows(golden, rgb):
    added = color.shift_brightness(jnp.asarray(rgb), 0.3)
    np.testing.assert_allclose(added, golden["brightness_additive_0.3"], atol=1e-7)
    grey = to_grayscale(jnp.asarray(rgb))
    assert grey.shape == rgb.shape
    np.testing.assert_allclose(grey, np.repeat(golden["grayscale"], 3, axis=-1), atol=1e-6)


def test_hsv_operations_equal_the_round_trip_through_matplotlib(rgb):
    hsv = matplotlib.colors.rgb_to_hsv(rgb.astype(np.float64))
    richer = hsv.copy()
    richer[..., 1] = np.clip(richer[..., 1] * 1.4, 0, 1)
    turned = hsv.copy()
    turned[..., 0] = (turned[..., 0] - 0.31) % 1
    got = adjust_saturation(jnp.asarray(rgb), 1.4)
    np.testing.assert_allclose(got, matplotlib.colors.hsv_to_rgb(richer), atol=1e-6)
    got = adjust_hue(jnp.asarray(rgb), -0.31)
    np.testing.assert_allclose(got, matplotlib.colors.hsv_to_rgb(turned), atol=2e-6)


def test_hue_at_the_corners_and_ties_of_the_colour_cube():
    levels = [0.0, 0.4, 1.0]
    pixels = np.array([[r, g, b] for r in levels for g in levels for b in levels], np.float32)
    expected = []
    for pixel in pixels:
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel.tolist())
        expected.append(colorsys.hsv_to_rgb((hue + 1 / 6) % 1, saturation, value))
    got = adjust_hue(jnp.asarray(pixels[None]), 1 / 6)
    np.testing.assert_allclose(got[0], expected, atol=2e-6)


def test_a_third_of_a_turn_makes_red_green():
    red = jnp.array([[[0.9, 0.1, 0.1]]])
    np.testing.assert_allclose(adjust_hue(red, 1 / 3), [[[0.1, 0.9, 0.1]]], atol=1e-6)


def test_jitter_in_order_clips_after_each_operation_as_tensorflow(golden, rgb):
    order = jnp.array([color.HUE, color.CONTRAST, color.BRIGHTNESS, color.SATURATION])
    overshot = jnp.asarray(rgb) * 1.1 - 0.05
    got = jitter_in_order(overshot, order, 0.8, 1.6, 1.5, 0.13)
    np.testing.assert_allclose(got, golden["jitter_3102"], atol=3e-6)
    other = jitter_in_order(overshot, order[::-1], 0.8, 1.6, 1.5, 0.13)
    assert np.abs(other - golden["jitter_3102"]).max() > 0.05


def test_neutral_parameters_change_nothing(rgb):
    image = jnp.asarray(rgb)
    for changed in (
        color.adjust_brightness(image, 1.0),
        color.shift_brightness(image, 0.0),
        adjust_contrast(image, 1.0),
        adjust_saturation(image, 1.0),
        adjust_hue(image, 0.0),
        adjust_hue(image, 1.0),
    ):
        np.testing.assert_allclose(changed, rgb, atol=2e-6)
    untouched = jitter_in_order(image, jnp.arange(4))
    np.testing.assert_array_equal(untouched, rgb)


def test_one_channel_has_no_colour(grey):
    image = jnp.asarray(grey / np.float32(255))
    np.testing.assert_array_equal(adjust_saturation(image, 0.3), image)
    np.testing.assert_array_equal(adjust_hue(image, 0.3), image)
    np.testing.assert_array_equal(to_grayscale(image), image)
    order = jnp.array([color.SATURATION, color.BRIGHTNESS, color.HUE, color.CONTRAST])
    got = jitter_in_order(image, order, 0.7, 1.3, 0.1, 0.4)
    dimmed = np.asarray(image) * 0.7
    expected = (dimmed - dimmed.mean()) * 1.3 + dimmed.mean()
    np.testing.assert_allclose(got, np.clip(expected, 0, 1), atol=1e-6)


def test_luminance_keeps_equal_channels_bit_for_bit(grey, rgb):
    image = grey / np.float32(255)
    np.testing.assert_array_equal(color.luminance(jnp.repeat(image, 3, axis=-1)), image)
    expected = rgb.astype(np.float64) @ [1 - 0.5870 - 0.1140, 0.5870, 0.1140]
    np.testing.assert_allclose(color.luminance(jnp.asarray(rgb))[..., 0], expected, atol=1e-6)


def test_four_channels_are_refused():
    with pytest.raises(UserError, match="4 channels"):
        adjust_hue(jnp.zeros((5, 5, 4)), 0.1)


@pytest.fixture
def drawn(monkeypatch, key):
    """What 6000 random jitters at half strength pass to the deterministic core."""

    def record(image, order, *values):
        return order, values[:4]

    monkeypatch.setattr(color, "jitter_in_order", record)

    def draw(key):
        return color.random_color_jitter(key, jnp.zeros((1, 1, 3)), 0.4, 0.6, 1.2, 0.1)

    order, values = jax.jit(jax.vmap(draw))(jax.random.split(key, 6000))
    return np.asarray(order), [np.asarray(value) for value in values]


def test_all_orders_are_equally_likely_and_factors_uniform(drawn):
    order, values = drawn
    orders, counts = np.unique(order, axis=0, return_counts=True)
    assert len(orders) == 24 and (np.sort(orders, axis=1) == np.arange(4)).all()
    assert scipy.stats.chisquare(counts).pvalue > 1e-3
    ranges = [(0.6, 1.4), (0.4, 1.6), (0.0, 2.2), (-0.1, 0.1)]  # a factor is never below 0
    for value, (low, high) in zip(values, ranges, strict=True):
        assert scipy.stats.kstest((value - low) / (high - low), "uniform").pvalue > 1e-3
    correlation = np.corrcoef([*values, order[:, 0]]) - np.eye(5)
    assert np.abs(correlation).max() < 4.5 / np.sqrt(len(order))


def test_additive_brightness_and_left_out_operations(monkeypatch, key):
    monkeypatch.setattr(color, "jitter_in_order", lambda image, order, *values: values)
    image = jnp.zeros((1, 1, 3))
    keys = jax.random.split(key, 2000)
    draw = jax.vmap(lambda key: color.random_color_jitter(key, image, 0.4, 0.0, 0.0, 0.0, True)[0])
    values = jax.jit(draw)(keys)
    assert scipy.stats.kstest((np.asarray(values) + 0.4) / 0.8, "uniform").pvalue > 1e-3
    asked = jax.eval_shape(lambda k: color.random_color_jitter(k, image, 0.4, 0, 0, 0), key)
    assert [value is None for value in asked[:4]] == [False, True, True, True]


def test_random_grayscale_has_its_probability(key):
    image = jnp.array([[[0.9, 0.1, 0.3]]])
    keys = jax.random.split(key, 3000)
    images = jax.jit(jax.vmap(lambda key: color.random_grayscale(key, image, 0.2)))(keys)
    changed = int((np.ptp(np.asarray(images), axis=-1) == 0).sum())
    assert scipy.stats.binomtest(changed, 3000, 0.2).pvalue > 1e-3
