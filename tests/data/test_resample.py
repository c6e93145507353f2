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
    return Image.fromarray(pixels)


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
    image = Image.fromarray(np.array([[0, 255], [0, 255]], np.uint8))
    got = Resampling(4, "squash", kernel="bilinear", antialias=False)(image)
    np.testing.assert_allclose(got[:, :, 0], np.tile([0, 0.25, 0.75, 1], (4, 1)), atol=1e-6)


@pytest.mark.parametrize("kernel", ["bilinear", "bicubic"])
def test_with_antialias_it_is_pillow(kernel):
    image = picture(97, 75)
    pillow = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[kernel]
    got = Resampling(32, "squash", kernel=kernel)(image)
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, np.asarray(image.resize((32, 32), pillow)))
    # 0.8 of 75 is 60 columns from 8 on (the larger margin left), of 97 78 rows from 10 on.
    box = (8, 10, 68, 88)
    np.testing.assert_array_equal(
        Resampling(32, "squash", 0.8, kernel)(image),
        np.asarray(image.resize((32, 32), pillow, box=box)),
    )


def test_grey_keeps_its_one_channel_and_strips_stay_visible():
    strip = Image.new("L", (300, 3), 200)
    for step in (Resampling(16, "pad"), Resampling(16, "squash"), Resampling(16, antialias=False)):
        result = step(strip)
        assert result.shape == (16, 16, 1) and result.max() > 0


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
