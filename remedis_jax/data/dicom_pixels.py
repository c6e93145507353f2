"""The stored values of one frame of a DICOM file, by whichever plugin of pydicom reads them.

Compressed data is held against the size that the file says before anything is unpacked.
"""

import struct
from typing import Any

import numpy as np

from remedis_jax.data.dicom_levels import MONOCHROME
from remedis_jax.data.native import Unusable

PALETTE = "PALETTE COLOR"
# Start of frame (ITU-T T.81 B.1.1.3, T.87), which carries the size.
_FRAME_HEADERS = (0xFFC0, 0xFFC1, 0xFFC2, 0xFFC3, 0xFFF7)


def stored_values(dataset: Any, frame: int, frames: int) -> tuple[np.ndarray, str]:
    """The values of one frame, and what they now mean.

    Args:
        dataset: A file whose description has been checked.
        frame: Which, from 0.
        frames: How many the file says that it has.

    Returns:
        Integers [H, W] with the name of their kind, or RGB uint8 or uint16 [H, W, 3].

    Raises:
        Unusable: They are damaged, or no plugin reads them. pydicom raises more than that.
    """
    from pydicom import uid
    from pydicom.pixels import get_decoder

    syntax = dataset.file_meta.TransferSyntaxUID
    checked = [
        uid.RLELossless, *uid.JPEGTransferSyntaxes, *uid.JPEGLSTransferSyntaxes,
        *uid.JPEG2000TransferSyntaxes,
    ]  # fmt: skip
    known = syntax in checked or (syntax in uid.AllTransferSyntaxes and not syntax.is_encapsulated)
    decoder = get_decoder(syntax) if known else None
    if decoder is None or not decoder.is_available:
        raise _unreadable(syntax)
    if syntax.is_encapsulated:
        _check_compressed(dataset, frame, frames)
    try:
        pixels, properties = decoder.as_array(dataset, index=frame, raw=False)
    except (NotImplementedError, RuntimeError):
        # pydicom's words for "every plugin failed", be it the data or the plugins.
        raise _unreadable(syntax) from None
    kind = str(properties["photometric_interpretation"])
    # Big-endian files give big-endian arrays.
    pixels = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))
    if kind not in (*MONOCHROME, PALETTE, "RGB") or (
        kind == "RGB" and pixels.dtype not in (np.uint8, np.uint16)
    ):
        raise Unusable("the DICOM pixels are not what the file says they are")
    return pixels, kind


def _unreadable(syntax: Any) -> Unusable:
    from pydicom.uid import AllTransferSyntaxes

    # The identifier of a syntax that is not known is any text.
    name = f"'{syntax.name}'" if syntax in AllTransferSyntaxes else "an unknown transfer syntax"
    return Unusable(
        f"the DICOM pixels ({name}) are damaged, or no installed plugin of pydicom reads them",
        "Save the file uncompressed, or install a plugin (python-gdcm reads JPEG-LS and lossless "
        "JPEG).",
    )


def _check_compressed(dataset: Any, index: int, frames: int) -> None:
    """Refuses data that would unpack to another size than the file says."""
    from pydicom.encaps import get_frame
    from pydicom.uid import RLELossless

    syntax = dataset.file_meta.TransferSyntaxUID
    frame = get_frame(dataset.PixelData, index, number_of_frames=frames)
    width, height = dataset.Columns, dataset.Rows
    if syntax == RLELossless:
        # At worst each byte is a run of its own; the rest is the header and padding.
        unpacked = width * height * dataset.SamplesPerPixel * dataset.BitsAllocated // 8
        fits = len(frame) <= 2 * unpacked + 128
    else:
        # A JP2 box, which does not belong here, could give another size than its content.
        if not frame.startswith((b"\xff\xd8\xff", b"\xff\x4f\xff\x51")):
            raise _unreadable(syntax)
        size = _size_of_jpeg(frame)
        if size is None:
            raise _unreadable(syntax)
        fits = size == (width, height, dataset.SamplesPerPixel)
    if not fits:
        raise Unusable("the compressed DICOM pixels are not of the size that the file says")


def _size_of_jpeg(frame: bytes) -> tuple[int, int, int] | None:
    """Width, height and components by the header of a JPEG, JPEG-LS or JPEG 2000 stream.

    Not by Pillow, which knows neither JPEG-LS nor a depth other than 8.
    """
    if frame.startswith(b"\xff\x4f"):
        right, bottom, left, top = struct.unpack(">4I", frame[8:24])
        return right - left, bottom - top, int.from_bytes(frame[40:42], "big")
    position = 2
    while position + 10 <= len(frame):
        marker, length = struct.unpack(">HH", frame[position : position + 4])
        if marker in _FRAME_HEADERS:
            height, width, components = struct.unpack(">HHB", frame[position + 5 : position + 10])
            return width, height, components
        if marker < 0xFF00:
            return None
        # A marker may have more FF before it, to fill up.
        position += 1 if marker == 0xFFFF else 2 + length
    return None
