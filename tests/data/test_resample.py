"""Both arithmetics of resampling: Pillow's, and TensorFlow 2's as our augmentation computes it."""

import numpy as np
import pytest
from PIL import Image

from remedis_jax.augment.crop import center_crop_resize
from remedis_jax.data.resample import Resampling
from remedis_jax.errors import UserError


def picture(height, width, channels=3):
    shape = (height, width) if channels == 1 else (height, width, channels)
    pixels = np.random.default_rng([height, width]).integers(0, 256, shape, dtype=np.uint8)
    return pixels.reshape(height, width, channels)


@pytest.mark.parametrize("shape, proportion", [((97, 75), 0.875), ((17, 41), 1.0)], ids=str)
def test_without_antialias_it_is_the_official_central_crop(shape, proportion):
    """Against the accelerator's version, which the golden files hold against TensorFlow."""
    image = picture(*shape)
    got = Resampling(32, "crop", proportion, "bicubic", antialias=False)(image)
    pixels = np.asarray(image, np.float32) / 255
    expected = np.clip(center_crop_resize(pixels, (32, 32), proportion), 0, 1)
    assert got.dtype == np.float32 and got.shape == (32, 32, 3)
    np.testing.assert_allclose(got, expected, atol=2e-6)


def test_bilinear_without_antialias_by_hand():
    """Two pixels to four: half-pixel centres, borders repeated."""
    image = np.array([[0, 255], [0, 255]], np.uint8)[:, :, None]
    got = Resampling(4, "squash", kernel="bilinear", antialias=False)(image)
    np.testing.assert_allclose(got[:, :, 0], np.tile([0, 0.25, 0.75, 1], (4, 1)), atol=1e-6)


@pytest.mark.parametrize("kernel", ["bilinear", "bicubic"])
def test_with_antialias_it_is_pillow(kernel):
    pixels = picture(97, 75)
    image = Image.fromarray(pixels)
    pillow = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[kernel]
    got = Resampling(32, "squash", kernel=kernel)(pixels)
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, np.asarray(image.resize((32, 32), pillow)))
    # 0.8 of 75 is 60 columns from 8 on (the larger margin left), of 97 78 rows from 10 on.
    box = (8, 10, 68, 88)
    np.testing.assert_array_equal(
        Resampling(32, "squash", 0.8, kernel)(pixels),
        np.asarray(image.resize((32, 32), pillow, box=box)),
    )


def test_grey_keeps_its_one_channel_and_strips_stay_visible():
    strip = np.full((3, 300, 1), 200, np.uint8)
    for step in (Resampling(16, "pad"), Resampling(16, "squash"), Resampling(16, antialias=False)):
        result = step(strip)
        assert result.shape == (16, 16, 1) and result.max() > 0


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_16_bits_are_resampled_as_finely_as_they_are(fit):
    """Against Pillow on floats, a channel at a time, and against 8 bits."""
    eight = picture(97, 75)
    deep = eight.astype(np.uint16) * 257
    step = Resampling(32, fit)
    got = step(deep)
    assert got.dtype == np.uint16 and got.shape == (32, 32, 3)
    assert np.abs(got / 257 - step(eight)).max() <= 1
    assert len(np.unique(got % 257)) > 100  # between the levels that 8 bits have
    if fit == "squash":
        plane = Image.fromarray(deep[:, :, 1].astype(np.float32))
        exact = np.asarray(plane.resize((32, 32), Image.Resampling.BICUBIC))
        np.testing.assert_array_equal(got[:, :, 1], exact.round().clip(0, 65535))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_fast_is_the_mean_of_the_area(dtype, channels):
    pixels = picture(64, 96, channels).astype(dtype)
    mean = pixels.reshape(16, 4, 16, 6, channels).mean(axis=(1, 3))
    got = Resampling(16)(pixels, fast=True)
    assert got.dtype == dtype and got.shape == (16, 16, channels)
    assert np.abs(got - mean).max() <= 0.5 + 1e-6
    # 64 of the 96 columns, from 16 on.
    np.testing.assert_array_equal(
        Resampling(16, "crop")(pixels, fast=True), Resampling(16)(pixels[:, 16:80], fast=True)
    )
    padded = Resampling(24, "pad")(pixels, fast=True)
    exact = pixels.reshape(16, 4, 24, 4, channels).mean(axis=(1, 3))
    assert np.abs(padded[4:20] - exact).max() <= 0.5 + 1e-6
    assert not padded[:4].any() and not padded[20:].any() and padded[4:20].any()


def test_fast_neither_aliases_nor_leaves_holes():
    stripes = np.zeros((4, 320, 1), np.uint8)
    stripes[:, ::2] = 200
    for size in (8, 40, 80):  # One side shrinks, the other grows.
        got = Resampling(size)(stripes, fast=True)
        assert got.shape == (size, size, 1) and (got == 100).all()
    same = picture(16, 16)
    np.testing.assert_array_equal(Resampling(16)(same, fast=True), same)
    grown = Resampling(33)(np.full((5, 7, 3), 9, np.uint16), fast=True)
    assert grown.shape == (33, 33, 3) and (grown == 9).all()


def test_fast_is_much_the_same_picture_as_pillow():
    smooth = np.asarray(Image.fromarray(picture(9, 7)).resize((300, 260), Image.Resampling.BICUBIC))
    for fit in ("squash", "crop", "pad"):
        step = Resampling(128, fit)
        difference = step(smooth, fast=True).astype(int) - step(smooth)
        assert np.abs(difference).mean() < 1.5, fit


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 0}, {"size": 1.5}, {"size": 16, "fit": "stretch"}, {"size": 16, "kernel": "box"},
        {"size": 16, "crop_proportion": 0}, {"size": 16, "fit": "pad", "antialias": False},
    ],
    ids=str,
)  # fmt: skip
def test_impossible_settings(wrong):
    with pytest.raises(UserError, match="not possible"):
        Resampling(**wrong)
