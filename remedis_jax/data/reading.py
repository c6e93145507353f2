"""How an encoded image becomes pixels: the choices that the data leave open, in one place."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from remedis_jax.errors import UserError

WINDOWS = ("file", "full")
FRAMES = ("error", "first", "middle")


def read_window(text: str) -> str | tuple[float, ...]:
    """A DICOM window as configs and commands write it: file, full, or CENTRE,WIDTH.

    Raises:
        UserError: It is none of these.
    """
    if text in WINDOWS:
        return text
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise UserError(
            f"The DICOM window is {text!r}.", "Use file, full, or CENTRE,WIDTH."
        ) from None


@dataclasses.dataclass(frozen=True)
class Reading:
    """The rules by which `remedis_jax.data.decode` reads an image.

    They travel with the weights, so that an image is read for a prediction as it was for training.

    Attributes:
        channels: 1 or 3.
        to_grey: Turn colour to luma where `channels` is 1, instead of refusing it.
        bits: 8 for uint8 pixels, 16 for uint16; an 8-bit image is then multiplied by 257.
        window: What of a grey DICOM image is black and white. 'file': its own VOI table or window,
            or its own range where it has neither; 'full': its own range; (centre, width) in
            modality units, such as Hounsfield units.
        frames: Which image of a file of several is read, where its name does not say: 'error' for
            none, 'first' or 'middle'.
        reduced: The fast way to the working size: a JPEG is decoded at a half, three eighths, a
            quarter or an eighth of its size where that is no smaller, antialiased by the codec,
            and any image is resampled to the mean over areas (`data.resample`).

    Raises:
        UserError: A value is not possible.
    """

    channels: int = 3
    to_grey: bool = False
    bits: int = 8
    window: str | tuple[float, float] = "file"
    frames: str = "error"
    reduced: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.window, list):  # as JSON has it
            object.__setattr__(self, "window", tuple(self.window))
        if self.channels not in (1, 3) or self.bits not in (8, 16) or self.frames not in FRAMES:
            raise UserError(
                f"Images cannot be read with channels={self.channels}, bits={self.bits}, "
                f"frames={self.frames!r}.",
                f"channels is 1 or 3, bits 8 or 16, frames {', '.join(map(repr, FRAMES))}.",
            )
        stated = isinstance(self.window, tuple) and len(self.window) == 2
        if not (
            self.window in WINDOWS
            or (stated and all(map(math.isfinite, self.window)) and self.window[1] >= 1)
        ):
            raise UserError(
                f"The DICOM window {self.window!r} is not possible.",
                "Use 'file', 'full', or (centre, width) with a width of 1 or more.",
            )

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Reading":
        """From what `to_json` returned."""
        return cls(**values)


# Colour of 8 bits a channel, by the default rules.
EIGHT_BIT_COLOUR = Reading()
