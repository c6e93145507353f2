"""JPEG files by libjpeg-turbo itself, which takes half the time that Pillow takes around it."""

import numpy as np
import simplejpeg
from PIL import Image

# A half, three eighths, a quarter or an eighth. At the scales between a half and the whole the
# codec has no vector code and takes longer than for the whole.
_LEAST_FACTOR = 2


def decode_jpeg(data: bytes, image: Image.Image, at_least: int | None) -> np.ndarray:
    """The pixels of a JPEG file, as stored; of the whole, to the bit what Pillow makes of it.

    What Pillow does not mind is refused too: a stream that ends early or holds wrong codes.

    Args:
        data: The bytes of the file.
        image: What Pillow says of it, of mode 'L' or 'RGB'; not yet loaded.
        at_least: Neither side of the result is made smaller than this; None for the whole.

    Returns:
        uint8 [H, W] or [H, W, 3].

    Raises:
        ValueError: It is damaged.
    """
    smallest = {}
    if at_least is not None:
        smallest = {"min_height": at_least, "min_width": at_least, "min_factor": _LEAST_FACTOR}
    grey = image.mode == "L"
    pixels = simplejpeg.decode_jpeg(data, "GRAY" if grey else "RGB", strict=True, **smallest)
    return pixels[:, :, 0] if grey else pixels
