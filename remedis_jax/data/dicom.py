"""A DICOM file becomes an 8-bit grey or RGB image, by these rules and no others.

* One image a file: several frames, and kinds of object that keep the window per frame, are
  refused. Uncompressed, deflated, RLE, JPEG and JPEG 2000 pixels are read where an installed plugin
  of pydicom reads them.
* Grey (MONOCHROME1, MONOCHROME2) of up to 16 bits becomes 8 bits as `data.dicom_levels` says: black
  to white over the file's own window, or over its own range where it names none.
* Colour is RGB of 8 bits: YBR is converted, palettes are looked up. Windows do not apply to
  colour, ICC profiles are not applied.
* Overlays are not drawn. Only what describes the pixels is read, so that neither a name nor an
  identifier of a patient can reach a message.
* Nothing is decoded before its size is known: rows and columns are held against Pillow's limit on
  pixels and against the header of the compressed data, a deflated file against a limit of bytes.
"""

import io
import re
import struct
import warnings
import zlib
from typing import Any

import numpy as np
from PIL import Image

from remedis_jax.data.decode import _Unusable
from remedis_jax.data.dicom_levels import (
    MONOCHROME,
    Display,
    Table,
    read_table,
    to_colours,
    to_grey,
)

_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_PALETTE = "PALETTE COLOR"
# ours: no deflated file of one image is near it.
_MOST_INFLATED = 2**27
_WARNERS = r"pydicom(\.|$)"
_TAGS = (
    "SamplesPerPixel PhotometricInterpretation PlanarConfiguration NumberOfFrames Rows Columns "
    "BitsAllocated BitsStored HighBit PixelRepresentation PixelPaddingValue "
    "PixelPaddingRangeLimit RescaleIntercept RescaleSlope ModalityLUTSequence WindowCenter "
    "WindowWidth VOILUTFunction VOILUTSequence RedPaletteColorLookupTableDescriptor "
    "GreenPaletteColorLookupTableDescriptor BluePaletteColorLookupTableDescriptor "
    "RedPaletteColorLookupTableData GreenPaletteColorLookupTableData "
    "BluePaletteColorLookupTableData AlphaPaletteColorLookupTableData "
    "SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence "
    "PixelData FloatPixelData DoubleFloatPixelData"
).split()
_REQUIRED = (
    "Rows", "Columns", "PhotometricInterpretation", "SamplesPerPixel", "BitsAllocated",
    "BitsStored", "PixelRepresentation",
)  # fmt: skip
# What reading a damaged file raises, over pydicom and the decoders that it calls.
_DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


def open_dicom(data: bytes) -> Image.Image:
    """Reads a DICOM file by the rules of this module.

    Args:
        data: The bytes of the file.

    Returns:
        An image of mode 'L' or 'RGB'.

    Raises:
        _Unusable: A rule refuses it, it is damaged, or pydicom is not installed.
    """
    _prepare_pydicom()
    from pydicom.errors import BytesLengthException, InvalidDicomError

    try:
        dataset = _read(data)
        _check_description(dataset)
        stored, kind = _decode(dataset)
        if kind in MONOCHROME:
            stored = to_grey(stored, _display(dataset))
        elif kind == _PALETTE:
            stored = to_colours(stored, _palette(dataset))
        return Image.fromarray(stored)
    except Image.DecompressionBombError:
        raise _too_many_pixels() from None
    except (*_DAMAGE, BytesLengthException, InvalidDicomError) as error:
        # The type alone: pydicom's texts quote values of the file.
        raise _Unusable(f"the DICOM file is damaged ({type(error).__name__})") from None


def _prepare_pydicom() -> None:
    """Imports pydicom and hides its warnings, which quote values of the file.

    For good, since `warnings.catch_warnings` is not safe in the threads that decode.
    """
    try:
        import pydicom.pixels  # noqa: F401
    except ImportError:
        raise _Unusable(
            "it is DICOM, and pydicom 3 is not installed", "pip install 'remedis_jax[dicom]'."
        ) from None
    if ("ignore", None, Warning, re.compile(_WARNERS), 0) not in warnings.filters:
        warnings.filterwarnings("ignore", module=_WARNERS)


