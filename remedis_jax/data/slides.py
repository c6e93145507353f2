"""Whole-slide images: their levels and scale, and regions of them as RGB on white.

Read by tiffslide, and by openslide where tiffslide cannot. Transparent pixels, which some scanners
leave where they did not look, and what lies beyond the slide's right and lower edge become white,
as the glass is.
"""

import dataclasses
import os
from typing import Any

import numpy as np
from PIL import Image

from remedis_jax.errors import UserError

_WHITE = 255
# ours: slides of one scanner agree in scale to a few parts in a thousand.
SCALE_TOLERANCE = 0.02


@dataclasses.dataclass(frozen=True)
class SlideFacts:
    """What the header of a slide says.

    Attributes:
        width: Pixels of level 0.
        height: As `width`.
        downsamples: Pixels of level 0 per pixel of each level; the first is 1.
        mpp: Micrometres per pixel of level 0, along x and along y; None where it does not say.
    """

    width: int
    height: int
    downsamples: tuple[float, ...]
    mpp: tuple[float, float] | None


class Slide:
    """One open slide. Not for several threads at a time.

    Args:
        path: Its file.

    Raises:
        UserError: It is missing or damaged, neither reader knows it, or no reader is installed.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = os.fspath(path)
        self._slide = _open(self.path)
        mpp = [_number(self._property(f"mpp-{axis}")) for axis in "xy"]
        self.facts = SlideFacts(
            *self._slide.dimensions,
            tuple(map(float, self._slide.level_downsamples)),
            (mpp[0], mpp[1]) if mpp[0] and mpp[1] else None,
        )

    def close(self) -> None:
        self._slide.close()

    def region(self, x: int, y: int, level: int, width: int, height: int) -> np.ndarray:
        """Pixels of one level, as they are.

        Args:
            x: Left edge, in pixels of level 0.
            y: Upper edge, in pixels of level 0.
            level: From 0.
            width: In pixels of the level.
            height: As `width`.

        Returns:
            uint8 [height, width, 3].

        Raises:
            UserError: There is no such level or place, or the file is damaged.
        """
        facts = self.facts
        if not 0 <= level < len(facts.downsamples):
            raise UserError(
                f"{self.path}: has no level {level}.", f"It has {len(facts.downsamples)} levels."
            )
        if not (0 <= x < facts.width and 0 <= y < facts.height):
            raise UserError(
                f"{self.path}: x={x}, y={y} is outside the slide of {facts.width} x"
                f" {facts.height} pixels.",
                "Coordinates are in pixels of level 0.",
            )
        canvas = np.full((height, width, 3), _WHITE, np.uint8)
        # Only what is there is asked for, as the readers fill the rest in different ways.
        columns, rows = self._slide.level_dimensions[level]
        inside_x = min(width, columns - int(x / facts.downsamples[level]))
        inside_y = min(height, rows - int(y / facts.downsamples[level]))
        if inside_x > 0 and inside_y > 0:
            canvas[:inside_y, :inside_x] = self._read(x, y, level, inside_x, inside_y)
        return canvas

    def square(self, x: int, y: int, size: int, span: tuple[float, float]) -> np.ndarray:
        """A square of `size` pixels that covers `span` (x, y) pixels of level 0.

        Read from the level that is the next finer, and reduced by Pillow's antialiased bicubic.

        Returns:
            uint8 [size, size, 3].

        Raises:
            UserError: As `region`.
        """
        # A thousandth of slack, since levels are not exact powers of two.
        wanted = 1.001 * min(span) / size
        fine = [i for i, factor in enumerate(self.facts.downsamples) if factor <= wanted]
        level = max(fine, key=lambda i: self.facts.downsamples[i], default=0)
        factor = self.facts.downsamples[level]
        width, height = (max(1, round(length / factor)) for length in span)
        pixels = self.region(x, y, level, width, height)
        if (width, height) == (size, size):
            return pixels
        return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC))

    def _read(self, x: int, y: int, level: int, width: int, height: int) -> np.ndarray:
        try:
            pixels = _pixels(self._slide, x, y, level, width, height)
        except _reading_errors() as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"{self.path}: x={x}, y={y} cannot be read ({reason}).",
                "Copy the slide again, or leave its rows out.",
            ) from None
        if pixels.ndim != 3 or pixels.dtype != np.uint8 or pixels.shape[2] not in (3, 4):
            raise UserError(
                f"{self.path}: has pixels of type {pixels.dtype} and shape {pixels.shape}.",
                "Slides are read in 8-bit RGB; convert it.",
            )
        return _on_white(pixels)

    def _property(self, name: str) -> Any:
        properties = self._slide.properties
        for maker in ("tiffslide", "openslide"):
            if properties.get(f"{maker}.{name}") is not None:
                return properties[f"{maker}.{name}"]
        return None


def _open(path: str) -> Any:
    """The slide, opened by tiffslide or openslide, whichever can."""
    if not os.path.isfile(path):
        raise UserError(f"{path}: there is no such slide.", "Correct its name or restore it.")
    installed, reasons = False, []
    for reader in (_open_tiffslide, _open_openslide):
        try:
            return reader(path)
        except ImportError:
            continue
        except _reading_errors() as error:
            installed = True
            reasons.append((str(error).splitlines() or [type(error).__name__])[0])
    if not installed:
        raise UserError(
            f"{path}: reading slides needs tiffslide or openslide.",
            "Install the extra: pip install 'remedis_jax[slides]'.",
        )
    more = "" if len(reasons) > 1 else " openslide knows more formats: pip install openslide-bin."
    raise UserError(
        f"{path}: is no slide that can be read ({'; '.join(reasons)}).",
        f"Copy it again, or convert it to a tiled TIFF.{more}",
    )


def _open_tiffslide(path: str) -> Any:
    import tiffslide

    slide = tiffslide.TiffSlide(path)
    try:
        # That a header is understood does not mean that its compression is.
        _pixels(slide, 0, 0, slide.level_count - 1, 1, 1)
    except _reading_errors():
        slide.close()
        raise
    return slide


def _open_openslide(path: str) -> Any:
    import openslide

    return openslide.OpenSlide(path)


def _pixels(slide: Any, x: int, y: int, level: int, width: int, height: int) -> np.ndarray:
    return np.asarray(slide.read_region((x, y), level, (width, height)))


def _reading_errors() -> tuple[type[Exception], ...]:
    """What the readers raise for files that they cannot use."""
    errors = (OSError, ValueError, KeyError, IndexError, NotImplementedError, RuntimeError)
    try:
        import openslide
    except ImportError:
        return errors
    return (*errors, openslide.OpenSlideError)


def _on_white(pixels: np.ndarray) -> np.ndarray:
    if pixels.shape[2] == 3:
        return pixels
    alpha = pixels[..., 3:].astype(np.uint16)
    if (alpha == 255).all():
        return pixels[..., :3]
    mixed = pixels[..., :3] * alpha + _WHITE * (255 - alpha)
    return ((mixed + 127) // 255).astype(np.uint8)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if 0 < number < np.inf else None
