"""An image file becomes pixels, by these rules and no others.

* JPEG, PNG, TIFF, BMP and DICOM (`data.dicom`). Which image of a file of several is read, its name
  or `Reading.frames` says; where neither does, the file is refused.
* The EXIF orientation is applied.
* Palettes are looked up. Transparent pixels are laid over black, as the surround of a scan is.
* Deep pixels (16 bits a channel, grey or colour: `data.deep`) are kept with `Reading.bits` 16, and
  scaled by their full range with 8, ``round(v / 257)``. A picture whose largest value is under 4096
  is refused: it is 12-bit data that was never scaled, and would come out all but black. With `bits`
  16 an 8-bit image is multiplied by 257.
* Float, 32-bit, CMYK, LAB and HSV are refused.
* Grey is repeated where three channels are wanted. Where one is wanted, colour is refused unless
  all three channels are equal or `to_grey` asks for luma (ITU-R 601-2).
* JPEGs are decoded as Pillow does it, to the same bits (`data.jpeg`); with `Reading.reduced` at a
  half of their size or less where that is no smaller than the working size.
* Strips more than 20 times as long as wide are refused.
* Resizing is Pillow's antialiased bicubic; with `Reading.reduced` the mean over areas
  (`data.resample`).
"""

import dataclasses
import os
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from remedis_jax.data.dicom import depth_of_dicom, open_dicom
from remedis_jax.data.native import Native, Unusable, refuse_unscaled
from remedis_jax.data.picture import depth_of_picture, open_picture, over_black
from remedis_jax.data.reading import EIGHT_BIT_COLOUR, Reading
from remedis_jax.data.resample import FITS, Fit, Resampling
from remedis_jax.data.stores import file_name, frame_of
from remedis_jax.errors import UserError

# ours: a strip of this shape, brought to 224 pixels, has 11 of them across.
MAX_ASPECT = 20


@dataclasses.dataclass(frozen=True)
class Inspected:
    """What a look into one image found; see `Native` for the other attributes.

    Attributes:
        channels: Of the file, 1 or 3; 0 where it cannot be decoded.
        pixels: uint8 [H, W], the luma of the image; None where it cannot be used.
        problem: Why it cannot be used; empty where it can.
    """

    width: int = 0
    height: int = 0
    channels: int = 0
    bits: int = 0
    mode: str = ""
    frames: int = 0
    burned_in: bool | None = None
    pixels: np.ndarray | None = None
    problem: str = ""


def decode_image(
    image: bytes | str | os.PathLike | np.ndarray | Native,
    *,
    size: int,
    reading: Reading = EIGHT_BIT_COLOUR,
    fit: Fit = "squash",
    name: str | None = None,
    frame: int | None = None,
) -> np.ndarray:
    """Decodes one image and brings it to the working size, by the rules of this module.

    Args:
        image: As for `decode_pixels`.
        size: Side of the result in pixels.
        reading: The rules that are open.
        fit: 'squash' changes the aspect ratio (bit: its transfer pipeline resizes so); 'pad'
            fits the whole image in and centres it on black; 'crop' fills the square and cuts the
            longer side off evenly.
        name: What to call the image in an error; its path if None.
        frame: As for `decode_pixels`.

    Returns:
        uint8 or uint16 [size, size, channels].

    Raises:
        UserError: The file cannot be read or decoded, or a rule refuses it.
    """
    check_working_format(size, reading.channels, fit)
    pixels = decode_pixels(image, reading, name=name, frame=frame, at_least=size)
    return Resampling(size, fit)(pixels, fast=reading.reduced)


