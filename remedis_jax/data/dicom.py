"""A DICOM file becomes a grey or RGB image, by these rules and no others.

* One frame: the one that is asked for, see `data.reading.Reading.frames`. Objects of several frames
  may keep rescaling and window in their functional groups; those of the frame come before those
  that all frames share, and these before what the file says as a whole.
* Uncompressed, deflated, RLE, JPEG, JPEG-LS and JPEG 2000 pixels are read where an installed plugin
  of pydicom reads them.
* Grey (MONOCHROME1, MONOCHROME2) of up to 16 bits becomes 8 or 16 bits as `data.dicom_levels` says:
  black to white over the file's own window, or over its own range where it names none, unless
  `data.reading.Reading.window` says otherwise.
* Colour is RGB of 8 or 16 bits: YBR is converted, palettes are looked up. Windows do not apply to
  colour, ICC profiles are not applied.
* Overlays are not drawn. Only what describes the pixels is read, so that neither a name nor an
  identifier of a patient can reach a message.
* Nothing is decoded before its size is known: rows and columns are held against Pillow's limit on
  pixels and against the header of the compressed data, a deflated file against a limit of bytes.
"""

import io
import re
import warnings
import zlib
from typing import Any

from PIL import Image

from remedis_jax.data.dicom_levels import (
    MONOCHROME,
    Display,
    Table,
    read_table,
    to_colours,
    to_grey,
)
from remedis_jax.data.dicom_pixels import PALETTE, stored_values
from remedis_jax.data.native import DAMAGE, Native, Unusable, choose_frame
from remedis_jax.data.reading import Reading

_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
# pydicom converts the others of 8 bits only; of these two the decoder of JPEG 2000 makes RGB.
_DEEP_COLOUR = ("RGB", "YBR_ICT", "YBR_RCT")
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
    "SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence BurnedInAnnotation "
    "PixelData FloatPixelData DoubleFloatPixelData"
).split()
_REQUIRED = (
    "Rows", "Columns", "PhotometricInterpretation", "SamplesPerPixel", "BitsAllocated",
    "BitsStored", "PixelRepresentation",
)  # fmt: skip


def open_dicom(data: bytes, reading: Reading, frame: int | None, native: Native) -> None:
    """Reads one image of a DICOM file by the rules of this module.

    Args:
        data: The bytes of the file.
        reading: The rules that are open.
        frame: Which of its images, from 0; None for what `reading` says.
        native: Is filled, as far as the reading gets: pixels uint8 or uint16 [H, W], or uint8
            or uint16 [H, W, 3].

    Raises:
        Unusable: A rule refuses it, it is damaged, or pydicom is not installed.
    """
    _prepare_pydicom()
    from pydicom.errors import BytesLengthException, InvalidDicomError

    try:
        dataset = _read(data)
        native.burned_in = {"YES": True, "NO": False}.get(str(dataset.get("BurnedInAnnotation")))
        _check_description(dataset)
        native.width, native.height = int(dataset.Columns), int(dataset.Rows)
        native.bits, native.mode = int(dataset.BitsStored), dataset.PhotometricInterpretation
        native.frames = int(dataset.get("NumberOfFrames") or 1)
        chosen = choose_frame(native.frames, reading, frame)
        stored, kind = stored_values(dataset, chosen, native.frames)
        if kind in MONOCHROME:
            display = _display(dataset, chosen)
            if reading.window != "file":
                display.table = None
                display.window = None if reading.window == "full" else reading.window
                display.window_shape = "LINEAR"
            stored = to_grey(stored, display, reading.bits)
        elif kind == PALETTE:
            stored = to_colours(stored, _palette(dataset))
        native.pixels = stored
    except Image.DecompressionBombError:
        raise _too_many_pixels() from None
    except (*DAMAGE, BytesLengthException, InvalidDicomError) as error:
        # The type alone: pydicom's texts quote values of the file.
        raise Unusable(f"the DICOM file is damaged ({type(error).__name__})") from None


def depth_of_dicom(head: bytes) -> int:
    """8 or 16, by the beginning of a file; 16 where what is there does not reach so far.

    Most grey DICOM files have more than 8 bits, and no harm is done to those that have not.
    """
    _prepare_pydicom()
    from pydicom import dcmread
    from pydicom.errors import BytesLengthException, InvalidDicomError

    try:
        dataset = dcmread(io.BytesIO(head), specific_tags=["BitsStored"], stop_before_pixels=True)
        return 8 if 1 <= int(dataset.get("BitsStored") or 16) <= 8 else 16
    except (*DAMAGE, BytesLengthException, InvalidDicomError):
        return 16


