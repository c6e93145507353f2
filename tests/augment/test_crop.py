"""Crop boxes against TensorFlow's draws; resampling against TensorFlow, PIL and jax.image."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from PIL import Image

from remedis_jax.augment import crop
from remedis_jax.errors import UserError

crop_and_resize = jax.jit(crop.crop_and_resize, static_argnums=(2, 3))
jax_resize = jax.jit(jax.image.resize, static_argnums=(1, 2), static_argnames="antialias")


@pytest.mark.parametrize("kind, atol", [("dyadic", 1e-5), ("general", 2e-3)])
def test_resampling_is_tensorflows_bicubic(golden, rgb, kind, atol):
    # TensorFlow looks the kernel up in a table with 1024 entries per pixel: exact only where every
    # distance is a multiple of 1/1024.
    for i, (*box, height, width) in enumerate(golden[f"crop_{kind}"].tolist()):
        got = crop_and_resize(jnp.asarray(rgb), tuple(box), (height, width))
        np.testing.assert_allclose(got, golden[f"crop_{kind}_{i}"], atol=atol)


@pytest.mark.parametrize("antialias", [False, True])
def test_resampling_is_that_of_jax_image(golden, rgb, antialias):
    for top, left, rows, columns, height, width in golden["crop_general"].tolist():
        got = crop_and_resize(
            jnp.asarray(rgb), (top, left, rows, columns), (height, width), antialias
        )
        part = rgb[top : top + rows, left : left + columns]
        expected = jax_resize(part, (height, width, 3), "cubic", antialias=antialias)
        np.testing.assert_allclose(got, expected, atol=2e-6)


def test_antialiased_resampling_is_that_of_pil(golden, rgb):
    for top, left, rows, columns, height, width in golden["crop_general"].tolist():
        part = rgb[top : top + rows, left : left + columns]
        got = crop_and_resize(
            jnp.asarray(rgb), (top, left, rows, columns), (height, width), True
        )
        for channel in range(3):
            plane = Image.fromarray(part[..., channel]).resize((width, height), Image.BICUBIC)
            np.testing.assert_allclose(got[..., channel], np.asarray(plane), atol=2e-6)


def test_resizing_to_the_same_size_changes_no_bit(rgb):
    same = jax.jit(lambda image: crop.resize(image, image.shape[:2]))(rgb)
    np.testing.assert_array_equal(same, rgb)


def test_center_boxes_are_those_of_the_official_code(golden, rgb, monkeypatch):
    boxes = []
    monkeypatch.setattr(crop, "crop_and_resize", lambda image, box, *rest: boxes.append(box))
    for height, width, *size in golden["center"].tolist():
        crop.center_crop_resize(jnp.zeros((height, width, 1)), tuple(size))
    assert [list(box) for box in boxes] == golden["center_box"].tolist()


def test_center_crop_cuts_then_resamples(rgb):
    # 0.875 of 19 rows is 17 (rounded), the larger margin above; the same number of columns.
    got = jax.jit(lambda image: crop.center_crop_resize(image, (10, 10)))(rgb)
    expected = jax_resize(rgb[1:18, 5:22], (10, 10, 3), "cubic", antialias=False)
    np.testing.assert_allclose(got, expected, atol=2e-6)


@pytest.fixture(scope="module")
def drawn():
    """Draws 8000 boxes for an image and ranges."""

    @functools.cache
    def draw(height, width, low, high, least, most):
        keys = jax.random.split(jax.random.key(1), 8000)
        sample = jax.jit(
            jax.vmap(lambda k: crop.sample_crop_box(k, (height, width), (low, high), (least, most)))
        )
        return np.stack(sample(keys), axis=-1)

    return draw


@pytest.mark.parametrize("case", [0, 1])
def test_boxes_are_distributed_as_tensorflows(golden, drawn, case):
    height, width, low, high, least, most = golden["sampled"][case].tolist()
    ours = drawn(int(height), int(width), low, high, least, most)
    theirs = golden[f"sampled_{case}"].astype(int)
    top, left, rows, columns = ours.T
    area = rows * columns / (height * width)
    assert area.min() >= max(least, crop.MIN_COVERED) and area.max() <= most
    assert np.abs(columns - rows * np.clip(columns / rows, low, high)).max() <= 0.5
    assert (top >= 0).all() and (left >= 0).all()
    assert (top + rows <= height).all() and (left + columns <= width).all()
    for quantity in (
        lambda b: b[:, 2],
        lambda b: b[:, 3],
        lambda b: b[:, 2] * b[:, 3],
        lambda b: b[:, 3] / b[:, 2],
    ):
        assert scipy.stats.ks_2samp(quantity(ours), quantity(theirs)).pvalue > 1e-3
    # Heights are uniform given the ratio, so the median area lies well below the middle.
    assert np.median(area) < (area.min() + area.max()) / 2


def test_every_place_is_reached_equally_often(drawn):
    top, _, rows, _ = drawn(40, 50, 3 / 4, 4 / 3, 0.08, 1.0).T
    gap = 40 - rows
    relative = np.random.default_rng(0).random(len(top))  # spreads each place over its cell
    place = ((top + relative) / (gap + 1))[gap > 0]
    assert scipy.stats.kstest(place, "uniform").pvalue > 1e-3
    assert (top == gap)[gap == 1].any() and (top == 0)[gap == 1].any()


def test_an_impossible_box_is_the_whole_image(key):
    box = jax.jit(lambda k: crop.sample_crop_box(k, (10, 400), (3 / 4, 4 / 3), (0.2, 1.0)))(key)
    assert [int(side) for side in box] == [0, 0, 10, 400]


def test_aspect_range_is_relative_to_the_view(key):
    keys = jax.random.split(key, 64)
    image = jnp.asarray(np.arange(40 * 60).reshape(40, 60, 1) / 2400, jnp.float32)
    view = jax.jit(
        jax.vmap(lambda k: crop.random_resized_crop(k, image, (8, 24), (0.2, 0.3), (0.99, 1.01)))
    )
    # On a linear ramp a resampled step is the box's step: 60 per row, 1 per column.
    inner = np.asarray(view(keys))[:, 2:-2, 2:-2, 0] * 2400
    rows = np.diff(inner, axis=1).mean(axis=(1, 2)) * 8 / 60
    columns = np.diff(inner, axis=2).mean(axis=(1, 2)) * 24
    assert np.abs(columns / rows / 3 - 1).max() < 0.05


def test_random_patch_is_a_window_at_any_place(key):
    image = jnp.asarray(np.arange(5 * 7).reshape(5, 7, 1), jnp.float32)
    keys = jax.random.split(key, 2000)
    patches = np.asarray(jax.jit(jax.vmap(lambda k: crop.random_patch(k, image, (3, 4))))(keys))
    first = patches[:, 0, 0, 0].astype(int)
    top, left = first // 7, first % 7
    for patch, i, j in zip(patches[:50], top, left, strict=False):
        np.testing.assert_array_equal(patch, image[i : i + 3, j : j + 4])
    counts = np.histogram2d(top, left, bins=(range(4), range(5)))[0].ravel()
    assert counts.sum() == 2000 and scipy.stats.chisquare(counts).pvalue > 1e-3


def test_a_patch_larger_than_the_image_is_refused(key):
    with pytest.raises(UserError, match="8 x 8 does not fit into images of 7 x 9"):
        crop.random_patch(key, jnp.zeros((7, 9, 1)), (8, 8))


def test_flip_mirrors_and_has_its_probability(key, rgb):
    np.testing.assert_array_equal(crop.flip_left_right(jnp.asarray(rgb)), rgb[:, ::-1])
    keys = jax.random.split(key, 3000)
    ramp = jnp.array([[[0.0], [1.0]]])
    flipped = jax.jit(jax.vmap(lambda k: crop.random_flip(k, ramp, 0.3)))(keys)[:, 0, 0, 0]
    assert scipy.stats.binomtest(int(flipped.sum()), 3000, 0.3).pvalue > 1e-3
