"""From an image of any size to a square one: which part is kept and how it is resampled.

Two arithmetics, since the published pipelines have two. With `antialias` the kernel widens when an
image shrinks and the result has the depth of the image: Pillow's resize, which PyTorch users of
BiT call. Without, the kernel keeps its width and the result stays float32: TensorFlow 2's
`tf.image.resize`, which SimCLR and REMEDIS call.

A third for training here, which no published pipeline has and no published weights need: `fast`
takes the mean of the area that becomes a pixel (OpenCV's INTER_AREA), in a third to an eighth of
the time of Pillow.
"""

import dataclasses
from typing import Literal

import cv2
import numpy as np
from PIL import Image, ImageOps

from remedis_jax.errors import UserError

# Several images are resampled at a time by threads of our own.
cv2.setNumThreads(1)

Fit = Literal["squash", "pad", "crop"]
FITS = ("squash", "pad", "crop")
Kernel = Literal["bicubic", "bilinear"]
_PILLOW = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


@dataclasses.dataclass(frozen=True)
class Resampling:
    """How an image becomes `size` x `size` pixels.

    Attributes:
        size: Side of the result in pixels.
        fit: 'squash' changes the aspect ratio (bit); 'pad' fits the whole image in and centres it
            on black; 'crop' keeps the central square (official-code).
        crop_proportion: Kept share of each side of what `fit` leaves, centred, in (0, 1]
            (official-code: 0.875). 1 only with 'pad'.
        kernel: 'bicubic' (Keys, a = -1/2) or 'bilinear'.
        antialias: Whether the kernel widens with the reduction; see this module.

    Raises:
        UserError: A value is out of range.
    """

    size: int
    fit: Fit = "squash"
    crop_proportion: float = 1.0
    kernel: Kernel = "bicubic"
    antialias: bool = True

    def __post_init__(self):
        possible = (
            isinstance(self.size, int)
            and 1 <= self.size <= 2**14
            and self.fit in FITS
            and 0 < self.crop_proportion <= 1
            and self.kernel in _PILLOW
            and isinstance(self.antialias, bool)
            and (self.fit != "pad" or (self.crop_proportion == 1 and self.antialias))
        )
        if not possible:
            raise UserError(
                f"{self} is not possible.",
                f"size is 1 to 16384, fit one of {', '.join(FITS)}, crop_proportion above 0 and at "
                "most 1, kernel bicubic or bilinear; 'pad' neither crops nor aliases.",
            )

    def __call__(self, pixels: np.ndarray, *, fast: bool = False) -> np.ndarray:
        """Resamples an image.

        Args:
            pixels: uint8 or uint16 [H, W, 1 or 3].
            fast: See this module; not without `antialias`. `kernel` then counts for nothing: a
                side that shrinks is averaged, one that grows is cubic.

        Returns:
            [size, size, 1 or 3]: with antialias of the same dtype, else float32 in [0, 1].
        """
        if not self.antialias:
            return self._without_antialias(pixels)
        whole = self.crop_proportion == 1
        if whole and pixels.shape[:2] == (self.size, self.size):
            return pixels
        if fast:
            return self._by_area(pixels)
        if pixels.dtype == np.uint8:
            image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
            return _three_axes(np.array(self._resized(image), np.uint8))
        # Pillow resamples 16 bits as floats only, a channel at a time.
        planes = [
            np.asarray(self._resized(Image.fromarray(plane.astype(np.float32))))
            for plane in np.moveaxis(pixels, 2, 0)
        ]
        return np.stack(planes, axis=2).round().clip(0, 65535).astype(np.uint16)

    def _by_area(self, pixels: np.ndarray) -> np.ndarray:
        height, width = pixels.shape[:2]
        if self.fit == "pad":
            wide, high = _fitting(width, height, self.size)
            square = np.zeros((self.size, self.size, pixels.shape[2]), pixels.dtype)
            left, top = (self.size - wide) // 2, (self.size - high) // 2
            square[top : top + high, left : left + wide] = _to_size(pixels, wide, high)
            return square
        left, top, wide, high = self._box(width, height)
        return _to_size(pixels[top : top + high, left : left + wide], self.size, self.size)

    def _resized(self, image: Image.Image) -> Image.Image:
        """Pillow's image of the right size, by its antialiased resampling."""
        kernel, size = _PILLOW[self.kernel], (self.size, self.size)
        if self.crop_proportion < 1:
            left, top, width, height = self._box(image.width, image.height)
            return image.resize(size, kernel, box=(left, top, left + width, top + height))
        if self.fit == "squash":
            return image.resize(size, kernel)
        if self.fit == "crop":
            return ImageOps.fit(image, size, kernel)
        return self._padded(image, kernel)

    def _box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """(left, top, width, height) of the kept box in whole pixels.

        Rounded as the official code rounds it, odd margins with the larger half above and to the
        left (simclr, `_compute_crop_shape` and `center_crop`).
        """
        shorter = min(width, height)
        wide, high = (shorter, shorter) if self.fit == "crop" else (width, height)
        wide, high = (max(1, round(self.crop_proportion * side)) for side in (wide, high))
        return (width - wide + 1) // 2, (height - high + 1) // 2, wide, high

    def _padded(self, image: Image.Image, kernel: Image.Resampling) -> Image.Image:
        # Not ImageOps.pad: it rounds the short side of a thin strip to 0 and returns black.
        width, height = _fitting(*image.size, self.size)
        square = Image.new(image.mode, (self.size, self.size))
        resized = image.resize((width, height), kernel)
        square.paste(resized, ((self.size - width) // 2, (self.size - height) // 2))
        return square

    def _without_antialias(self, pixels: np.ndarray) -> np.ndarray:
        """tf.image.resize(convert_image_dtype(crop), size, kernel), then the clip to [0, 1]."""
        height, width = pixels.shape[:2]
        left, top, wide, high = self._box(width, height)
        rows, row_weights = _taps(top, high, self.size, self.kernel)
        columns, column_weights = _taps(left, wide, self.size, self.kernel)
        # Few rows are touched where an image shrinks a lot: only those are turned into floats.
        taken = _three_axes(pixels)[rows].astype(np.float32)
        full = np.float32(np.iinfo(pixels.dtype).max)
        lines = np.einsum("ykxc,yk->yxc", taken, row_weights / full)
        result = np.einsum("yxkc,xk->yxc", lines[:, columns], column_weights)
        return np.clip(result, 0.0, 1.0)


def _fitting(width: int, height: int, size: int) -> tuple[int, int]:
    """Width and height of the largest image of the same shape in a square."""
    scale = size / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _to_size(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """[H, W, C] to [height, width, C]."""
    less = min(width, pixels.shape[1]), min(height, pixels.shape[0])
    if less != pixels.shape[1::-1]:
        pixels = cv2.resize(pixels, less, interpolation=cv2.INTER_AREA)
    if less != (width, height):
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_CUBIC)
    return _three_axes(pixels)


def _three_axes(pixels: np.ndarray) -> np.ndarray:
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _taps(start: int, length: int, output: int, kernel: Kernel) -> tuple[np.ndarray, np.ndarray]:
    """Which source pixels each output pixel reads, int [output, k], and their float32 weights.

    Pixel centres at half integers; taps outside the box are dropped, the others renormalised, as
    TensorFlow 2 does.
    """
    reach = 2 if kernel == "bicubic" else 1
    centre = start + (np.arange(output) + 0.5) * (length / output) - 0.5
    index = np.floor(centre).astype(np.int64)[:, None] + np.arange(1 - reach, 1 + reach)
    distance = np.abs(centre[:, None] - index)
    weights = _keys_cubic(distance) if kernel == "bicubic" else np.maximum(1 - distance, 0)
    inside = (index >= start) & (index < start + length)
    weights = np.where(inside, weights, 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    return index.clip(start, start + length - 1), weights.astype(np.float32)


def _keys_cubic(x: np.ndarray) -> np.ndarray:
    """The cubic convolution kernel with a = -1/2 (Keys 1981) at distances x."""
    near = ((1.5 * x - 2.5) * x) * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))
