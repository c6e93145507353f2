"""An image file becomes uint8 pixels of one size, by these rules and no others.

* JPEG, PNG, TIFF and BMP; a file with several pages or frames is refused. DICOM comes to 8 bits by
  the rules of `data.dicom`, and then goes on by these.
* The EXIF orientation is applied.
* Palettes are looked up. Transparent pixels are laid over black, as the surround of a scan is.
* 16-bit grey is scaled by its full range, ``round(v / 257)``. A file whose largest value is under
  4096 is refused: it is 12-bit data that was never scaled, and would come out all but black.
  Pillow reads 16-bit colour by its high byte.
* Float, 32-bit, CMYK, LAB and HSV are refused.
* Grey is repeated where three channels are wanted. Where one is wanted, colour is refused unless
  all three channels are equal or `to_grey` asks for luma (ITU-R 601-2).
* Resizing is Pillow's antialiased bicubic, after the reduction to 8 bits.
"""

import dataclasses
import hashlib
import io
import os
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from remedis_jax.data.manifest import Manifest
from remedis_jax.data.messages import first_few
from remedis_jax.data.resample import FITS, Fit, Resampling
from remedis_jax.errors import UserError

_FORMATS = ("JPEG", "PNG", "TIFF", "BMP")
_GREY_MODES = ("1", "L")
_COLOUR_MODES = ("RGB", "RGBX", "YCbCr")
_ALPHA_MODES = ("P", "PA", "LA", "RGBA")
_DEEP_MODES = ("I;16", "I;16L", "I;16B")
# Below this the 16-bit scale would leave at most 16 of the 256 levels.
_DARKEST_PEAK = 4096


class _Unusable(Exception):
    """Why an image cannot be used; the caller knows the file and the row."""

    def __init__(self, reason: str, remedy: str = "Replace the file or leave the row out."):
        self.reason = reason
        self.remedy = remedy
        super().__init__(reason)


@dataclasses.dataclass(frozen=True)
class ImageFacts:
    """What a look into one image file found.

    Attributes:
        image: Path as it stands in the manifest.
        row: Row in the manifest (header = 1).
        sha256: Hex digest of the bytes of the file; empty where it cannot be read.
        width: Pixels, of the upright image; 0 where it cannot be decoded.
        height: As `width`.
        mode: Pillow's mode, such as 'L', 'RGB', 'I;16'; empty where it cannot be decoded.
        problem: Why the image cannot be used; empty where it can.
    """

    image: str
    row: int
    sha256: str = ""
    width: int = 0
    height: int = 0
    mode: str = ""
    problem: str = ""


def decode_image(
    image: bytes | str | os.PathLike,
    *,
    size: int,
    channels: int = 3,
    fit: Fit = "squash",
    to_grey: bool = False,
    name: str | None = None,
) -> np.ndarray:
    """Decodes one image and brings it to the working size, by the rules of this module.

    Args:
        image: Path of the file, or its bytes.
        size: Side of the result in pixels.
        channels: 1 or 3.
        fit: 'squash' changes the aspect ratio (bit: its transfer pipeline resizes so); 'pad'
            fits the whole image in and centres it on black; 'crop' fills the square and cuts the
            longer side off evenly.
        to_grey: Turn colour to luma where `channels` is 1.
        name: What to call the image in an error; its path if None.

    Returns:
        uint8 [size, size, channels].

    Raises:
        UserError: The file cannot be read or decoded, or a rule refuses it.
    """
    check_working_format(size, channels, fit)
    return Resampling(size, fit)(decode_pixels(image, channels, to_grey=to_grey, name=name))


