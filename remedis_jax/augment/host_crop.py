"""Cubic resampling of a box by numpy: the host's `crop_and_resize`.

Images are planes, float32 [C, H, W].
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np

from remedis_jax.augment.workspace import Workspace

# Output rows that one matrix product makes. Wider blocks multiply more zeros, narrower ones are
# more calls (ours, measured at 224).
_BLOCK = 32
# Up to this number of multiplications OpenBLAS, which numpy's wheels contain, does not start
# threads of its own; they would only take the processors from one another.
_ONE_THREAD = 1 << 18
# Matrices that are kept: those of all sides of a box in images of 256 pixels, and the mirror images
# (25 MB for views of 224; with images of 1024 pixels up to 100 MB).
_KEPT = 3 * 256


class Band(NamedTuple):
    """The weights of output pixels first .. last - 1: all else of their rows is zero.

    Attributes:
        first, last: Range of output pixels.
        low, high: Range of the box's pixels that they are made of.
        weights: float32 [last - first, high - low].
    """

    first: int
    last: int
    low: int
    high: int
    weights: np.ndarray


@functools.lru_cache(maxsize=_KEPT)
def resampling_bands(
    length: int, output: int, antialias: bool, mirrored: bool = False
) -> tuple[Band, ...]:
    """The matrix that resamples `length` pixels to `output`, without most of its zeros.

    The weights of `crop.crop_and_resize`, for positions counted from the beginning of the box.

    Args:
        length: Pixels of the box along this axis.
        output: Pixels of the view along this axis.
        antialias: Whether the kernel grows with the reduction.
        mirrored: Whether the output comes in reverse order.

    Returns:
        Bands in the order of their output pixels.
    """
    scale = length / output
    stretch = max(scale, 1.0) if antialias else 1.0
    centre = (np.arange(output) + 0.5) * scale - 0.5
    first = np.floor(centre - 2 * stretch).astype(int) + 1
    taps = math.ceil(4 * stretch)
    pixel = first[:, None] + np.arange(taps)
    weight = _keys_cubic((centre[:, None] - pixel) / stretch)
    weight[(pixel < 0) | (pixel >= length)] = 0
    weight /= weight.sum(axis=1, keepdims=True)

    begins = np.arange(0, output, _BLOCK)
    ends = np.minimum(begins + _BLOCK, output)
    lowest = first[begins]
    widths = first[ends - 1] + taps - lowest
    dense = np.zeros((output, widths.max()), np.float32)
    column = pixel - np.repeat(lowest, ends - begins)[:, None]
    dense[np.arange(output)[:, None], column] = weight
    if mirrored:
        begins, ends, dense = output - ends, output - begins, dense[::-1].copy()
    lows, highs = np.maximum(lowest, 0), np.minimum(lowest + widths, length)
    edges = zip(*(side.tolist() for side in (begins, ends, lows, highs, lowest)), strict=True)
    return tuple(
        Band(begin, end, low, high, dense[begin:end, low - start : high - start])
        for begin, end, low, high, start in edges
    )


def _keys_cubic(distance: np.ndarray) -> np.ndarray:
    x = np.abs(distance)
    near = ((1.5 * x - 2.5) * x) * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def resample(
    box: np.ndarray, size: int, antialias: bool, mirrored: bool, work: Workspace
) -> np.ndarray:
    """Resample a box with a cubic kernel.

    Args:
        box: float32 [C, h, w], may be a part of larger planes.
        size: Height and width of the result.
        antialias: Whether the kernel grows with the reduction.
        mirrored: Whether left and right are exchanged as well.
        work: Buffers of this thread.

    Returns:
        float32 [C, size, size], in `work`.
    """
    channels, height, width = box.shape
    narrow = work.array("narrow", (channels, height, size))
    for band in resampling_bands(width, size, antialias, mirrored):
        for rows in _parts(height, band.weights.size):
            source = box[:, rows, band.low : band.high]
            np.matmul(source, band.weights.T, out=narrow[:, rows, band.first : band.last])
    view = work.array("view", (channels, size, size))
    for band in resampling_bands(height, size, antialias):
        for columns in _parts(size, band.weights.size):
            source = narrow[:, band.low : band.high, columns]
            np.matmul(band.weights, source, out=view[:, band.first : band.last, columns])
    return view


def _parts(count: int, weights: int) -> list[slice]:
    """`count` rows in about equal parts, each small enough for one thread of BLAS."""
    parts = math.ceil(count * weights / _ONE_THREAD)
    bounds = [count * part // parts for part in range(parts + 1)]
    return [slice(*pair) for pair in zip(bounds[:-1], bounds[1:], strict=True)]
