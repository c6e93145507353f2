"""Tiles of whole slides by name, read when they are wanted.

A name holds all that there is to know of a tile: ``a/slide.svs#x=0,y=512,size=256,level=0``, with
``mpp=0.5`` (micrometres per pixel) or ``span=1024`` (pixels of level 0 that it covers) in place of
the level.
"""

import dataclasses
import os
import re
import threading
from collections import OrderedDict
from typing import Any

import numpy as np

from remedis_jax.data.slides import Slide, SlideFacts
from remedis_jax.data.stores import FolderStore
from remedis_jax.errors import UserError

# ours: slides that a thread keeps open; each is a few file handles and a table of its tiles.
KEPT_OPEN = 4
_NAME = re.compile(
    r"(?P<slide>.+)#x=(?P<x>\d+),y=(?P<y>\d+),size=(?P<size>\d+),"
    r"(?:level=(?P<level>\d+)|mpp=(?P<mpp>[\d.e+-]+)|span=(?P<span>\d+))"
)


@dataclasses.dataclass(frozen=True)
class Tile:
    """A square of a slide; one of `level`, `mpp` and `span` says how much it covers.

    Attributes:
        slide: File of the slide, relative to the store's folder.
        x: Left edge, in pixels of level 0.
        y: Upper edge, in pixels of level 0.
        size: Side in pixels.
        level: Level that it is read from.
        mpp: Micrometres per pixel.
        span: Side in pixels of level 0.
    """

    slide: str
    x: int
    y: int
    size: int
    level: int | None = None
    mpp: float | None = None
    span: int | None = None

    @classmethod
    def from_name(cls, name: str) -> "Tile | None":
        """The tile of a name; None where it names none."""
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        numbers = {
            key: float(text) if key == "mpp" else int(text)
            for key, text in found.groupdict().items()
            if key != "slide" and text is not None
        }
        return cls(found["slide"], **numbers)

    def covers(self, facts: SlideFacts) -> tuple[float, float]:
        """Its width and height in pixels of level 0; it must be given by `mpp` or `span`."""
        if self.span is not None:
            return float(self.span), float(self.span)
        return self.size * self.mpp / facts.mpp[0], self.size * self.mpp / facts.mpp[1]


class SlideTilesStore:
    """Tiles of slides. Each thread keeps the slides open that it has read last.

    Args:
        folder: Where the paths of slides start.
    """

    def __init__(self, folder: str | os.PathLike):
        self._files = FolderStore(folder)
        self._local = threading.local()

    @property
    def bits(self) -> int:
        """Bits of every pixel."""
        return 8

    def slide_path(self, slide: str) -> str:
        """The file of a slide."""
        return os.path.join(self._files.folder, slide)

    def read(self, name: str) -> np.ndarray:
        """The pixels of a tile, uint8 [size, size, 3].

        Raises:
            UserError: There is no such tile, or its slide cannot be read.
        """
        tile = Tile.from_name(name)
        if tile is None:
            raise UserError(f"{name}: is no tile of a slide.", "Open the table of tiles again.")
        slide = self._slide(tile.slide)
        if tile.mpp is not None and slide.facts.mpp is None:
            raise UserError(f"{name}: the slide does not say its scale.", "Name a level instead.")
        if tile.level is not None:
            return slide.region(tile.x, tile.y, tile.level, tile.size, tile.size)
        return slide.square(tile.x, tile.y, tile.size, tile.covers(slide.facts))

    def head(self, name: str, length: int) -> np.ndarray:
        return self.read(name)

    def size(self, name: str) -> int:
        """Bytes of the whole slide, which changes when a tile does."""
        slide, mark, _ = name.rpartition("#x=")
        return self._files.size(slide) if mark else -1

    def stamp(self, name: str) -> str:
        slide, mark, _ = name.rpartition("#x=")
        return self._files.stamp(slide) if mark else "absent"

    def _slide(self, name: str) -> Slide:
        kept: OrderedDict[str, Slide] | None = getattr(self._local, "slides", None)
        if kept is None:
            kept = self._local.slides = OrderedDict()
        if name not in kept:
            kept[name] = Slide(self.slide_path(name))
            if len(kept) > KEPT_OPEN:
                kept.popitem(last=False)[1].close()
        kept.move_to_end(name)
        return kept[name]

    def __getstate__(self) -> dict[str, Any]:
        return {"_files": self._files}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._local = threading.local()
