"""Many tiles of slides at once, as arrays: a million of them are named and checked in seconds."""

import dataclasses
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

from remedis_jax.data.manifest import Manifest
from remedis_jax.data.slide_store import SlideTilesStore
from remedis_jax.data.slides import SCALE_TOLERANCE, Slide, SlideFacts
from remedis_jax.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class TileSet:
    """Many tiles of slides.

    Attributes:
        slides: File of each slide, text [N].
        x: int64 [N].
        y: int64 [N].
        size: int64 [N].
        scale: What `value` is, as for `Tile`: 'level', 'mpp' or 'span'.
        value: int64 or float64 [N].
    """

    slides: np.ndarray
    x: np.ndarray
    y: np.ndarray
    size: np.ndarray
    scale: str
    value: np.ndarray

    def names(self) -> list[str]:
        """Name of each tile."""
        numbers = zip(self.size.tolist(), self.value.tolist(), strict=True)
        ends = [f"size={size},{self.scale}={value}" for size, value in numbers]
        places = zip(self.slides, self.x.tolist(), self.y.tolist(), ends, strict=True)
        return [f"{slide}#x={x},y={y},{end}" for slide, x, y, end in places]

    def problems(self, facts: Mapping[str, SlideFacts]) -> Iterator[tuple[str, str, np.ndarray]]:
        """What hinders tiles from being cut from their slides, a remedy, and which, bool [N].

        Args:
            facts: Of every slide, by its file.
        """
        codes, slides = pd.factorize(self.slides)
        of = [facts[slide] for slide in slides]
        outside = (self.x >= np.array([f.width for f in of])[codes]) | (
            self.y >= np.array([f.height for f in of])[codes]
        )
        yield "begins outside its slide", "Coordinates are in pixels of level 0.", outside
        if self.scale == "level":
            levels = np.array([len(f.downsamples) for f in of])[codes]
            yield (
                "is of a level that its slide does not have",
                "Levels count from 0; data.tiles.mpp works whatever levels there are.",
                self.value >= levels,
            )
        if self.scale == "mpp":
            own = np.array([min(f.mpp) if f.mpp else np.nan for f in of])[codes]
            yield (
                "is given by mpp, and its slide does not say its own",
                "Set data.tiles.level, or leave the slides out.",
                np.isnan(own),
            )
            yield (
                "has fewer micrometres per pixel than its slide",
                "Choose a larger data.tiles.mpp, or leave the slides out.",
                self.value < (1 - SCALE_TOLERANCE) * own,
            )


def refuse_outside(manifest: Manifest, tiles: TileSet, store: SlideTilesStore) -> None:
    """Opens every slide once and refuses tiles that cannot be cut from it.

    Args:
        manifest: N rows.
        tiles: Of each row.
        store: Where the slides lie.

    Raises:
        UserError: A slide cannot be read, or a tile is not on it, with its row.
    """
    slides, first = np.unique(tiles.slides.astype(str), return_index=True)

    def look(slide: str, row: int) -> SlideFacts:
        try:
            opened = Slide(store.slide_path(slide))
        except UserError as error:
            raise UserError(f"{manifest.path}: row {row}: {error.problem}", error.remedy) from None
        opened.close()
        return opened.facts

    names = slides.tolist()
    # Waiting for disks, mostly.
    with ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as pool:
        found = pool.map(look, names, manifest.rows[first].tolist())
        facts = dict(zip(names, found, strict=True))
    for problem, remedy, bad in tiles.problems(facts):
        at = np.flatnonzero(bad)
        images = manifest.images if len(at) else []
        rows = [f"{manifest.rows[i]} ({images[i]})" for i in at.tolist()]
        manifest.refuse(rows, f"the tile {problem} in", remedy)
