"""Histogram equalisation by OpenCV: the host's `equalize_histogram`."""

from __future__ import annotations

import cv2
import numpy as np

from remedis_jax.augment.equalize import Mapping
from remedis_jax.augment.host_color import luminance
from remedis_jax.augment.workspace import Workspace


def equalize_histogram(planes: np.ndarray, mapping: Mapping, work: Workspace) -> None:
    """Spread the 256 grey levels of an image, as `equalize.equalize_histogram`, in place.

    Where the luminance of a *colour* falls half-way between two levels, rounding decides between
    them, here and there; three equal channels have no such pixels.

    Args:
        planes: float32 [C, H, W] in [0, 1], C = 1 or 3.
        mapping: Which table.
        work: Buffers of this thread.
    """
    grey = luminance(planes)[0]
    np.multiply(grey, np.float32(255), out=grey)
    np.rint(grey, out=grey)
    np.clip(grey, np.float32(0), np.float32(255), out=grey)
    levels = work.array("levels", grey.shape, np.uint8)
    np.copyto(levels, grey, casting="unsafe")

    count = levels.size
    histogram = cv2.calcHist([levels], [0], None, [256], [0, 256]).ravel().astype(np.int64)
    present = np.flatnonzero(histogram)
    below_or_at = np.cumsum(histogram)
    if mapping == "cdf":
        above_lowest = (below_or_at - histogram[present[0]]).astype(np.float32)
        scaled = above_lowest * np.float32(255) / np.float32(max(count - 1, 1))
        table = np.rint(np.maximum(scaled, 0))
    else:
        step = (count - histogram[present[-1]]) // 255
        table = np.arange(256)
        if step > 0:
            table = np.minimum((step // 2 + below_or_at - histogram) // step, 255)
    cv2.LUT(levels, table.astype(np.float32) / np.float32(255), dst=grey)
    planes[1:] = grey