def _read(data: bytes) -> Any:
    """The dataset as far as `_TAGS` go."""
    from pydicom import dcmread
    from pydicom.filereader import read_dataset
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    stream = io.BytesIO(data)
    stream.seek(132)
    meta = read_dataset(stream, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
    if "TransferSyntaxUID" not in meta:
        raise _Unusable("the DICOM file does not say how it is encoded (no transfer syntax)")
    if meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian:
        _check_inflated(data[stream.tell() :])
    return dcmread(io.BytesIO(data), specific_tags=list(_TAGS))


def _check_inflated(deflated: bytes) -> None:
    """Refuses what would unpack to too much, since pydicom unpacks without a limit."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    total, rest = 0, deflated
    while total <= _MOST_INFLATED and not inflater.eof:
        piece = inflater.decompress(rest, 2**20)
        total, rest = total + len(piece), inflater.unconsumed_tail
        if not piece and not rest:
            break
    if not inflater.eof:
        raise _Unusable(
            f"the deflated DICOM file is cut off or holds more than {_MOST_INFLATED >> 20} MiB",
            "Save it with another transfer syntax.",
        )


def _check_description(dataset: Any) -> None:
    """Refuses what the description alone tells to be outside the rules."""
    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
        raise _Unusable("DICOM pixels that are floats have no agreed reading as 8-bit grey")
    if not dataset.get("PixelData"):
        raise _Unusable("the DICOM file holds no pixels")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        raise _Unusable(f"the DICOM file holds {frames} frames", "Write one image per file.")
    missing = [name for name in _REQUIRED if dataset.get(name) is None]
    if missing:
        raise _Unusable(f"the DICOM file does not state its {', '.join(missing)}")
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if rows < 1 or columns < 1:
        raise _Unusable(f"the DICOM file says that it is {columns} x {rows} pixels")
    # Pillow's own setting, so that one rules every format.
    if Image.MAX_IMAGE_PIXELS is not None and rows * columns > 2 * Image.MAX_IMAGE_PIXELS:
        raise _too_many_pixels()
    kind, samples = dataset.PhotometricInterpretation, int(dataset.SamplesPerPixel)
    allocated, used = int(dataset.BitsAllocated), int(dataset.BitsStored)
    if kind in (*MONOCHROME, _PALETTE):
        possible = samples == 1 and allocated in (1, 8, 16) and 1 <= used <= allocated
    else:
        possible = kind in _COLOUR and samples == 3 and allocated == used == 8
    if not possible:
        # A kind that is not known is any text.
        kind = kind if kind in (*MONOCHROME, _PALETTE, *_COLOUR) else "another kind"
        raise _Unusable(
            f"DICOM pixels ({kind}, {samples} sample(s) of {used} in {allocated} bits) have no "
            "agreed reading as 8-bit grey or RGB",
            "Convert the file to grey of up to 16 bits or to RGB of 8.",
        )
    if kind in MONOCHROME and (
        "SharedFunctionalGroupsSequence" in dataset or "PerFrameFunctionalGroupsSequence" in dataset
    ):
        raise _Unusable(
            "the DICOM file is of a multi-frame kind, which keeps the window per frame",
            "Write it as a single-frame object.",
        )


def _too_many_pixels() -> _Unusable:
    return _Unusable("the image has too many pixels", "Cut it into tiles.")


def _decode(dataset: Any) -> tuple[np.ndarray, str]:
    """The stored values, integers [H, W] or RGB uint8 [H, W, 3], and what they now mean."""
    from pydicom import uid
    from pydicom.pixels import get_decoder

    syntax = dataset.file_meta.TransferSyntaxUID
    checked = [uid.RLELossless, *uid.JPEGTransferSyntaxes, *uid.JPEG2000TransferSyntaxes]
    known = syntax in checked or (syntax in uid.AllTransferSyntaxes and not syntax.is_encapsulated)
    decoder = get_decoder(syntax) if known else None
    if decoder is None or not decoder.is_available:
        raise _unreadable(syntax)
    if syntax.is_encapsulated:
        _check_compressed(dataset)
    try:
        pixels, properties = decoder.as_array(dataset, index=0, raw=False)
    except (NotImplementedError, RuntimeError):
        # pydicom's words for "every plugin failed", be it the data or the plugins.
        raise _unreadable(syntax) from None
    kind = str(properties["photometric_interpretation"])
    if kind not in (*MONOCHROME, _PALETTE, "RGB") or (kind == "RGB" and pixels.dtype != np.uint8):
        raise _Unusable("the DICOM pixels are not what the file says they are")
    return np.ascontiguousarray(pixels), kind


def _unreadable(syntax: Any) -> _Unusable:
    from pydicom.uid import AllTransferSyntaxes

    # The identifier of a syntax that is not known is any text.
    name = f"'{syntax.name}'" if syntax in AllTransferSyntaxes else "an unknown transfer syntax"
    return _Unusable(
        f"the DICOM pixels ({name}) are damaged, or no installed plugin of pydicom reads them",
        "Save the file uncompressed, or install a plugin (python-gdcm reads lossless JPEG).",
    )


def _check_compressed(dataset: Any) -> None:
    """Refuses data that would unpack to another size than the file says."""
    from pydicom.encaps import get_frame
    from pydicom.uid import RLELossless

    syntax = dataset.file_meta.TransferSyntaxUID
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    width, height = dataset.Columns, dataset.Rows
    if syntax == RLELossless:
        # At worst each byte is a run of its own; the rest is the header and padding.
        unpacked = width * height * dataset.SamplesPerPixel * dataset.BitsAllocated // 8
        fits = len(frame) <= 2 * unpacked + 128
    else:
        # A JP2 box, which does not belong here, could give another size than its content.
        if not frame.startswith((b"\xff\xd8\xff", b"\xff\x4f\xff\x51")):
            raise _unreadable(syntax)
        try:
            # Pillow reads the header alone.
            header = Image.open(io.BytesIO(frame), formats=("JPEG", "JPEG2000"))
        except Image.UnidentifiedImageError:
            raise _unreadable(syntax) from None
        fits = header.size == (width, height)
    if not fits:
        raise _Unusable("the compressed DICOM pixels are not of the size that the file says")


def _display(dataset: Any) -> Display:
    """What the file says of how its stored values are shown."""
    display = Display(inverted=dataset.PhotometricInterpretation == "MONOCHROME1")
    padding = [
        _stored_value(dataset, int(dataset.get(name)))
        for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")
        if dataset.get(name) is not None
    ]
    if "PixelPaddingValue" in dataset and padding:
        display.padding = min(padding), max(padding)
    if dataset.get("ModalityLUTSequence"):
        display.modality = _table(dataset, dataset.ModalityLUTSequence[0])
    else:
        if dataset.get("RescaleSlope") is not None:
            display.slope = float(dataset.RescaleSlope)
        if dataset.get("RescaleIntercept") is not None:
            display.intercept = float(dataset.RescaleIntercept)
    if dataset.get("VOILUTSequence"):
        display.table = _table(dataset, dataset.VOILUTSequence[0])
    elif dataset.get("WindowCenter") is not None and dataset.get("WindowWidth") is not None:
        display.window = tuple(
            float(element.value if element.VM == 1 else element.value[0])
            for element in (dataset["WindowCenter"], dataset["WindowWidth"])
        )
        display.window_shape = dataset.get("VOILUTFunction") or "LINEAR"
    return display


def _stored_value(dataset: Any, value: int) -> int:
    """A value that many files write as unsigned where the pixels are signed."""
    return value - 2**16 if dataset.PixelRepresentation == 1 and value >= 2**15 else value


def _table(dataset: Any, holder: Any, prefix: str = "LUT") -> Table:
    descriptor = list(holder[f"{prefix}Descriptor"].value)
    descriptor[1] = _stored_value(dataset, int(descriptor[1]))
    return read_table(
        descriptor,
        holder[f"{prefix}Data"].value,
        little_endian=dataset.file_meta.TransferSyntaxUID.is_little_endian,
    )


def _palette(dataset: Any) -> list[Table]:
    if "AlphaPaletteColorLookupTableData" in dataset:
        raise _Unusable("a DICOM palette with transparency has no agreed reading")
    if "RedPaletteColorLookupTableData" not in dataset:
        raise _Unusable("the DICOM palette is segmented or missing", "Convert the file to RGB.")
    return [
        _table(dataset, dataset, f"{colour}PaletteColorLookupTable")
        for colour in ("Red", "Green", "Blue")
    ]
