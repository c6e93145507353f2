"""JPEG, PNG, TIFF and BMP files: their pixels by Pillow, but for JPEGs and 16-bit colour."""

import io

import numpy as np
from PIL import Image, ImageOps

from remedis_jax.data.deep import (
    PHOTOMETRIC,
    decode_deep_png,
    decode_deep_tiff,
    is_deep_png,
    is_deep_tiff,
)
from remedis_jax.data.jpeg import decode_jpeg
from remedis_jax.data.native import DAMAGE, Native, Unusable, choose_frame, refuse_unscaled
from remedis_jax.data.reading import Reading

_FORMATS = ("JPEG", "PNG", "TIFF", "BMP")
_GREY_MODES = ("1", "L")
_COLOUR_MODES = ("RGB", "RGBX", "YCbCr")
_ALPHA_MODES = ("P", "PA", "LA", "RGBA")
_DEEP_MODES = ("I;16", "I;16L", "I;16B")
_EXIF_ORIENTATION = 0x0112
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG = b"\x89PNG\r\n\x1a\n"
_WHITE_IS_ZERO = 0


def open_picture(
    data: bytes, reading: Reading, frame: int | None, at_least: int | None, native: Native
) -> None:
    """Reads one image of a file by the rules of `data.decode`.

    Args:
        data: The bytes of the file.
        reading: The rules that are open.
        frame: Which of its images, from 0; None for what `reading` says.
        at_least: Neither side of a JPEG is made smaller than this; None for the whole.
        native: Is filled, as far as the reading gets.

    Raises:
        Unusable: A rule refuses it, or it is damaged.
    """
    try:
        _open(data, reading, frame, at_least, native)
    except Image.UnidentifiedImageError:
        if is_tiff(data):
            raise Unusable(
                "the TIFF file is damaged, or its pixels have no agreed reading as grey or RGB",
                "Convert the file to 8-bit or 16-bit grey, or to interleaved RGB.",
            ) from None
        raise Unusable(
            "the file is not a JPEG, PNG, TIFF or BMP image and not DICOM, or is damaged"
        ) from None
    except Image.DecompressionBombError:
        raise Unusable("the image has too many pixels", "Cut it into tiles.") from None
    except DAMAGE as error:
        words = " ".join(str(error).split())
        raise Unusable(f"the file is damaged ({words})") from None


def depth_of_picture(head: bytes) -> int:
    """Bits of a channel, 8 or 16, by the beginning of a file; 8 where it does not say.

    Args:
        head: 32 bytes or more; of a TIFF file all of them, as its header may stand at the end.
    """
    if head.startswith(_PNG) and len(head) > 24:
        return 16 if head[24] == 16 else 8
    if is_tiff(head):
        try:
            with Image.open(io.BytesIO(head), formats=("TIFF",)) as image:
                return 16 if image.mode in _DEEP_MODES or is_deep_tiff(image) else 8
        except (*DAMAGE, Image.DecompressionBombError):
            return 8
    return 8


def is_tiff(head: bytes) -> bool:
    """Whether a file begins as a TIFF does."""
    return head.startswith(_TIFF)


def _open(
    data: bytes, reading: Reading, frame: int | None, at_least: int | None, native: Native
) -> None:
    """Fills `native`, or raises what Pillow raises."""
    image = Image.open(io.BytesIO(data), formats=_FORMATS)
    # A multi-picture JPEG is a camera's photo with its own preview; the photo comes first.
    native.frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    chosen = choose_frame(native.frames, reading, frame)
    if chosen:
        image.seek(chosen)
    native.mode = image.mode
    if image.format == "JPEG" and image.mode in ("L", "RGB"):
        native.width, native.height = image.size
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
        if orientation in (5, 6, 7, 8):
            native.width, native.height = native.height, native.width
        native.pixels = _upright(decode_jpeg(data, image, at_least), orientation)
        return
    if is_deep_png(data):
        orientation = _orientation_of_png(data)
        native.pixels = _upright(decode_deep_png(data, image), orientation)
        native.mode += ";16"
    elif is_deep_tiff(image):
        native.pixels = decode_deep_tiff(data, image, chosen)
        native.mode += ";16"
    else:
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        native.pixels = _of_picture(image)
    native.height, native.width = native.pixels.shape[:2]
    native.bits = 1 if image.mode == "1" else 8 * native.pixels.dtype.itemsize


def _orientation_of_png(data: bytes) -> int:
    # It may stand behind the pixels, and Pillow decodes them to look there.
    if b"eXIf" not in data and b"Raw profile type exif" not in data:
        return 1
    return Image.open(io.BytesIO(data), formats=("PNG",)).getexif().get(_EXIF_ORIENTATION, 1)


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """[H, W, ...] as the EXIF orientation says; as they are where it says nothing sensible."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _of_picture(image: Image.Image) -> np.ndarray:
    """uint8 or uint16 [H, W] or [H, W, 3] of a loaded image."""
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        return over_black(image)
    if image.mode in _DEEP_MODES:
        return _of_deep_grey(image)
    if image.mode not in _GREY_MODES + _COLOUR_MODES:
        raise Unusable(
            f"pixels of mode {image.mode} have no agreed reading as grey or RGB",
            "Convert the file to 8-bit or 16-bit grey, or to RGB.",
        )
    return np.asarray(image.convert("L" if image.mode in _GREY_MODES else "RGB"))


def _of_deep_grey(image: Image.Image) -> np.ndarray:
    """uint16 [H, W] of an image of one of `_DEEP_MODES`."""
    pixels = np.asarray(image).astype(np.uint16)
    refuse_unscaled(pixels)
    if image.format == "TIFF" and image.tag_v2.get(PHOTOMETRIC) == _WHITE_IS_ZERO:
        return 65535 - pixels  # Pillow inverts those of 8 bits only.
    return pixels


def over_black(image: Image.Image) -> np.ndarray:
    """uint8 [H, W] or [H, W, 3] of an image with transparency, laid over black."""
    if image.mode in _DEEP_MODES:
        raise Unusable("16-bit pixels with a transparent value have no agreed reading")
    coloured = image.mode not in ("L", "LA", "1")
    layer = image.convert("RGBA")
    black = Image.new("RGBA", image.size, (0, 0, 0, 255))
    flat = Image.alpha_composite(black, layer).convert("RGB")
    return np.asarray(flat if coloured else flat.getchannel(0))