def decode_pixels(
    image: bytes | str | os.PathLike | np.ndarray | Native,
    reading: Reading = EIGHT_BIT_COLOUR,
    *,
    name: str | None = None,
    frame: int | None = None,
    at_least: int | None = None,
) -> np.ndarray:
    """The whole image, by the rules of this module.

    Args:
        image: Path of the file (``scan.dcm#frame=3`` for one image of several), its bytes, or
            pixels: uint8 [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] (the last transparency), or
            uint16 with 1 or 3 channels. Floats are refused, since nothing says whether they mean
            0 to 1 or 0 to 255. Or what `of_store` made of what a store gave.
        reading: The rules that are open.
        name: What to call the image in an error; its path if None.
        frame: Which image of a file of several, from 0; None for what `reading` says.
        at_least: With `reading.reduced`, neither side of the result is made smaller than this;
            None for the size that the image has.

    Returns:
        uint8 or uint16 (`reading.bits`) [H, W, channels].

    Raises:
        UserError: It cannot be read or decoded, or a rule refuses it.
    """
    try:
        if isinstance(image, Native):
            native = image
        elif isinstance(image, np.ndarray):
            native = _of_array(image)
        else:
            if frame is None and not isinstance(image, bytes):
                frame = frame_of(os.fspath(image))
            native = _open(_read(image), reading, frame, at_least if reading.reduced else None)
        return _as_read(native.pixels, reading)
    except Unusable as error:
        if name is None:
            unnamed = isinstance(image, bytes | np.ndarray | Native)
            name = "the image" if unnamed else os.fspath(image)
        raise UserError(f"{name}: {error.reason}.", error.remedy) from None


def inspect(
    image: bytes | np.ndarray | Native,
    reading: Reading = EIGHT_BIT_COLOUR,
    *,
    frame: int | None = None,
) -> Inspected:
    """Decodes an image and says what it is and whether it can be used; a bad one raises nothing.

    Args:
        image: Bytes of a file, or pixels.
        reading: The rules by which it is going to be read.
        frame: As for `decode_pixels`.
    """
    native = image if isinstance(image, Native) else Native()
    try:
        if isinstance(image, np.ndarray):
            native = _of_array(image)
        elif not isinstance(image, Native):
            native = _open(image, reading, frame, None, native)
        _as_read(native.pixels, reading)
        problem, luma = "", _luma(native.pixels)
    except Unusable as error:
        problem, luma = error.reason, None
    channels = 0 if native.pixels is None else 3 if native.pixels.ndim == 3 else 1
    return Inspected(
        native.width, native.height, channels, native.bits if native.mode else 0, native.mode,
        native.frames if native.mode else 0, native.burned_in, luma, problem,
    )  # fmt: skip


def of_store(content: bytes | np.ndarray) -> bytes | Native:
    """What a store gave, for `decode_pixels` and `inspect`.

    Pixels in a store have been scaled by whoever put them there: a dark picture of 16 bits is a
    dark picture, and not 12 bits that were never scaled.
    """
    if isinstance(content, bytes):
        return content
    pixels = content[:, :, 0] if content.ndim == 3 and content.shape[2] == 1 else content
    height, width = pixels.shape[:2]
    return Native(pixels, width, height, 8 * pixels.dtype.itemsize, "pixels")


def check_working_format(size: int, channels: int, fit: str) -> None:
    """Raises UserError where images cannot be brought to such a format."""
    if size < 1 or channels not in (1, 3) or fit not in FITS:
        raise UserError(
            f"the working format size={size}, channels={channels}, fit={fit!r} is not possible.",
            f"size is positive, channels 1 or 3, fit one of {', '.join(map(repr, FITS))}.",
        )


def needs_header(name: str) -> bool:
    """Whether the name of a file leaves open how many bits its pixels have."""
    return os.path.splitext(name)[1].lower() not in (".jpg", ".jpeg", ".bmp")


def depth_of(head: bytes) -> int:
    """Bits of a channel, 8 or 16, by the beginning of a file; 8 where it does not say.

    Args:
        head: 4096 bytes or more; of a TIFF file all of them, as its header may stand at the end.
    """
    if head[128:132] != b"DICM":
        return depth_of_picture(head)
    try:
        return depth_of_dicom(head)
    except Unusable:  # No pydicom.
        return 8


