"""Fingerprints: copies are near, others are far, and the search misses no pair."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.fft
from PIL import Image

from remedis_jax.data.decode import inspect
from remedis_jax.data.fingerprints import (
    FINGERPRINT_BYTES,
    NEAR_DUPLICATE_BITS,
    fingerprint,
    is_constant,
    near_pairs,
)
from remedis_jax.data.reading import Reading


def picture(seed: int, height: int = 120, width: int = 96) -> np.ndarray:
    """Something with structure at several scales."""
    rng = np.random.default_rng(seed)
    layers = [
        np.asarray(Image.fromarray(rng.normal(size=(n, n)).astype(np.float32)).resize(
            (width, height), Image.Resampling.BICUBIC))
        for n in (4, 9, 20)
    ]  # fmt: skip
    mixed = layers[0] + 0.6 * layers[1] + 0.4 * layers[2]
    return np.clip(128 + 45 * mixed, 0, 255).astype(np.uint8)


def through_jpeg(grey: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(io.BytesIO(buffer.getvalue())))


def scaled(grey: np.ndarray, factor: float) -> np.ndarray:
    size = (round(grey.shape[1] * factor), round(grey.shape[0] * factor))
    return np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC))


def apart(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.bitwise_count(a ^ b).sum())


@pytest.mark.parametrize("seed", range(8))
def test_copies_are_near_and_others_far(seed):
    grey = picture(seed)
    own = fingerprint(grey)
    assert own.shape == (FINGERPRINT_BYTES,) and own.dtype == np.uint8
    for copy in (
        through_jpeg(grey, 95), through_jpeg(grey, 75), scaled(grey, 0.5), scaled(grey, 0.75),
        scaled(grey, 2), np.clip(1.1 * grey + 5, 0, 255).astype(np.uint8),
    ):  # fmt: skip
        assert apart(own, fingerprint(copy)) <= NEAR_DUPLICATE_BITS
    for other in range(8):
        if other != seed:
            assert apart(own, fingerprint(picture(other))) > 2 * NEAR_DUPLICATE_BITS


def test_the_hash_is_what_it_says():
    """Weights carry fingerprints: another release must make the same."""
    grey = picture(5, 64, 64) // 2
    grey[:20, :30] += 100
    low = scipy.fft.dctn(grey.astype(np.float64), norm="ortho")[:16, :16].ravel()[1:]
    expected = np.append(low > np.median(low), False)
    assert (low > 0).sum() != expected.sum()
    np.testing.assert_array_equal(np.unpackbits(fingerprint(grey)), expected)


def test_a_fingerprint_is_a_function_of_the_pixels_alone():
    grey = picture(0)
    view = np.asfortranarray(grey)
    assert fingerprint(grey).tobytes() == fingerprint(view).tobytes()


def test_near_pairs_are_those_of_a_plain_search():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (300, FINGERPRINT_BYTES), np.uint8)
    b = rng.integers(0, 256, (200, FINGERPRINT_BYTES), np.uint8)
    for index in range(0, 200, 7):  # Copies with 0 to 28 bits flipped.
        b[index] = a[index]
        for bit in range(index // 7):
            b[index, bit % FINGERPRINT_BYTES] ^= 1 << (bit // FINGERPRINT_BYTES)
    for most in (0, 5, 24):
        pairs, bits = near_pairs(a, b, most)
        plain = [(i, j) for i in range(300) for j in range(200) if apart(a[i], b[j]) <= most]
        assert [tuple(pair) for pair in pairs.tolist()] == plain and len(plain) == most + 1
        assert bits.tolist() == [apart(a[i], b[j]) for i, j in plain]
    both = np.concatenate([a[:50], a[10:20]])
    pairs, bits = near_pairs(both, None, 24)
    assert pairs.tolist() == [[i, i + 40] for i in range(10, 20)] and not bits.any()


def test_nothing_is_near_to_nothing():
    empty = np.zeros((0, FINGERPRINT_BYTES), np.uint8)
    some = np.ones((3, FINGERPRINT_BYTES), np.uint8)
    for a, b in ((empty, some), (some, empty), (empty, None)):
        assert near_pairs(a, b, 24)[0].shape == (0, 2)
    assert near_pairs(some, some, -1)[0].shape == (0, 2)
    assert len(near_pairs(some, some, 0)[0]) == 9


def test_one_grey_is_no_picture():
    assert is_constant(np.full((9, 9), 77, np.uint8))
    assert is_constant(np.random.default_rng(0).integers(40, 47, (64, 64)).astype(np.uint8))
    assert not is_constant(picture(0))


def test_deep_and_coloured_copies_have_the_same_fingerprint():
    grey = picture(3)
    buffer = io.BytesIO()
    Image.fromarray(grey.astype(np.uint16) * 257).save(buffer, "PNG")
    colour = io.BytesIO()
    Image.fromarray(np.repeat(grey[:, :, None], 3, axis=2)).save(colour, "BMP")
    for copy in (buffer, colour):
        pixels = inspect(copy.getvalue(), Reading()).pixels
        assert fingerprint(pixels).tobytes() == fingerprint(grey).tobytes()


def test_many_are_compared_in_blocks():
    """More rows than a block has, so that pairs lie within blocks and across them."""
    rng = np.random.default_rng(0)
    many = rng.integers(0, 256, (1500, FINGERPRINT_BYTES), np.uint8)
    copies = {(3, 4), (3, 1499), (700, 741), (44, 1498)}
    for a, b in copies:
        many[b] = many[a]
    expected = sorted(copies | {(4, 1499)})
    pairs, bits = near_pairs(many, None, 24)
    assert [tuple(pair) for pair in pairs.tolist()] == expected and not bits.any()
    pairs, _ = near_pairs(many, many, 24)
    both = {(i, i) for i in range(1500)} | {(b, a) for a, b in expected} | set(expected)
    assert [tuple(pair) for pair in pairs.tolist()] == sorted(both)


def test_the_benchmark_prints_its_table():
    done = subprocess.run(
        [sys.executable, "benchmarks/fingerprints.py", "--phantom", "--tiny"],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "phantom, pool" in done.stdout and "JPEG 75" in done.stdout
    # Different patients of the demo raise no alarm.
    assert done.stdout.count("pairs of different groups within 24 bits: 0\n") == 2
