"""Histogram equalisation against TensorFlow's histogram and PIL."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageOps

from remedis_jax.augment import equalize

equalize_histogram = jax.jit(equalize.equalize_histogram, static_argnums=1)


def images() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    return {
        "narrow": np.clip(rng.normal(100, 20, (21, 17)), 0, 255).astype(np.uint8),
        "wide": rng.integers(0, 256, (64, 48), dtype=np.uint8),
        "skewed": (255 * rng.random((90, 70)) ** 4).astype(np.uint8),
        "black_frame": np.pad(rng.integers(90, 180, (40, 40), dtype=np.uint8), 20),
        "two_levels": rng.choice(np.array([3, 200], np.uint8), (33, 35)),
        "flat": np.full((12, 13), 77, np.uint8),
    }


def levels(equalised: jax.Array) -> np.ndarray:
    """Whole grey levels of the first channel, after a check that they are whole."""
    scaled = np.asarray(equalised, np.float64)[..., 0] * 255
    np.testing.assert_allclose(scaled, np.rint(scaled), atol=1e-4)
    return np.rint(scaled).astype(int)


def test_the_default_is_the_mapping_of_the_official_code(golden, grey):
    got = equalize_histogram(jnp.asarray(grey / np.float32(255)))
    np.testing.assert_array_equal(levels(got), golden["equalized"][..., 0])


@pytest.mark.parametrize("name", images())
def test_the_default_mapping_from_ranks(name):
    image = images()[name]
    got = equalize_histogram(jnp.asarray(image[..., None] / np.float32(255)))
    below_or_at = np.searchsorted(np.sort(image.ravel()), image, side="right")
    lowest = (image == image.min()).sum()
    expected = np.rint((below_or_at - lowest) * 255 / (image.size - 1))
    np.testing.assert_array_equal(levels(got), expected)


@pytest.mark.parametrize("name", images())
def test_the_pil_mapping_is_pils(name):
    image = images()[name]
    got = equalize_histogram(jnp.asarray(image[..., None] / np.float32(255)), "pil")
    expected = np.asarray(ImageOps.equalize(Image.fromarray(image)))
    np.testing.assert_array_equal(levels(got), expected)


def test_three_channels_become_three_copies(grey, rgb):
    one = jnp.asarray(grey / np.float32(255))
    three = equalize_histogram(jnp.repeat(one, 3, axis=-1))
    np.testing.assert_array_equal(three, jnp.repeat(equalize_histogram(one), 3, axis=-1))
    coloured = equalize_histogram(jnp.asarray(rgb))
    assert coloured.shape == rgb.shape and np.ptp(coloured, axis=-1).max() == 0
