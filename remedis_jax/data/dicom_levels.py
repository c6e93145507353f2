"""From the stored values of a DICOM image to 8 or 16 bits.

Grey goes through the display pipeline of PS3.3 C.11:

1. Modality: the look-up table if the file has one, else `value * slope + intercept` (1 and 0 where
   absent).
2. Black and white: the first VOI look-up table if the file has one, else its first window, else
   the smallest and largest value of the image (`data.reading.Reading.window` may say otherwise).
3. MONOCHROME1 is inverted, so that high is bright in every image.
4. Padding (Pixel Padding Value, to its Range Limit) is black whatever comes of the above, and
   takes no part in the smallest and largest value. An image of one value is black.

A palette's colours are looked up; 16-bit entries are read by their high byte.

Stored values have at most 16 bits, so each is worked out once, however many pixels have it.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from remedis_jax.data.native import DARKEST_PEAK, Unusable

MONOCHROME = ("MONOCHROME1", "MONOCHROME2")
_WINDOW_SHAPES = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
# Indices take eight times the memory of bytes: so many pixels at a time.
_BLOCK = 2**20


@dataclasses.dataclass(frozen=True)
class Table:
    """A look-up table of a DICOM file.

    Attributes:
        entries: unsigned integers [n].
        first: The value that the first entry is for; those below have it too, those beyond the
            last entry have the last.
        bits: Of the entries, which range from 0 to 2**bits - 1.
    """

    entries: np.ndarray
    first: int
    bits: int

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Entries of values, same shape; values that are not whole are rounded."""
        index = np.rint(values).astype(np.int64) - self.first
        return self.entries[index.clip(0, self.entries.size - 1)]


