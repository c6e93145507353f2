"""Rotation, elastic deformation and blur by OpenCV: the host's `geometry` and `blur`.

Images are planes, float32 [C, H, W]. Only the pixels of a box are made where no later operation
needs the others.
"""

from __future__ import annotations

import functools
import math

import cv2
import numpy as np

from remedis_jax.augment.blur import blur_radius
from remedis_jax.augment.workspace import Workspace

Part = tuple[slice, slice]


@functools.cache
def remap_is_exact() -> bool:
    """Whether OpenCV interpolates at the place asked for.

    Version 5 does. Version 4 rounds coordinates to 1/32 pixel, and so may the parts of OpenCV that
    are written for one kind of processor.
    """
    ramp = np.tile(np.arange(32, dtype=np.float32), (32, 1))
    columns = np.linspace(1, 30, 32 * 32, dtype=np.float32).reshape(32, 32)
    read = cv2.remap(ramp, columns, np.full_like(columns, 7.3), cv2.INTER_LINEAR)
    return bool(np.abs(read - columns).max() < 1e-4)


def rotate(planes: np.ndarray, degrees: float, part: Part, work: Workspace) -> np.ndarray:
    """Turn an image counter-clockwise about its centre; outside is black.

    Args:
        planes: float32 [C, H, W].
        degrees: The angle.
        part: Rows and columns of the result that are needed.
        work: Buffers of this thread.

    Returns:
        float32 [C, h, w], that part, in `work`.
    """
    height, width = planes.shape[1:]
    angle = math.radians(degrees)
    cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    y = np.arange(height, dtype=np.float32)[part[0], None] - np.float32((height - 1) / 2)
    x = np.arange(width, dtype=np.float32)[None, part[1]] - np.float32((width - 1) / 2)
    shape = (y.size, x.size)
    rows, columns = work.array("rows", shape), work.array("columns", shape)
    np.add(sin * x, cos * y + np.float32((height - 1) / 2), out=rows)
    np.add(cos * x, np.float32((width - 1) / 2) - sin * y, out=columns)
    return _read(planes, rows, columns, cv2.BORDER_CONSTANT, "rotated", work)


def elastic_deform(
    planes: np.ndarray, displacement: np.ndarray, part: Part, work: Workspace
) -> np.ndarray:
    """Read every pixel at its own place plus a displacement; beyond the border, the nearest pixel.

    Args:
        planes: float32 [C, H, W].
        displacement: float32 [2, H, W], (rows, columns) in pixels.
        part: Rows and columns of the result that are needed.
        work: Buffers of this thread.

    Returns:
        float32 [C, h, w], that part, in `work`.
    """
    height, width = planes.shape[1:]
    moved_rows, moved_columns = displacement[0][part], displacement[1][part]
    rows = work.array("rows", moved_rows.shape)
    columns = work.array("columns", moved_rows.shape)
    np.add(moved_rows, np.arange(height, dtype=np.float32)[part[0], None], out=rows)
    np.add(moved_columns, np.arange(width, dtype=np.float32)[None, part[1]], out=columns)
    return _read(planes, rows, columns, cv2.BORDER_REPLICATE, "deformed", work)


def _read(
    planes: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    border: int,
    name: str,
    work: Workspace,
) -> np.ndarray:
    result = work.array(name, (len(planes), *rows.shape))
    for plane, out in zip(planes, result, strict=True):
        cv2.remap(plane, columns, rows, cv2.INTER_LINEAR, dst=out, borderMode=border)
    return result


def gaussian_blur(planes: np.ndarray, sigma: float, work: Workspace) -> np.ndarray:
    """Convolve [C, H, W] with `blur.gaussian_kernel` along both axes, zeros beyond the border.

    Taps beyond 5.5 sigma weigh less than 3e-7 of the central one and are left out.

    Returns:
        float32 [C, H, W], in `work`.
    """
    radius = blur_radius(planes.shape[1])
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-(offsets**2) / (2.0 * float(sigma) ** 2))
    weights /= weights.sum()
    reach = min(radius, math.ceil(5.5 * sigma))
    kernel = weights[radius - reach : radius + reach + 1].astype(np.float32)
    result = work.array("blurred", planes.shape)
    for plane, out in zip(planes, result, strict=True):
        cv2.sepFilter2D(plane, -1, kernel, kernel, dst=out, borderType=cv2.BORDER_CONSTANT)
    return result