def decode_pixels(
    image: bytes | str | os.PathLike | np.ndarray,
    channels: int = 3,
    *,
    to_grey: bool = False,
    name: str | None = None,
) -> Image.Image:
    """The whole image at its own size, 8 bits deep, by the rules of this module.

    Args:
        image: Path of the file, its bytes, or pixels: uint8 [H, W], [H, W, 1], [H, W, 3] or
            [H, W, 4] (the last transparency), or uint16 [H, W]. Floats are refused, since nothing
            says whether they mean 0 to 1 or 0 to 255.
        channels: 1 or 3.
        to_grey: Turn colour to luma where `channels` is 1.
        name: What to call the image in an error; its path if None.

    Returns:
        An image of mode 'L' (one channel) or 'RGB' (three).

    Raises:
        UserError: It cannot be read or decoded, or a rule refuses it.
    """
    try:
        opened = _of_array(image) if isinstance(image, np.ndarray) else _open(_read(image))
        return _eight_bit(opened, channels, to_grey)
    except _Unusable as error:
        if name is None:
            unnamed = isinstance(image, bytes | np.ndarray)
            name = "the image" if unnamed else os.fspath(image)
        raise UserError(f"{name}: {error.reason}.", error.remedy) from None


def _of_array(pixels: np.ndarray) -> Image.Image:
    squeezed = pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    channels = squeezed.shape[2] if squeezed.ndim == 3 else 1
    if squeezed.ndim not in (2, 3) or channels not in (1, 3, 4) or 0 in squeezed.shape:
        raise _Unusable(
            f"an array of shape {pixels.shape} is no image",
            "Pass [height, width] or [height, width, 1, 3 or 4].",
        )
    if squeezed.dtype == np.uint8 or (squeezed.dtype == np.uint16 and channels == 1):
        return Image.fromarray(squeezed)
    raise _Unusable(
        f"pixels of type {pixels.dtype} with {channels} channel(s) have no agreed range",
        "Pass uint8 in 0..255 (or uint16 grey); for floats in 0..1: (255 * x).round()"
        ".astype('uint8').",
    )


def check_working_format(size: int, channels: int, fit: str) -> None:
    """Raises UserError where images cannot be brought to such a format."""
    if size < 1 or channels not in (1, 3) or fit not in FITS:
        raise UserError(
            f"the working format size={size}, channels={channels}, fit={fit!r} is not possible.",
            f"size is positive, channels 1 or 3, fit one of {', '.join(map(repr, FITS))}.",
        )


