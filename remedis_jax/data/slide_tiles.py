"""A table of places on slides as a manifest of tiles.

The table is a .csv or .parquet file; which of its columns say what is given by the mapping `tiles`:

* slide: column of the slide's file, relative to the table's folder ('slide').
* x, y: columns of the upper left corner in pixels of level 0, as openslide counts ('x', 'y').
* size: side of a tile in pixels: a number or a column (column 'size' if there is one, else 256).
* level, or mpp: which level of the slide a tile is read from, or how many micrometres a pixel of it
  covers: a number or a column (column 'level' or 'mpp' if there is one, else level 0).
* coords: in place of x and y; the table has a row per slide, and a tiling tool's HDF5 file holds
  the places (`remedis_jax.data.tile_places`): the column that names it, or the folder where it is
  called as the slide is (TRIDENT adds '_patches'). The tile's size then comes from it, too; rows
  are counted by tiles.

A tile is named by what it is, ``a/slide.svs#x=1024,y=2048,size=256,level=0``. Tiles that reach
beyond the right or lower edge are filled up with white; those that begin beyond it are refused.
"""

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import pandas as pd

from remedis_jax.data.made_manifest import made_manifest
from remedis_jax.data.manifest import FIRST_ROW, Columns, Manifest, require_columns
from remedis_jax.data.messages import did_you_mean
from remedis_jax.data.slide_store import SlideTilesStore
from remedis_jax.data.stores import FolderStore
from remedis_jax.data.tables import read_csv, read_parquet
from remedis_jax.data.tile_places import TilePlaces, read_places
from remedis_jax.data.tile_sets import TileSet, refuse_outside
from remedis_jax.errors import UserError

# CLAM's own default.
SIZE = 256
_KEYS = ("slide", "x", "y", "size", "level", "mpp", "coords")
_READERS: Mapping[str, Callable[[bytes, Path], pd.DataFrame]] = {
    ".csv": read_csv,
    ".parquet": read_parquet,
}


def open_tiles(
    path: Path, columns: Columns, tiles: Mapping[str, Any], *, allow_outside: bool = False
) -> Manifest:
    """The manifest of the tiles that a table names, one row per tile.

    Args:
        path: The table, absolute.
        columns: Which column plays which part; `columns.image` is made, and holds the tiles' names.
        tiles: As this module's docstring says; what is not given or None has its default.
        allow_outside: Accept slides outside the table's folder.

    Raises:
        UserError: The table, a column or a slide is missing; a cell is no number; a tile is named
            twice, begins outside its slide, or wants a level or scale that the slide lacks.
    """
    chosen = {key: value for key, value in tiles.items() if value is not None and value != ""}
    for key in chosen:
        if key not in _KEYS:
            raise UserError(
                f"{path}: tiles have no setting {key!r}.{did_you_mean(key, _KEYS)}",
                f"There is {', '.join(_KEYS)}.",
            )
    table, sha256 = _read_table(path)
    slide = str(chosen.get("slide", "slide"))
    require_columns(table.columns, [slide], path)
    if columns.image in table.columns:
        raise UserError(
            f"{path}: has a column {columns.image!r}, which is to hold the names of the tiles.",
            "Set data.image to a name that is not in the table, such as tile.",
        )
    part = Manifest(table, Columns(image=slide), path, sha256)
    _check_slides(part, slide, allow_outside)
    if "coords" in chosen:
        part, found = _from_files(part, slide, chosen)
    else:
        found = _from_columns(part, slide, chosen)
    store = SlideTilesStore(path.parent)
    names = found.names()
    cells = {columns.image: names} | {name: part.table[name].tolist() for name in part.table}
    manifest = made_manifest(cells, columns, path, store, part.rows)
    again = np.flatnonzero(pd.Series(names).duplicated()) if len(set(names)) < len(names) else []
    manifest.refuse(
        [f"{part.rows[i]} ({names[i]})" for i in again],
        "a tile is named again in",
        "Keep one row per tile.",
    )
    refuse_outside(manifest, found, store)
    return manifest


