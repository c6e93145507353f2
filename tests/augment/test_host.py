"""Views made on the host are those that the device makes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from remedis_jax.augment import RECIPE_NAMES, Recipe, blur, color, equalize, get_recipe
from remedis_jax.augment import host as host_module
from remedis_jax.augment.host import HostAugment
from remedis_jax.augment.host_color import jitter_in_order
from remedis_jax.augment.host_equalize import equalize_histogram
from remedis_jax.augment.host_geometry import gaussian_blur, remap_is_exact
from remedis_jax.augment.workspace import Workspace
from remedis_jax.errors import UserError

# The largest difference that was measured on images of this size is 1.4e-5.
CLOSE = 5e-5
BATCH = 12
CASES = {
    "simclr": ({}, (45, 52, 3), np.uint8, 40),
    "simclr_small": ({"brightness_mode": "additive", "equalize_probability": 0.5},
                     (33, 33, 1), np.uint8, 36),
    "moco_v2": ({"antialias": True, "blur_sigma": "per_batch"}, (90, 61, 3), np.uint16, 24),
    "byol_first": ({"elastic_probability": 0.5}, (40, 40, 1), np.uint16, 41),
    "byol_second": ({"solarize_probability": 0.5}, (45, 52, 3), np.uint8, 40),
    "radiology": ({}, (37, 50, 3), np.uint16, 40),
    "finetune": ({"rotation_degrees": 30.0, "elastic_probability": 0.5, "crop_tries": 1},
                 (23, 80, 3), np.float32, 21),
    "bit": ({}, (30, 31, 1), np.uint8, 28),
    "eval": ({"crop": "resize", "antialias": True}, (90, 45, 3), np.uint8, 70),
}  # fmt: skip


@functools.partial(jax.jit, static_argnums=(0, 3))
def on_device(recipe: Recipe, keys: jax.Array, images: jax.Array, size: int) -> jax.Array:
    return recipe(keys, images, size)


def pictures(shape: tuple[int, int, int], dtype: type, count: int = BATCH) -> np.ndarray:
    """[count, H, W, C]: gradients with noise; the first is black and white, the second grey."""
    rng = np.random.default_rng(11)
    height, width, channels = shape
    y, x = np.mgrid[:height, :width][..., None] / max(height, width)
    slope = rng.uniform(-1, 1, (count, 2, 1, 1, channels))
    shade = 0.5 + 0.4 * (slope[:, 0] * y + slope[:, 1] * x)
    shade += rng.normal(0, 0.08, (count, *shape))
    shade[0] = shade[0] > 0.5
    shade[1] = shade[1, ..., :1]
    shade = shade.clip(0, 1).astype(np.float32)
    return shade if dtype == np.float32 else np.rint(shade * np.iinfo(dtype).max).astype(dtype)


def keys_for(count: int, views: int = 1, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), (count, views))


def recipe_of(name: str) -> Recipe:
    return get_recipe(name, **CASES[name][0])


@pytest.fixture(scope="module")
def augment() -> HostAugment:
    return HostAugment((recipe_of("simclr"), recipe_of("byol_second")), 40, threads=2)


@pytest.mark.parametrize("name", RECIPE_NAMES)
def test_views_are_those_of_the_device(name):
    _, shape, dtype, size = CASES[name]
    recipe, images, keys = recipe_of(name), pictures(shape, dtype), keys_for(BATCH)
    if recipe.grey:
        images = np.repeat(images[..., :1], 3, axis=-1)
    got = HostAugment((recipe,), size, threads=2)(keys, images)
    assert got.shape == (BATCH, 1, size, size, shape[-1]) and got.dtype == np.float32
    assert got.min() >= 0 and got.max() <= 1
    expected = np.asarray(on_device(recipe, keys[:, 0], images, size))
    np.testing.assert_allclose(got[:, 0], expected, atol=CLOSE, rtol=0)
    if name == "bit":
        np.testing.assert_array_equal(got[:, 0], expected)  # pixels are only moved


def test_jitter_in_each_order_also_outside_the_unit_interval():
    """What a cubic kernel overshoots, the first operation receives."""
    rng = np.random.default_rng(3)
    images = rng.uniform(-0.1, 1.1, (24, 6, 7, 3)).astype(np.float32)
    images[:, 0] = images[:, 0, :, :1]  # without colour
    images[:, 1] = images[:, 1, :, :1] + np.float32(1e-7) * images[:, 2]  # almost without
    images[:, 3, :3] = (0, 1, -0.05)
    images[:, 4] = 0.04 * images[:, 4] - 0.03  # all channels about black
    low = np.float32([0.3, 0.4, 0.5, -0.15])
    high = np.float32([1.6, 1.7, 1.8, 0.2])
    for strengths in (low, high):
        drawn = color.Jitter(jnp.asarray(color.ORDERS), *(jnp.full(24, s) for s in strengths))
        expected = jax.jit(jax.vmap(lambda x, d: color.jitter_in_order(x, *d)))(images, drawn)
        planes = np.moveaxis(images, -1, 1).copy()
        for view, order in zip(planes, color.ORDERS):
            jitter_in_order(view, color.Jitter(order, *strengths), False, Workspace())
        got = np.moveaxis(planes, 1, -1)
        np.testing.assert_allclose(got, expected, atol=1e-5, rtol=0)


def test_blur_of_a_view_of_224_pixels():
    image = pictures((224, 30, 2), np.float32, 2)[0]
    device = jax.jit(lambda sigma: blur.gaussian_blur(image, sigma, blur.blur_radius(224)))
    for sigma in np.float32([0.1, 0.6, 2.0]):
        got = gaussian_blur(np.moveaxis(image, -1, 0).copy(), sigma, Workspace())
        np.testing.assert_allclose(np.moveaxis(got, 0, -1), device(sigma), atol=2e-6, rtol=0)


@pytest.mark.parametrize("mapping", ["cdf", "pil"])
def test_equalisation_differs_where_the_luminance_of_a_colour_is_between_two_levels(mapping):
    device = jax.jit(lambda image: equalize.equalize_histogram(image, mapping))
    for channels, most in ((1, 0.0), (3, 1e-3)):
        images = pictures((120, 90, channels), np.float32, 3)
        images[2] = 0.25  # one level
        for image in images:
            planes = np.moveaxis(image, -1, 0).copy()
            equalize_histogram(planes, mapping, Workspace())
            difference = np.abs(np.moveaxis(planes, 0, -1) - np.asarray(device(image)))
            assert (difference > 1e-6).mean() <= most


def test_a_view_depends_on_its_own_key_and_image_only(augment):
    images, keys = pictures((45, 52, 3), np.uint8), keys_for(BATCH, 2)
    views = augment(keys, images)
    order = np.random.default_rng(8).permutation(BATCH)
    np.testing.assert_array_equal(augment(keys[order], images[order]), views[order])
    other = augment(keys.at[0].set(keys[1]), np.concatenate([images[5:6], images[1:]]))
    np.testing.assert_array_equal(other[1:], views[1:])
    assert np.abs(other[0] - views[0]).max() > 0.05
    for threads in (1, 5):
        again = HostAugment(augment.recipes, 40, threads)
        np.testing.assert_array_equal(again(keys, images), views)
        again.close()
    for view, recipe in enumerate(augment.recipes):
        alone = HostAugment((recipe,), 40, 1)(keys[:, view : view + 1], images)
        np.testing.assert_array_equal(alone[:, 0], views[:, view])


def test_images_may_be_given_for_each_view_and_lie_anyhow_in_memory(augment):
    images, keys = pictures((45, 52, 3), np.uint8, 2 * BATCH), keys_for(BATCH, 2)
    pairs = images.reshape(BATCH, 2, *images.shape[1:])
    views = augment(keys, pairs)
    assert jax.device_put(views).unsafe_buffer_pointer() == views.ctypes.data  # no copy
    for view in range(2):
        alone = augment(keys, pairs[:, view])[:, view]
        np.testing.assert_array_equal(views[:, view], alone)
    mirrored = np.asfortranarray(pairs)[..., ::-1]
    expected = augment(keys, np.ascontiguousarray(mirrored))
    np.testing.assert_array_equal(augment(keys, mirrored), expected)
    np.testing.assert_array_equal(augment(keys, jnp.asarray(mirrored)), expected)


def test_no_keys_are_needed_where_nothing_is_random():
    images, still = pictures((45, 52, 1), np.uint8, 2), get_recipe("eval")
    got = HostAugment((still,), 20, 1)(None, images)[:, 0]
    np.testing.assert_allclose(got, on_device(still, None, images, 20), atol=CLOSE, rtol=0)


def test_opencv_that_rounds_coordinates_is_not_used(monkeypatch):
    assert remap_is_exact()
    monkeypatch.setattr(host_module, "remap_is_exact", lambda: False)
    assert not HostAugment.supports(get_recipe("radiology"))
    assert HostAugment.supports(get_recipe("simclr"))
    with pytest.raises(UserError, match="'radiology' rotates or deforms.*augment on the device"):
        HostAugment((get_recipe("radiology"),), 32)


@pytest.mark.parametrize(
    "keys, shape, dtype, message",
    [
        (None, (2, 40, 40, 3), np.uint8, "'simclr' is random and was given no keys"),
        (keys_for(3, 2), (2, 40, 40, 3), np.uint8, "for 2 images and 2 views"),
        (keys_for(2, 2), (2, 3, 40, 40, 3), np.uint8, "for 2 views"),
        (keys_for(2, 2), (2, 40, 40), np.uint8, r"shape \(2, 40, 40\)"),
        (keys_for(2, 2), (2, 40, 40, 4), np.uint8, r"shape \(2, 40, 40, 4\)"),
        (keys_for(2, 2), (2, 40, 40, 3), np.int32, "dtype int32"),
        (jnp.zeros((2, 2), jnp.uint32), (2, 40, 40, 3), np.uint8, "dtype uint32"),
        (jax.random.split(jax.random.key(0, impl="rbg"), (2, 2)), (2, 40, 40, 3), np.uint8,
         "kind 'rbg'"),
    ],
)  # fmt: skip
def test_wrong_inputs_are_named(augment, keys, shape, dtype, message):
    with pytest.raises(UserError, match=message):
        augment(keys, np.zeros(shape, dtype))


def test_a_patch_larger_than_the_images_is_refused():
    with pytest.raises(UserError, match="patch of 32 x 32 does not fit"):
        HostAugment((get_recipe("bit"),), 32, 1)(keys_for(2), np.zeros((2, 30, 40, 1), np.uint8))