def _of_array(pixels: np.ndarray) -> Native:
    squeezed = pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    channels = squeezed.shape[2] if squeezed.ndim == 3 else 1
    if squeezed.ndim not in (2, 3) or channels not in (1, 3, 4) or 0 in squeezed.shape:
        raise Unusable(
            f"an array of shape {pixels.shape} is no image",
            "Pass [height, width] or [height, width, 1, 3 or 4].",
        )
    if squeezed.dtype == np.uint8 and channels == 4:
        squeezed = over_black(Image.fromarray(squeezed))
    elif not (squeezed.dtype == np.uint8 or (squeezed.dtype == np.uint16 and channels != 4)):
        raise Unusable(
            f"pixels of type {pixels.dtype} with {channels} channel(s) have no agreed range",
            "Pass uint8 in 0..255 (or uint16); for floats in 0..1: (255 * x).round()"
            ".astype('uint8').",
        )
    if squeezed.dtype == np.uint16:
        refuse_unscaled(squeezed)
    height, width = squeezed.shape[:2]
    return Native(squeezed, width, height, 8 * squeezed.dtype.itemsize, "pixels")


def _read(image: bytes | str | os.PathLike) -> bytes:
    if isinstance(image, bytes):
        return image
    try:
        return Path(file_name(os.fspath(image))).read_bytes()
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise Unusable(f"the file cannot be read ({reason})") from None


def _open(
    data: bytes,
    reading: Reading,
    frame: int | None,
    at_least: int | None,
    native: Native | None = None,
) -> Native:
    """The decoded image; `native` is filled as far as it gets."""
    native = Native() if native is None else native
    if not data:
        raise Unusable("the file is empty (0 bytes)")
    start = data[:512].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        raise Unusable(
            "the file is a web page and no image", "Download it again; the server sent an error."
        )
    if data[128:132] == b"DICM":
        open_dicom(data, reading, frame, native)
    else:
        open_picture(data, reading, frame, at_least, native)
    return native


def _as_read(pixels: np.ndarray, reading: Reading) -> np.ndarray:
    """The channels and the depth that are wanted: [H, W, channels]."""
    height, width = pixels.shape[:2]
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise Unusable(
            f"{width} x {height} pixels is more than {MAX_ASPECT} times as long as it is wide",
            "Cut it into pieces nearer to a square.",
        )
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if reading.channels == 1 and pixels.shape[2] == 3:
        first, second, third = (pixels[:, :, i] for i in range(3))
        if np.array_equal(first, second) and np.array_equal(second, third):
            pixels = pixels[:, :, :1]
        elif reading.to_grey:
            pixels = _luma_of_colour(pixels)[:, :, None]
        else:
            raise Unusable(
                "the image has colour and one channel is wanted",
                "Choose channels=3, or to_grey=True to reduce colour to luma.",
            )
    if reading.bits == 8 and pixels.dtype == np.uint16:
        pixels = to_eight_bits(pixels)
    elif reading.bits == 16 and pixels.dtype == np.uint8:
        pixels = pixels.astype(np.uint16) * np.uint16(257)
    if reading.channels == 3 and pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    return pixels


def to_eight_bits(pixels: np.ndarray) -> np.ndarray:
    """uint16 to uint8 of the same shape, by the full range, to the nearest."""
    # 257 = 65535 / 255; adding 128 rounds to nearest, as 257 is odd.
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _luma(pixels: np.ndarray) -> np.ndarray:
    """uint8 [H, W] of an image of any kind, for its fingerprint."""
    eight = to_eight_bits(pixels) if pixels.dtype == np.uint16 else pixels
    if eight.ndim == 2:
        return eight
    # Three times as fast as Pillow's, from which it differs by 1 here and there.
    return cv2.cvtColor(np.ascontiguousarray(eight), cv2.COLOR_RGB2GRAY)


def _luma_of_colour(pixels: np.ndarray) -> np.ndarray:
    """[H, W, 3] to [H, W], same dtype, by ITU-R 601-2."""
    if pixels.dtype == np.uint8:
        return np.asarray(Image.fromarray(pixels).convert("L"))
    weights = np.array([0.299, 0.587, 0.114])
    return np.rint(pixels.astype(np.float64) @ weights).astype(np.uint16)