def _read_table(path: Path) -> tuple[pd.DataFrame, str]:
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise UserError(
            f"{path}: a table of tiles is a .csv or a .parquet file.",
            "Save the table as one of these, or leave data.tiles empty.",
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise UserError(
            f"{path}: cannot be read ({reason}).", "Give the path of a .csv or .parquet table."
        ) from None
    table = _READERS[suffix](data, path)
    if table.empty:
        raise UserError(f"{path}: there is a header and no row.", "It needs a row per tile.")
    return table, hashlib.sha256(data).hexdigest()


def _check_slides(part: Manifest, column: str, allow_outside: bool) -> None:
    """Refuses slides that are not named, named by Windows' rules, outside, or not there."""
    store = FolderStore(part.path.parent)
    problems = {
        "is empty in": ("Name the slide or delete the row.", lambda name: not name.strip()),
        "holds a Windows path in": (
            "Write relative paths with '/', as in a/b.svs.",
            lambda name: "\\" in name or bool(PureWindowsPath(name).drive),
        ),
        "leads out of the table's folder in": (
            "Use paths inside the folder, or pass allow_outside=True if this is meant.",
            lambda name: not allow_outside and _leads_out(name),
        ),
        "names a file that is missing in": (
            f"Paths start at the table's folder, {part.path.parent}.",
            lambda name: not os.path.isfile(os.path.join(store.folder, name)),
        ),
    }
    names = part.column(column)
    for problem, (remedy, is_bad) in problems.items():
        bad_names = {name for name in set(names) if is_bad(name)}
        bad = [
            f"{row} ({name})" if name.strip() else str(row)
            for row, name in zip(part.rows, names, strict=True)
            if name in bad_names
        ]
        part.refuse(bad, f"column {column!r} {problem}", remedy)


def _leads_out(name: str) -> bool:
    path = PurePosixPath(os.path.normpath(name))
    return path.is_absolute() or path.parts[:1] == ("..",)


def _from_columns(part: Manifest, slide: str, chosen: Mapping[str, Any]) -> TileSet:
    x, y = (_whole(part, str(chosen.get(axis, axis))) for axis in "xy")
    present = part.table.columns
    defaults = {name: name for name in ("size", "level", "mpp") if name in present}
    if "level" in chosen or "mpp" in chosen:
        defaults.pop("level", None)
        defaults.pop("mpp", None)
    chosen = defaults | dict(chosen)
    if "level" in chosen and "mpp" in chosen:
        raise UserError(
            f"{part.path}: tiles are given by level as well as by mpp.",
            "Set one of data.tiles.level and data.tiles.mpp.",
        )
    size = _setting(part, "size", chosen.get("size", SIZE), _whole)
    _refuse_values(part, size < 1, "the size of a tile is not positive in")
    if "mpp" in chosen:
        scale, value = "mpp", _setting(part, "mpp", chosen["mpp"], _positive)
    else:
        scale, value = "level", _setting(part, "level", chosen.get("level", 0), _whole)
    return TileSet(part.column(slide), x, y, size, scale, value)


def _setting(
    part: Manifest, key: str, value: Any, read: Callable[[Manifest, str], np.ndarray]
) -> np.ndarray:
    """A number for every row, [N], from a number or from the column that it names."""
    if isinstance(value, str) and value in part.table.columns:
        return read(part, value)
    text = str(value)
    if isinstance(value, str) and re.fullmatch(r"[\d.eE+-]+", text) is None:
        require_columns(part.table.columns, [text], part.path)
    # A table of one cell, so that it is read by the rules of a column.
    cell = pd.DataFrame({key: [text]}, part.table.index[:1], dtype=str)
    one = Manifest(cell, Columns(image=key), part.path, part.sha256)
    return np.repeat(read(one, key), len(part))


def _whole(part: Manifest, column: str) -> np.ndarray:
    """A column of whole numbers from 0, int64 [N]."""
    values = part.numbers(column)
    bad = ~(np.isfinite(values) & (values >= 0) & (np.floor(values) == values))
    _refuse_values(part, bad, f"{column!r} is not a whole number from 0 on in")
    return values.astype(np.int64)


def _positive(part: Manifest, column: str) -> np.ndarray:
    values = part.numbers(column)
    _refuse_values(part, ~(np.isfinite(values) & (values > 0)), f"{column!r} is not positive in")
    return values


def _refuse_values(part: Manifest, bad: np.ndarray, problem: str) -> None:
    rows = [str(row) for row in part.rows[: len(bad)][bad]]
    part.refuse(rows, problem, "Correct the cells, or the setting under data.tiles.")


def _from_files(
    part: Manifest, slide: str, chosen: Mapping[str, Any]
) -> tuple[Manifest, TileSet]:
    """The table with a row per tile, and the tiles, from the files of a tiling tool."""
    both = [key for key in ("x", "y") if key in chosen]
    if both:
        raise UserError(
            f"{part.path}: places are given by coords as well as by {both[0]}.",
            "Set data.tiles.coords, or data.tiles.x and data.tiles.y.",
        )
    files = _place_files(part, slide, str(chosen["coords"]))
    found: list[TilePlaces] = []
    for row, file in zip(part.rows.tolist(), files, strict=True):
        try:
            found.append(_places(file, chosen))
        except UserError as error:
            raise UserError(f"{part.path}: row {row}: {error.problem}", error.remedy) from None
    scales = sorted({places.scale for places in found})
    if len(scales) > 1:
        raise UserError(
            f"{part.path}: some files give their tiles by {scales[0]}, others by {scales[1]}.",
            "Tile all slides with one tool.",
        )
    counts = [len(places.coords) for places in found]
    # Counted by tiles, as several come from one row.
    expanded = part.table.iloc[np.repeat(np.arange(len(part)), counts)]
    expanded.index = pd.RangeIndex(FIRST_ROW, FIRST_ROW + len(expanded), name="row")
    x, y = np.concatenate([places.coords for places in found]).T
    tiles = TileSet(
        expanded[slide].to_numpy(object),
        x,
        y,
        np.repeat([places.size for places in found], counts),
        scales[0],
        np.repeat([places.value for places in found], counts),
    )
    return Manifest(expanded, part.columns, part.path, part.sha256), tiles


def _places(file: str, chosen: Mapping[str, Any]) -> TilePlaces:
    """The tiles of a file; how large they are from it, or else from the settings."""
    places = read_places(file)
    given = {key: chosen[key] for key in ("size", "level", "mpp") if key in chosen}
    if places.scale:
        if given:
            raise UserError(
                f"{file} says how large its tiles are.", f"Leave data.tiles.{min(given)} out."
            )
        return places
    (scale,) = [key for key in given if key != "size"] if len(given) == 2 else [""]
    numbers = all(isinstance(value, int | float) for value in given.values())
    if "size" not in given or not scale or not numbers or min(given.values()) < 0:
        raise UserError(
            f"{file} does not say how large its tiles are.",
            "Set data.tiles.size, and data.tiles.level or data.tiles.mpp, to numbers.",
        )
    return TilePlaces(places.coords, int(given["size"]), scale, given[scale])


def _place_files(part: Manifest, slide: str, coords: str) -> list[str]:
    folder = part.path.parent
    if coords in part.table.columns:
        return [os.path.join(folder, name) for name in part.column(coords)]
    place = folder / coords
    if not place.is_dir():
        raise UserError(
            f"{part.path}: data.tiles.coords is {coords!r}, which is neither a column nor a folder."
            f"{did_you_mean(coords, part.table.columns)}",
            f"The columns are {', '.join(map(repr, part.table.columns))}.",
        )
    found, missing = [], []
    for row, name in zip(part.rows.tolist(), part.column(slide), strict=True):
        stem = PurePosixPath(name).stem
        tries = [place / f"{stem}.h5", place / f"{stem}_patches.h5"]
        there = [path for path in tries if path.is_file()]
        if len(there) == 2:
            raise UserError(
                f"{part.path}: row {row}: {there[0].name} and {there[1].name} are both in {place}.",
                "Keep one of them.",
            )
        missing += [] if there else [f"{row} ({tries[0].name})"]
        found += map(str, there)
    part.refuse(missing, f"there are no coordinates in {place} for", "Tile the slides first.")
    return found
