"""An image as its file has it, before the rules of `data.decode`; and why a file has none."""

import dataclasses
import struct
import zlib

import numpy as np

from remedis_jax.data.reading import Reading

# Below this the 16-bit scale would leave at most 16 of the 256 levels.
DARKEST_PEAK = 4096

# What reading a damaged file raises, over Pillow, pydicom and the decoders that they call.
DAMAGE = (
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


class Unusable(Exception):
    """Why an image cannot be used; the caller knows the file and the row."""

    def __init__(self, reason: str, remedy: str = "Replace the file or leave the row out."):
        self.reason = reason
        self.remedy = remedy
        super().__init__(reason)


@dataclasses.dataclass
class Native:
    """An image as its file has it.

    Attributes:
        pixels: uint8 or uint16, [H, W] or [H, W, 3], upright; None where they cannot be had.
        width: Pixels of the whole upright image, whatever scale it was decoded at.
        height: As `width`.
        bits: Of a channel in the file, 1 to 16.
        mode: What the file calls its pixels, such as 'RGB' or 'MONOCHROME1'.
        frames: Images in the file.
        burned_in: Whether a DICOM file says that text is burned into its pixels; None where it
            says nothing.
    """

    pixels: np.ndarray | None = None
    width: int = 0
    height: int = 0
    bits: int = 8
    mode: str = ""
    frames: int = 1
    burned_in: bool | None = None


def choose_frame(frames: int, reading: Reading, frame: int | None) -> int:
    """Which of `frames` images is meant, from 0.

    Raises:
        Unusable: Nothing says, or there is no such one.
    """
    if frame is not None:
        if not 0 <= frame < frames:
            raise Unusable(
                f"the file holds {frames} image(s) and no frame {frame}",
                "Frames are counted from 0.",
            )
        return frame
    if frames > 1 and reading.frames == "error":
        raise Unusable(
            f"the file holds {frames} pages or frames",
            "Name one with FILE#frame=N, or choose data.frames=first or middle.",
        )
    return frames // 2 if reading.frames == "middle" else 0


def refuse_unscaled(pixels: np.ndarray) -> None:
    """Refuses pixels that are likely less than 16 bits, as nothing says what their white is.

    Args:
        pixels: uint16 of any shape.

    Raises:
        Unusable: The largest is not 0 and under `DARKEST_PEAK`.
    """
    peak = int(pixels.max())
    if 0 < peak < DARKEST_PEAK:
        raise Unusable(
            f"16-bit pixels go up to {peak} of 65535 only, so the file is likely 12-bit or less",
            "Scale it to the full 16-bit range (multiply 12-bit data by 16), or save 8 bits.",
        )
