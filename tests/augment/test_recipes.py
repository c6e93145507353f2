"""Recipes: what they are made of, with which probability, and what a view may depend on."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from remedis_jax.augment import RECIPE_NAMES, Recipe, crop, get_recipe, recipes
from remedis_jax.errors import UserError

SIZE = 20  # the smallest at which the blur has more than one tap
EVERYTHING = get_recipe(
    "radiology",
    grey=False,
    saturation=0.8,
    hue=0.2,
    grayscale_probability=0.2,
    elastic_probability=0.7,
)
OFF = {
    "crop": "resize",
    "flip_probability": 0.0,
    "jitter_probability": 0.0,
    "grayscale_probability": 0.0,
    "blur_probability": 0.0,
}


@functools.partial(jax.jit, static_argnums=(0, 3))
def apply(recipe: Recipe, keys: jax.Array, images: jax.Array, size: int) -> jax.Array:
    return recipe(keys, images, size)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """uint8 [16, 25, 22, 3]: a random colour gradient with noise in each."""
    rng = np.random.default_rng(6)
    y, x = np.mgrid[:25, :22] / 25
    slope = rng.uniform(-1, 1, (16, 1, 1, 3, 2))
    shade = 128 + 90 * (slope[..., 0] * y[None, ..., None] + slope[..., 1] * x[None, ..., None])
    return np.clip(shade + rng.normal(0, 20, shade.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def keys() -> jax.Array:
    return jax.random.split(jax.random.key(7), 16)


@pytest.fixture(scope="module")
def views(keys, images) -> np.ndarray:
    return np.asarray(apply(EVERYTHING, keys, images, SIZE))


def test_views_are_float32_in_the_unit_interval(views):
    assert views.shape == (16, SIZE, SIZE, 3) and views.dtype == np.float32
    assert views.min() >= 0 and views.max() <= 1 and np.isfinite(views).all()
    assert (views.std(axis=(1, 2)) > 0).any(axis=-1).all()


def test_a_view_depends_on_its_own_key_and_image_only(views, keys, images):
    order = np.random.default_rng(8).permutation(16)
    np.testing.assert_array_equal(apply(EVERYTHING, keys[order], images[order], SIZE), views[order])
    other = apply(EVERYTHING, keys.at[0].set(keys[1]), images, SIZE)
    np.testing.assert_array_equal(other[1:], views[1:])
    assert np.abs(other[0] - views[0]).max() > 0.05


def test_views_are_the_same_on_eight_devices(views, keys, images):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    spread = NamedSharding(mesh, PartitionSpec("data"))
    got = apply(EVERYTHING, jax.device_put(keys, spread), jax.device_put(images, spread), SIZE)
    assert len(got.sharding.device_set) == 8
    np.testing.assert_allclose(got, views, atol=2e-6)


def test_uint8_and_float_images_give_the_same_bits(keys, images):
    recipe = get_recipe("simclr", **OFF, equalize_probability=0.5)
    as_float = images * np.float32(1 / 255)
    got = apply(recipe, keys, as_float, SIZE)
    np.testing.assert_array_equal(got, apply(recipe, keys, images, SIZE))


def test_an_8_bit_image_and_its_16_bit_twin_give_equal_views(keys, images):
    recipe = get_recipe("simclr", **OFF, equalize_probability=0.5)
    grey = images[..., :1]
    got, expected = (apply(recipe, keys, x, SIZE) for x in (grey.astype(np.uint16) * 257, grey))
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)
    assert np.abs(got[0] - expected[1]).max() > 0.1


def test_three_equal_channels_are_treated_as_one(keys, images):
    grey = images[..., :1]
    recipe = get_recipe("simclr", **OFF, grey=True, equalize_probability=0.5)
    one = apply(recipe, keys, grey, SIZE)
    three = apply(recipe, keys, np.repeat(grey, 3, axis=-1), SIZE)
    assert one.shape == (16, SIZE, SIZE, 1)
    np.testing.assert_allclose(three, np.repeat(one, 3, axis=-1), atol=1e-6)


@pytest.fixture
def traced(monkeypatch):
    """Each operation replaced by one that adds its own power of two, and a list of the calls."""
    calls = []

    def replace(name: str, value: float, position: int) -> None:
        def operation(*args, **_):
            calls.append(name)
            return args[position] + value

        monkeypatch.setattr(recipes, name, operation)

    replace("equalize_histogram", 1 / 2, 0)
    replace("random_elastic", 1 / 4, 1)
    replace("random_rotation", 1 / 8, 1)
    replace("random_resized_crop", 0.0, 1)
    replace("flip_left_right", 1 / 16, 0)
    replace("random_color_jitter", 1 / 32, 1)
    replace("to_grayscale", 1 / 64, 0)
    replace("random_gaussian_blur", 1 / 128, 1)
    return calls


def test_operations_come_in_the_official_order_with_their_probabilities(traced):
    recipe = get_recipe(
        "simclr",
        equalize_probability=0.5,
        elastic_probability=0.35,
        rotation_degrees=10.0,
        flip_probability=0.4,
    )
    keys = jax.random.split(jax.random.key(9), 4000)
    # A function of its own: `apply` may have this recipe compiled with the real operations.
    values = jax.jit(lambda keys: recipe(keys, jnp.zeros((4000, 1, 1, 1)), 1))(keys)
    assert traced == [
        "equalize_histogram",
        "random_elastic",
        "random_rotation",
        "random_resized_crop",
        "flip_left_right",
        "random_color_jitter",
        "to_grayscale",
        "random_gaussian_blur",
    ]
    codes = np.rint(np.asarray(values).ravel() * 128).astype(int)
    applied = (codes[:, None] >> np.arange(6, -1, -1)) & 1
    rotation = 2
    assert applied[:, rotation].all()
    coins = np.delete(applied, rotation, axis=1)
    for column, probability in zip(coins.T, (0.5, 0.35, 0.4, 0.8, 0.2, 0.5), strict=True):
        assert scipy.stats.binomtest(int(column.sum()), 4000, probability).pvalue > 1e-3
    correlation = np.corrcoef(coins.T) - np.eye(6)
    assert np.abs(correlation).max() < 4 / np.sqrt(4000)


@pytest.mark.parametrize(
    "name, operations",
    [
        ("simclr", "random_resized_crop flip jitter grayscale blur"),
        ("simclr_small", "random_resized_crop flip jitter grayscale"),
        ("radiology", "equalize elastic rotation random_resized_crop flip jitter blur"),
        ("finetune", "random_resized_crop flip"),
        ("bit", "flip"),
        ("eval", ""),
    ],
)
def test_what_each_recipe_does(traced, name, operations):
    keys = jax.random.split(jax.random.key(0), 2)
    shape = jax.eval_shape(lambda: get_recipe(name)(keys, jnp.zeros((2, 3, 3, 3)), 3))
    assert shape.shape == (2, 3, 3, 3)
    assert len(traced) == len(operations.split())
    assert all(part in call for part, call in zip(operations.split(), traced, strict=True))


def test_strengths_reach_the_jitter(monkeypatch):
    asked = {}

    def jitter(key, image, *strengths, additive_brightness):
        asked[image.shape[-1]] = (strengths, additive_brightness)
        return image

    monkeypatch.setattr(recipes, "random_color_jitter", jitter)
    keys = jax.random.split(jax.random.key(0), 2)
    small = get_recipe("simclr_small", brightness_mode="additive")
    jax.eval_shape(lambda: small(keys, jnp.zeros((2, 3, 3, 3)), 3))
    assert asked.pop(3) == ((0.4, 0.4, 0.4, 0.1), True)
    jax.eval_shape(lambda: get_recipe("radiology")(keys, jnp.zeros((2, 3, 3, 3)), 3))
    assert asked == {1: ((0.4, 0.4, 0.0, 0.0), False)}  # three grey channels arrive as one


def test_with_everything_off_an_image_is_only_rescaled(keys, images):
    recipe = get_recipe("simclr", **OFF)
    assert not recipe.is_random
    square = images[:, :22]
    got = apply(recipe, None, square, 22)
    np.testing.assert_array_equal(got, square * np.float32(1 / 255))


def test_switching_an_operation_on_leaves_the_other_draws(keys, images):
    plain = apply(get_recipe("bit", flip_probability=0.0), keys, images, SIZE)
    mirrored = apply(get_recipe("bit", flip_probability=1.0), keys, images, SIZE)
    np.testing.assert_array_equal(mirrored, plain[:, :, ::-1])


def test_blur_sigma_per_batch_is_one_sigma(keys):
    dot = jnp.zeros((16, SIZE, SIZE, 1)).at[:, 10, 10].set(1.0)
    blur = {**OFF, "blur_probability": 1.0}
    per_batch = get_recipe("simclr", blur_sigma="per_batch", **blur)
    together = np.asarray(apply(per_batch, keys, dot, SIZE))
    np.testing.assert_array_equal(together, np.broadcast_to(together[:1], together.shape))
    single = np.asarray(apply(get_recipe("simclr", **blur), keys, dot, SIZE))
    assert len(np.unique(single[:, 10, 10])) == 16
    np.testing.assert_allclose(together[0], single[0], atol=1e-6)  # the sigma of the first


def test_eval_is_the_central_crop_and_needs_no_key(images):
    got = apply(get_recipe("eval"), None, images, 16)
    central = jax.jit(lambda image: crop.center_crop_resize(image, (16, 16)))
    expected = [central(image / np.float32(255)) for image in images]
    np.testing.assert_allclose(got, np.clip(expected, 0, 1), atol=1e-6)


def test_bit_views_are_windows_or_mirrored_windows(keys, images):
    views = apply(get_recipe("bit"), keys, images, 16)
    mirrored = 0
    for image, view in zip(images * np.float32(1 / 255), np.asarray(views), strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(image, (16, 16), axis=(0, 1))
        windows = np.moveaxis(windows, 2, -1).reshape(-1, 16, 16, 3)
        found = [(windows == side).all(axis=(1, 2, 3)).any() for side in (view, view[:, ::-1])]
        assert sum(found) == 1
        mirrored += found[1]
    assert 0 < mirrored < 16


def test_recipes_are_hashable_and_lists_become_tuples():
    assert {get_recipe(name) for name in RECIPE_NAMES} == {
        get_recipe(name) for name in reversed(RECIPE_NAMES)
    }
    assert get_recipe("simclr", area_range=[0.2, 1.0]).area_range == (0.2, 1.0)
    assert [name for name in RECIPE_NAMES if not get_recipe(name).is_random] == ["eval"]


@pytest.mark.parametrize(
    "name, overrides, message",
    [
        ("simclr_smal", {}, "'simclr_smal'.*Did you mean 'simclr_small'"),
        ("simclr", {"strenght": 0.5}, "option: 'strenght'.*Did you mean 'strength'"),
        ("simclr", {"crop": "centre"}, "value of 'crop': 'centre'.*Did you mean 'center'"),
        ("simclr", {"flip_probability": 1.5}, "'flip_probability' is 1.5.*between 0 and 1"),
        ("simclr", {"area_range": (0.5, 0.2)}, "'area_range' is .*the lower first"),
        ("simclr", {"area_range": (0.5, 2.0)}, "'area_range' is .*at most 1"),
        ("simclr", {"blur_sigma_range": (1.0,)}, "'blur_sigma_range' is .*two numbers"),
        ("simclr", {"strength": "much"}, "'strength' is 'much'"),
        ("simclr", {"grey": "false"}, "'grey' is 'false'.*true or false"),
        ("simclr", {"crop_tries": 0}, "'crop_tries' is 0"),
    ],
)
def test_wrong_options_are_named(name, overrides, message):
    with pytest.raises(UserError, match=message):
        get_recipe(name, **overrides)


@pytest.mark.parametrize(
    "make_keys, shape, dtype, message",
    [
        (lambda k: None, (2, 8, 8, 3), np.uint8, "'simclr' is random and was given no keys"),
        (lambda k: k, (2, 8, 8, 3), np.uint8, r"Keys have shape \(\)"),
        (lambda k: jax.random.split(k, 3), (2, 8, 8, 3), np.uint8, "for 2 images"),
        (lambda k: jnp.zeros((2, 2), jnp.uint32), (2, 8, 8, 3), np.uint8, "dtype uint32"),
        (lambda k: jax.random.split(jax.random.key(0, impl="rbg"), 2), (2, 8, 8, 3), np.uint8,
         "kind 'rbg'"),
        (lambda k: jax.random.split(k, 2), (2, 8, 8), np.uint8, r"shape \(2, 8, 8\)"),
        (lambda k: jax.random.split(k, 2), (2, 8, 8, 4), np.uint8, r"shape \(2, 8, 8, 4\)"),
        (lambda k: jax.random.split(k, 2), (2, 8, 8, 3), np.int32, "dtype int32"),
    ],
)  # fmt: skip
def test_wrong_inputs_are_named(key, make_keys, shape, dtype, message):
    with pytest.raises(UserError, match=message):
        get_recipe("simclr")(make_keys(key), np.zeros(shape, dtype), 8)