def _prepare_pydicom() -> None:
    """Imports pydicom and hides its warnings, which quote values of the file.

    For good, since `warnings.catch_warnings` is not safe in the threads that decode.
    """
    try:
        import pydicom.pixels  # noqa: F401
    except ImportError:
        raise Unusable(
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
        raise Unusable("the DICOM file does not say how it is encoded (no transfer syntax)")
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
        raise Unusable(
            f"the deflated DICOM file is cut off or holds more than {_MOST_INFLATED >> 20} MiB",
            "Save it with another transfer syntax.",
        )


def _check_description(dataset: Any) -> None:
    """Refuses what the description alone tells to be outside the rules."""
    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
        raise Unusable("DICOM pixels that are floats have no agreed reading as grey")
    if not dataset.get("PixelData"):
        raise Unusable("the DICOM file holds no pixels")
    if int(dataset.get("NumberOfFrames") or 1) < 1:
        raise Unusable("the DICOM file says that it has no frame")
    missing = [name for name in _REQUIRED if dataset.get(name) is None]
    if missing:
        raise Unusable(f"the DICOM file does not state its {', '.join(missing)}")
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if rows < 1 or columns < 1:
        raise Unusable(f"the DICOM file says that it is {columns} x {rows} pixels")
    # Pillow's own setting, so that one rules every format.
    if Image.MAX_IMAGE_PIXELS is not None and rows * columns > 2 * Image.MAX_IMAGE_PIXELS:
        raise _too_many_pixels()
    kind, samples = dataset.PhotometricInterpretation, int(dataset.SamplesPerPixel)
    allocated, used = int(dataset.BitsAllocated), int(dataset.BitsStored)
    if kind in (*MONOCHROME, PALETTE):
        possible = samples == 1 and allocated in (1, 8, 16) and 1 <= used <= allocated
    else:
        deepest = 16 if kind in _DEEP_COLOUR else 8
        possible = kind in _COLOUR and samples == 3 and allocated == used in (8, deepest)
    if not possible:
        # A kind that is not known is any text.
        kind = kind if kind in (*MONOCHROME, PALETTE, *_COLOUR) else "another kind"
        raise Unusable(
            f"DICOM pixels ({kind}, {samples} sample(s) of {used} in {allocated} bits) have no "
            "agreed reading as grey or RGB",
            "Convert the file to grey of up to 16 bits or to RGB of 8 or 16.",
        )


def _too_many_pixels() -> Unusable:
    return Unusable("the image has too many pixels", "Cut it into tiles.")


def _display(dataset: Any, frame: int) -> Display:
    """What the file says of how the stored values of a frame are shown."""
    display = Display(inverted=dataset.PhotometricInterpretation == "MONOCHROME1")
    padding = [
        _stored_value(dataset, int(dataset.get(name)))
        for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")
        if dataset.get(name) is not None
    ]
    if "PixelPaddingValue" in dataset and padding:
        display.padding = min(padding), max(padding)
    values = _group(dataset, frame, "PixelValueTransformationSequence")
    if dataset.get("ModalityLUTSequence"):
        display.modality = _table(dataset, dataset.ModalityLUTSequence[0])
    else:
        if values.get("RescaleSlope") is not None:
            display.slope = float(values.RescaleSlope)
        if values.get("RescaleIntercept") is not None:
            display.intercept = float(values.RescaleIntercept)
    window = _group(dataset, frame, "FrameVOILUTSequence")
    if window.get("VOILUTSequence"):
        display.table = _table(dataset, window.VOILUTSequence[0])
    elif window.get("WindowCenter") is not None and window.get("WindowWidth") is not None:
        display.window = tuple(
            float(element.value if element.VM == 1 else element.value[0])
            for element in (window["WindowCenter"], window["WindowWidth"])
        )
        display.window_shape = window.get("VOILUTFunction") or "LINEAR"
    return display


def _group(dataset: Any, frame: int, name: str) -> Any:
    """Where a functional group of a frame stands: of its own, of all frames, or of the file."""
    of_frames = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    shared = dataset.get("SharedFunctionalGroupsSequence") or ()
    for holder in (*of_frames[frame : frame + 1], *shared[:1]):
        if holder.get(name):
            return holder[name].value[0]
    return dataset


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
        raise Unusable("a DICOM palette with transparency has no agreed reading")
    if "RedPaletteColorLookupTableData" not in dataset:
        raise Unusable("the DICOM palette is segmented or missing", "Convert the file to RGB.")
    return [
        _table(dataset, dataset, f"{colour}PaletteColorLookupTable")
        for colour in ("Red", "Green", "Blue")
    ]