def read_table(descriptor: Any, data: Any, *, little_endian: bool) -> Table:
    """A look-up table from its descriptor and data, as pydicom returns their values.

    Raises:
        Unusable: It is not one.
    """
    count, first, bits = (int(value) for value in descriptor)
    count = count or 2**16
    if isinstance(data, bytes):
        packed = len(data) < 2 * count and len(data) in (count, count + 1)
        kind = np.dtype("u1" if packed else "<u2" if little_endian else ">u2")
        data = np.frombuffer(data[: len(data) // kind.itemsize * kind.itemsize], kind)
    entries = np.asarray(data).astype(np.int64).ravel()[:count]
    if entries.size < count or not 8 <= bits <= 16 or entries.min() < 0 or entries.max() >> bits:
        raise Unusable("a look-up table of the DICOM file is damaged")
    return Table(entries, first, bits)


@dataclasses.dataclass
class Display:
    """How a file says that its stored values are shown.

    Attributes:
        inverted: Low values are bright (MONOCHROME1).
        padding: First and last stored value that stand for no image, or None.
        modality: First table, or None for `slope` and `intercept`.
        slope: See this module.
        intercept: See this module.
        table: The VOI table, or None.
        window: Centre and width, or None; not read where there is a table.
        window_shape: 'LINEAR', 'LINEAR_EXACT' or 'SIGMOID'.
    """

    inverted: bool = False
    padding: tuple[int, int] | None = None
    modality: Table | None = None
    slope: float = 1.0
    intercept: float = 0.0
    table: Table | None = None
    window: tuple[float, float] | None = None
    window_shape: str = "LINEAR"


def to_grey(stored: np.ndarray, display: Display, bits: int = 8) -> np.ndarray:
    """The image as it is shown.

    Args:
        stored: integers [H, W] of at most 16 bits.
        display: What the file says.
        bits: 8 or 16, of the result.

    Returns:
        uint8 or uint16 [H, W].

    Raises:
        Unusable: The image is all padding, or a number of `display` makes no sense.
    """

    def render(levels: np.ndarray, present: np.ndarray) -> np.ndarray:
        shown = np.ones(levels.size, bool)
        if display.padding is not None:
            shown = (levels < display.padding[0]) | (levels > display.padding[1])
        if not (present & shown).any():
            raise Unusable("every pixel of the DICOM file is padding")
        # Rounded twice: a file and its inverted twin differ in the last bit of the quotient, and
        # a half must not go up in one and down in the other.
        grey = np.rint(np.round(white * _brightness(levels, present & shown, display), 6))
        return np.where(shown, grey, 0).clip(0, white).astype(dtype)

    dtype = np.uint8 if bits == 8 else np.uint16
    white = np.iinfo(dtype).max
    return _by_level(stored, render)


def to_colours(stored: np.ndarray, palette: Sequence[Table]) -> np.ndarray:
    """Looks up red, green and blue.

    Args:
        stored: integers [H, W] of at most 16 bits.
        palette: Three tables.

    Returns:
        uint8 [H, W, 3].

    Raises:
        Unusable: The entries are less than 12 bits of 16, and would come out all but black.
    """
    deepest = max(int(table.entries.max()) for table in palette)
    if palette[0].bits > 8 and 0 < deepest < DARKEST_PEAK:
        raise Unusable(f"the 16-bit palette of the DICOM file goes up to {deepest} of 65535 only")

    def render(levels: np.ndarray, present: np.ndarray) -> np.ndarray:
        return np.stack(
            [(table(levels) >> (table.bits - 8)).astype(np.uint8) for table in palette], axis=-1
        )

    return _by_level(stored, render)


def _by_level(
    stored: np.ndarray, render: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """`render` makes pixels of every value from least to greatest, told which of them occur."""
    lowest = int(stored.min())
    levels = np.arange(lowest, int(stored.max()) + 1)
    present = np.zeros(levels.size, bool)
    for rows in _blocks(stored):
        present[stored[rows].astype(np.intp) - lowest] = True
    rendered = render(levels, present)
    image = np.empty(stored.shape + rendered.shape[1:], rendered.dtype)
    for rows in _blocks(stored):
        image[rows] = rendered[stored[rows].astype(np.intp) - lowest]
    return image


def _blocks(stored: np.ndarray) -> Iterator[slice]:
    height = max(1, _BLOCK // stored.shape[1])
    return (slice(top, top + height) for top in range(0, stored.shape[0], height))


def _brightness(levels: np.ndarray, counted: np.ndarray, display: Display) -> np.ndarray:
    """Of each stored value, 0 for black to 1 for white; beyond that where it is not `counted`."""
    if display.modality is not None:
        values = display.modality(levels)
    elif display.slope and np.isfinite([display.slope, display.intercept]).all():
        values = levels * display.slope + display.intercept
    else:
        raise Unusable(
            f"the DICOM file rescales by {display.slope:g} and {display.intercept:g}",
            "Correct its Rescale Slope and Rescale Intercept.",
        )
    if display.table is not None:
        share = display.table(values) / (2**display.table.bits - 1)
    elif display.window is not None:
        share = _through_window(values, *display.window, display.window_shape)
    else:
        low, high = values[counted].min(), values[counted].max()
        if low == high:
            return np.zeros(levels.size)
        share = (values - low) / (high - low)
    return 1 - share if display.inverted else share


def _through_window(values: np.ndarray, center: float, width: float, shape: str) -> np.ndarray:
    from pydicom.dataset import Dataset
    from pydicom.pixels import apply_windowing

    narrowest = 1 if shape == "LINEAR" else 0
    if (
        shape not in _WINDOW_SHAPES
        or not np.isfinite([center, width]).all()
        or width < narrowest
        or width == 0
    ):
        raise Unusable(
            f"the DICOM file's window has centre {center:g} and width {width:g}",
            "Correct Window Center and Window Width, or remove them.",
        )
    # Told nothing of the image, pydicom maps the window to 0..255 whatever the sign of the slope.
    window = Dataset()
    window.PhotometricInterpretation = "MONOCHROME2"
    window.PixelRepresentation, window.BitsStored = 0, 8
    window.VOILUTFunction = shape
    window.WindowCenter, window.WindowWidth = (_decimal(number) for number in (center, width))
    with np.errstate(over="ignore"):  # exp of the far side of a sigmoid: infinity is meant
        return apply_windowing(values, window) / 255


def _decimal(number: float) -> str:
    """As DICOM writes numbers: at most 16 characters."""
    return f"{number:.9g}"
