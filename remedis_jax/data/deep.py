"""Colours of 16 bits a channel, of which Pillow keeps one byte: PNG and TIFF files by OpenCV.

* RGB, with or without transparency, and grey with transparency. Transparent pixels are laid over
  black. A fourth channel that is no transparency is left out.
* In a TIFF file the channels lie side by side, unsigned; all else is refused.
"""

import cv2
import numpy as np
from PIL import Image

from remedis_jax.data.native import Unusable, refuse_unscaled

# Several images are decoded at a time by threads of our own.
cv2.setNumThreads(1)
# What OpenCV says of a damaged file goes to the terminal and does not name it; our errors do.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_GREY_ALPHA = 4
_PNG_COLOURS = (2, _PNG_GREY_ALPHA, 6)
# Numbers of TIFF tags.
PHOTOMETRIC = 262
_BITS, _PLANAR, _EXTRA, _FORMAT = 258, 284, 338, 339
_RGB, _SIDE_BY_SIDE, _UNSIGNED = 2, 1, 1
# Of the fourth channel; multiplied with it already (1), colours are over black as they are.
_TRANSPARENCY = 2


def is_deep_png(data: bytes) -> bool:
    """Whether it is a PNG file of 16 bits a channel that Pillow does not keep."""
    return data.startswith(_PNG) and data[24] == 16 and data[25] in _PNG_COLOURS


def is_deep_tiff(image: Image.Image) -> bool:
    """Whether the page that Pillow stands at has several channels, one of more than 8 bits."""
    if image.format != "TIFF":
        return False
    bits = image.tag_v2.get(_BITS, (1,))
    return len(bits) > 1 and max(bits) > 8


def decode_deep_png(data: bytes, image: Image.Image) -> np.ndarray:
    """The pixels as stored.

    Args:
        data: The bytes of a file for which `is_deep_png` holds.
        image: The same, opened by Pillow and not loaded; not to be used any more.

    Returns:
        uint16 [H, W, 3], or [H, W] where there is no colour.

    Raises:
        Unusable: It is damaged. Pillow raises what it raises for damaged files.
    """
    # OpenCV refuses a damaged file as well, but not without a word to the terminal.
    image.verify()
    pixels = _over_black(_decode(data, 0), _TRANSPARENCY)
    refuse_unscaled(pixels)
    return pixels[:, :, 0] if data[25] == _PNG_GREY_ALPHA else pixels


def decode_deep_tiff(data: bytes, image: Image.Image, page: int) -> np.ndarray:
    """The pixels of a page, upright.

    Args:
        data: The bytes of the file.
        image: The same as Pillow opened it, standing at the page.
        page: Its number, from 0.

    Returns:
        uint16 [H, W, 3].

    Raises:
        Unusable: It is damaged, or of a kind that is not read.
    """
    tags = image.tag_v2
    bits = tags[_BITS]
    if (
        set(bits) != {16}
        or len(bits) not in (3, 4)
        or tags.get(PHOTOMETRIC) != _RGB
        or tags.get(_PLANAR, _SIDE_BY_SIDE) != _SIDE_BY_SIDE
        or set(tags.get(_FORMAT, (_UNSIGNED,))) != {_UNSIGNED}
    ):
        raise Unusable(
            f"the TIFF file's deep pixels (mode {image.mode}) are not interleaved RGB of 16 bits",
            "Convert the file to 8-bit or 16-bit grey, or to interleaved RGB.",
        )
    extra = tags.get(_EXTRA, (0,))
    pixels = _over_black(_decode(data, page), extra[0])
    refuse_unscaled(pixels)
    return pixels


def _decode(data: bytes, page: int) -> np.ndarray:
    """uint16 [H, W, 3 or 4], blue first."""
    content = np.frombuffer(data, np.uint8)
    try:
        if page:
            pages = cv2.imdecodemulti(content, cv2.IMREAD_UNCHANGED, range=(page, page + 1))[1]
            pixels = pages[0] if pages else None
        else:
            pixels = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise Unusable("the file is damaged")
    if pixels.dtype != np.uint16 or pixels.ndim != 3 or pixels.shape[2] not in (3, 4):
        raise Unusable("the file's pixels are not what its header says they are")
    return pixels


def _over_black(pixels: np.ndarray, fourth: int) -> np.ndarray:
    """uint16 [H, W, 3], red first; `fourth` is a value of the TIFF tag ExtraSamples."""
    colours = pixels[:, :, 2::-1]
    if pixels.shape[2] == 4 and fourth == _TRANSPARENCY:
        opaque = pixels[:, :, 3:].astype(np.uint32)
        colours = ((colours * opaque + 32767) // 65535).astype(np.uint16)
    return np.ascontiguousarray(colours)
