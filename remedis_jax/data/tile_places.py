"""Where the tiles of a slide are, from the HDF5 file that a tiling tool wrote for it.

`coords` [N, 2] are the upper left corners in pixels of level 0. Its attributes say how large a tile
is: CLAM by `patch_size` pixels of the level `patch_level`; TRIDENT by `patch_size` pixels that
cover `patch_size_level0` pixels of level 0.
"""

import dataclasses
import os

import numpy as np

from remedis_jax.data.h5_files import attributes, find_array, open_h5
from remedis_jax.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class TilePlaces:
    """The tiles of one slide.

    Attributes:
        coords: int64 [N, 2]: x, y in pixels of level 0.
        size: Side of a tile in pixels, as it is read; 0 where the file does not say.
        scale: What `value` is: 'level' that a tile is read from, or 'span', its side in pixels of
            level 0; '' where the file does not say.
        value: As `scale` says.
    """

    coords: np.ndarray
    size: int = 0
    scale: str = ""
    value: float = 0


def read_places(path: str | os.PathLike) -> TilePlaces:
    """Reads the tiles of one slide.

    Raises:
        UserError: The file is missing or damaged, or its coordinates are not as described.
    """
    with open_h5(path) as file:
        found = find_array(file, ("coords",), "iuf", path)
        if found is None or found.ndim != 2 or found.shape[1] != 2 or not found.shape[0]:
            shape = "absent" if found is None else f"of shape {list(found.shape)}"
            raise UserError(
                f"{path}: 'coords' is {shape}, not [tiles, 2].", "Tile the slide again."
            )
        try:
            coords = found[:]
        except OSError:
            raise UserError(f"{path}: is damaged.", "Tile the slide again.") from None
        attrs = attributes(file, found)
    whole = coords.astype(np.int64)
    if (whole != coords).any() or (whole < 0).any() or attrs.get("unit", "px") != "px":
        raise UserError(
            f"{path}: 'coords' are not pixels of level 0.",
            "Give the coordinates that TRIDENT or CLAM wrote.",
        )
    # Pixels of level 0 first: they are more exact, where a tool writes both.
    for scale, name in (("span", "patch_size_level0"), ("level", "patch_level")):
        size, value = _whole(attrs, "patch_size"), _whole(attrs, name)
        if size and value is not None and (value or scale == "level"):
            return TilePlaces(whole, size, scale, value)
    return TilePlaces(whole)


def _whole(attrs: dict, name: str) -> int | None:
    value = attrs.get(name)
    return int(value) if isinstance(value, int | float) and float(value).is_integer() else None
