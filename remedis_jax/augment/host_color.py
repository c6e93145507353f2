"""Colour distortions of a view by numpy and OpenCV: the host's counterpart of `color`.

Images are planes, float32 [C, H, W] with C = 3 or 1, changed in place. Each function gives what its
namesake in `color` gives, to rounding.
"""

from __future__ import annotations

import cv2
import numpy as np

from remedis_jax.augment.color import BRIGHTNESS, CONTRAST, LUMINANCE, SATURATION, Jitter
from remedis_jax.augment.workspace import Workspace

# A chroma below this is none; above it, 1 / chroma stays finite in float32.
_NO_CHROMA = np.float32(1e-12)


def jitter_in_order(
    planes: np.ndarray, drawn: Jitter, additive_brightness: bool, work: Workspace
) -> None:
    """Apply the four distortions in a given order, each followed by a clip to [0, 1].

    Args:
        planes: float32 [C, H, W]; may leave [0, 1] by rounding afterwards.
        drawn: Order and strengths, as numpy scalars; None leaves an operation out.
        additive_brightness: Add the brightness instead of multiplying.
        work: Buffers of this thread.
    """
    coloured = len(planes) == 3
    in_range = False
    for operation in drawn.order:
        # What leaves [0, 1] by rounding alone is left to the clip at the end.
        keeps_range = False
        if operation == BRIGHTNESS:
            if drawn.brightness is not None:
                keeps_range = not additive_brightness and drawn.brightness <= 1
                change = np.add if additive_brightness else np.multiply
                change(planes, drawn.brightness, out=planes)
        elif operation == CONTRAST:
            if drawn.contrast is not None:
                keeps_range = drawn.contrast <= 1
                adjust_contrast(planes, drawn.contrast)
        else:
            keeps_range = True
            if operation == SATURATION:
                if coloured and drawn.saturation is not None:
                    adjust_saturation(planes, drawn.saturation, in_range, work)
            elif coloured and drawn.hue is not None:
                adjust_hue(planes, drawn.hue, work)
        if not (in_range and keeps_range):
            clip(planes)
        in_range = True


def clip(planes: np.ndarray) -> None:
    """Clip to [0, 1]."""
    np.clip(planes, np.float32(0), np.float32(1), out=planes)


def adjust_contrast(planes: np.ndarray, factor: np.float32) -> None:
    """Stretch each channel about its own mean."""
    means = np.array([[[cv2.mean(plane)[0]]] for plane in planes])
    np.multiply(planes, factor, out=planes)
    np.add(planes, (means * (1 - np.float64(factor))).astype(np.float32), out=planes)


def adjust_saturation(
    planes: np.ndarray, factor: np.float32, in_range: bool, work: Workspace
) -> None:
    """Multiply the saturation of HSV by `factor` >= 0.

    A saturation is at most 1 where no channel is negative (`in_range`); a smaller one is then a
    weighted mean with the value.
    """
    if in_range and factor <= 1:
        value = _value(planes, work)
        np.multiply(value, 1 - factor, out=value)
        np.multiply(planes, factor, out=planes)
        np.add(planes, value, out=planes)
        return
    value, chroma = _value_and_chroma(planes, work)
    limit = np.maximum(chroma, _NO_CHROMA, out=chroma)
    np.divide(value, limit, out=limit)
    np.minimum(limit, factor, out=limit)
    np.subtract(value, planes, out=planes)
    np.multiply(planes, limit, out=planes)
    np.subtract(value, planes, out=planes)


def adjust_hue(planes: np.ndarray, delta: np.float32, work: Workspace) -> None:
    """Turn the hue of HSV by `delta` full circles.

    With h the hue in sectors of 60 degrees, in [0, 6), a channel keeps its value up to one sector
    away from its own place (red 0, green 2, blue 4), has lost the whole chroma from two on, and
    changes linearly between. The hue of a grey pixel is decided by rounding, but no channel moves
    by more than the chroma, so there is no jump.
    """
    value, chroma = _value_and_chroma(planes, work)
    shape = value.shape
    colours = work.array("interleaved", (*shape, 3))
    cv2.merge(list(planes), dst=colours)
    cv2.cvtColor(colours, cv2.COLOR_RGB2HSV, dst=colours)
    hue = work.array("hue", shape)
    cv2.extractChannel(colours, 0, dst=hue)
    whole = planes[0]  # Free from here on.
    np.multiply(hue, np.float32(1 / 360), out=hue)
    np.add(hue, delta, out=hue)
    np.floor(hue, out=whole)
    np.subtract(hue, whole, out=hue)
    np.multiply(hue, np.float32(6), out=hue)

    red, green, blue = planes
    for plane, place in ((green, 2), (blue, 4)):
        np.subtract(hue, np.float32(place), out=plane)
        np.abs(plane, out=plane)
        np.subtract(plane, np.float32(1), out=plane)
    # The distance from 0 on the circle is 3 - |h - 3|.
    np.subtract(hue, np.float32(3), out=red)
    np.abs(red, out=red)
    np.subtract(np.float32(2), red, out=red)
    clip(planes)
    np.multiply(planes, chroma, out=planes)
    np.subtract(value, planes, out=planes)


def _value(planes: np.ndarray, work: Workspace) -> np.ndarray:
    red, green, blue = planes
    value = np.maximum(red, green, out=work.array("value", red.shape))
    return np.maximum(value, blue, out=value)


def _value_and_chroma(planes: np.ndarray, work: Workspace) -> tuple[np.ndarray, np.ndarray]:
    red, green, blue = planes
    value = _value(planes, work)
    chroma = np.minimum(red, green, out=work.array("chroma", red.shape))
    np.minimum(chroma, blue, out=chroma)
    return value, np.subtract(value, chroma, out=chroma)


def to_grayscale(planes: np.ndarray, work: Workspace) -> np.ndarray:
    """0.2989 R + 0.5870 G + 0.1140 B of [3, H, W] as [1, H, W]; [1, H, W] is kept."""
    if len(planes) == 1:
        return planes
    weighted = work.array("value", planes.shape[1:])
    for plane, weight in zip(planes, LUMINANCE, strict=True):
        np.multiply(plane, np.float32(weight), out=plane)
    np.add(planes[0], planes[1], out=weighted)
    np.add(weighted, planes[2], out=planes[0])
    return planes[:1]


def luminance(planes: np.ndarray) -> np.ndarray:
    """R + 0.5870 (G - R) + 0.1140 (B - R) of [3, H, W] as [1, H, W]; [1, H, W] is kept.

    Three equal channels give that channel bit for bit.
    """
    if len(planes) == 1:
        return planes
    red, green, blue = planes
    np.subtract(green, red, out=green)
    np.subtract(blue, red, out=blue)
    for part, weight in ((green, LUMINANCE[1]), (blue, LUMINANCE[2])):
        np.multiply(part, np.float32(weight), out=part)
        np.add(red, part, out=red)
    return planes[:1]


def solarize(planes: np.ndarray, work: Workspace) -> None:
    """Invert the pixels at or above 0.5: the smaller of x and 1 - x."""
    inverted = work.array("inverted", planes.shape)
    np.subtract(np.float32(1), planes, out=inverted)
    np.minimum(planes, inverted, out=planes)