def inspect_images(
    manifest: Manifest,
    *,
    channels: int = 3,
    to_grey: bool = False,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[ImageFacts]:
    """Decodes every image once and says what it is and whether it can be used.

    Args:
        manifest: The images.
        channels: As for `decode_image`.
        to_grey: As for `decode_image`.
        threads: Files decoded at a time; Pillow releases the interpreter lock while it decodes.
            Twice the processors if None (ours).
        progress: Called with (done, total) after every image, in the calling thread.

    Returns:
        Facts of each image, in the order of the manifest. Nothing is raised for a bad image.
    """

    def look(row: int, image: str, path: Path) -> ImageFacts:
        facts = ImageFacts(image, row)
        try:
            data = _read(path)
            facts = dataclasses.replace(facts, sha256=hashlib.sha256(data).hexdigest())
            opened = _open(data)
            width, height = opened.size
            facts = dataclasses.replace(facts, width=width, height=height, mode=opened.mode)
            _eight_bit(opened, channels, to_grey)
        except _Unusable as error:
            facts = dataclasses.replace(facts, problem=error.reason)
        return facts

    found: list[ImageFacts] = []
    with ThreadPoolExecutor(threads or 2 * (os.cpu_count() or 1)) as pool:
        for facts in pool.map(look, manifest.rows.tolist(), manifest.images, manifest.image_paths):
            found.append(facts)
            if progress is not None:
                progress(len(found), len(manifest))
    return found


def check_images(
    manifest: Manifest,
    *,
    channels: int = 3,
    to_grey: bool = False,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, str]:
    """Decodes every image once, before a run, and refuses the manifest if any cannot be used.

    Arguments as for `inspect_images`.

    Returns:
        SHA-256 (hex) of each file by its path in the manifest, for
        `remedis_jax.data.splits.assert_disjoint_images`.

    Raises:
        UserError: How many images cannot be used, and of the first five row, path and reason.
    """
    facts = inspect_images(
        manifest, channels=channels, to_grey=to_grey, threads=threads, progress=progress
    )
    bad = [f"row {f.row} ({f.image}): {f.problem}" for f in facts if f.problem]
    if bad:
        raise UserError(
            f"{manifest.path}: {len(bad):,} of {len(facts):,} image(s) cannot be used:"
            f" {first_few(bad, '; ')}.",
            "Replace the files or leave the rows out.",
        )
    return {f.image: f.sha256 for f in facts}


def _read(image: bytes | str | os.PathLike) -> bytes:
    if isinstance(image, bytes):
        return image
    try:
        return Path(image).read_bytes()
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise _Unusable(f"the file cannot be read ({reason})") from None


def _open(data: bytes) -> Image.Image:
    """The decoded image, upright, in the mode that the file has."""
    if not data:
        raise _Unusable("the file is empty (0 bytes)")
    start = data[:512].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        raise _Unusable(
            "the file is a web page and no image", "Download it again; the server sent an error."
        )
    if data[128:132] == b"DICM":
        # Here, since that module needs this one; and pydicom is an extra.
        from remedis_jax.data.dicom import open_dicom

        return open_dicom(data)
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
        # A multi-picture JPEG is a camera's photo with its own preview; the photo comes first.
        frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
    except Image.UnidentifiedImageError:
        raise _Unusable(
            "the file is not a JPEG, PNG, TIFF or BMP image and not DICOM, or is damaged"
        ) from None
    except Image.DecompressionBombError:
        raise _Unusable("the image has too many pixels", "Cut it into tiles.") from None
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        raise _Unusable(f"the file is damaged ({error})") from None
    if frames > 1:
        raise _Unusable(f"the file holds {frames} pages", "Write one image per file.")
    return image


def _eight_bit(image: Image.Image, channels: int, to_grey: bool) -> Image.Image:
    """The image in mode 'L' or 'RGB', whichever has `channels`."""
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        image = _over_black(image)
    if image.mode in _DEEP_MODES:
        image = Image.fromarray(_scale_16_bit(np.asarray(image)))
    if image.mode not in _GREY_MODES + _COLOUR_MODES:
        raise _Unusable(
            f"pixels of mode {image.mode} have no agreed reading as 8-bit grey or RGB",
            "Convert the file to 8-bit or 16-bit grey, or to RGB.",
        )
    if channels == 1 and image.mode in _COLOUR_MODES and not to_grey:
        red, green, blue = image.convert("RGB").split()
        if not red.tobytes() == green.tobytes() == blue.tobytes():
            raise _Unusable(
                "the image has colour and one channel is wanted",
                "Choose channels=3, or to_grey=True to reduce colour to luma.",
            )
        return red
    return image.convert("L" if channels == 1 else "RGB")


def _over_black(image: Image.Image) -> Image.Image:
    if image.mode in _DEEP_MODES:
        raise _Unusable("16-bit pixels with a transparent value have no agreed reading")
    coloured = image.mode not in ("L", "LA", "1")
    layer = image.convert("RGBA")
    black = Image.new("RGBA", image.size, (0, 0, 0, 255))
    flat = Image.alpha_composite(black, layer).convert("RGB")
    return flat if coloured else flat.getchannel(0)


def _scale_16_bit(pixels: np.ndarray) -> np.ndarray:
    pixels = pixels.astype(np.uint32)
    peak = int(pixels.max())
    if 0 < peak < _DARKEST_PEAK:
        raise _Unusable(
            f"16-bit pixels go up to {peak} of 65535 only, so the file is likely 12-bit or less",
            "Scale it to the full 16-bit range (multiply 12-bit data by 16), or save 8 bits.",
        )
    # 257 = 65535 / 255; adding 128 rounds to nearest, as 257 is odd.
    return ((pixels + 128) // 257).astype(np.uint8)
