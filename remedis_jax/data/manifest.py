"""The manifest: one row per image, and which columns say patient, label, site and split.

Everything is text. A patient id that looks like a number keeps its leading zeros, and an empty
cell stays an empty cell; numbers are parsed only where they are asked for (`Manifest.numbers`).
"""

import dataclasses
import hashlib
import os
import posixpath
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import pandas as pd

from remedis_jax.data.messages import did_you_mean, first_few
from remedis_jax.data.stores import FolderStore, ImageStore
from remedis_jax.data.tables import FIRST_ROW as FIRST_ROW
from remedis_jax.data.tables import read_csv, read_parquet
from remedis_jax.errors import UserError

# Only names with one of these can be of Windows, lead elsewhere, or be another's under a second
# spelling: a backslash, a drive, or an empty part, "." or ".." between the slashes.
_UNUSUAL = re.compile(r"\\|:|(?:^|/)\.{0,2}(?:/|$)")


@dataclasses.dataclass(frozen=True)
class Columns:
    """Which column of the manifest plays which part.

    Attributes:
        image: Path of the image, relative to the manifest's folder, with '/' between folders;
            ``scan.dcm#frame=3`` for one frame of a file of several.
        group: The unit that must never be split: patient, case, lesion, slide. None where the
            data has none; then every image counts as a group of its own.
        labels: The label columns; empty for unlabelled data.
        site: Hospital, scanner or collection.
        split: A split that the data came with.
    """

    image: str = "image"
    group: str | None = None
    labels: tuple[str, ...] = ()
    site: str | None = None
    split: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.labels, str):
            raise TypeError(f"labels must be a tuple of names; write labels=({self.labels!r},)")

    def named(self) -> tuple[str, ...]:
        """The columns that must be in the file."""
        optional = (self.group, *self.labels, self.site, self.split)
        return (self.image, *(name for name in optional if name is not None))


@dataclasses.dataclass(frozen=True, eq=False)
class Manifest:
    """Rows of a manifest file, or a part of them.

    Attributes:
        table: Every column as text; the index, named 'row', is the row in the file as a
            spreadsheet counts it (header = 1), and survives `where` and `select`.
        columns: Which column plays which part.
        path: The file, absolute.
        sha256: Hex digest of the bytes of the whole file.
        store: Where the images lie; None for the manifest's folder.
    """

    table: pd.DataFrame
    columns: Columns
    path: Path
    sha256: str
    store: ImageStore | None = None

    def __post_init__(self) -> None:
        if self.store is None:
            object.__setattr__(self, "store", FolderStore(self.path.parent))

    def __len__(self) -> int:
        return len(self.table)

    @property
    def rows(self) -> np.ndarray:
        """Row of each image in the file, int64 [N], as a spreadsheet counts (header = 1)."""
        return self.table.index.to_numpy(np.int64)

    @property
    def images(self) -> list[str]:
        """Name of each image in the store: its path, as it stands in the file."""
        return self.table[self.columns.image].tolist()

    @property
    def image_paths(self) -> list[Path]:
        """Absolute path of each image, where they are files."""
        return [Path(self.store.path(name)) for name in self.images]

    @property
    def groups(self) -> np.ndarray:
        """Group of each image, text [N]; the image itself where no group column is named.

        Raises:
            UserError: A group cell is empty.
        """
        if self.columns.group is None:
            return self.column(self.columns.image)
        groups = self.column(self.columns.group)
        self.refuse(
            [str(row) for row, group in zip(self.rows, groups, strict=True) if not group.strip()],
            f"column {self.columns.group!r} is empty in",
            "Every image needs its patient, case or lesion; fill the cells in.",
        )
        return groups

    def column(self, name: str) -> np.ndarray:
        """A column as text, object [N].

        Raises:
            UserError: There is no such column.
        """
        require_columns(self.table.columns, [name], self.path)
        return self.table[name].to_numpy(object)

    def numbers(self, name: str) -> np.ndarray:
        """A column as numbers, float64 [N]; an empty cell is nan.

        Raises:
            UserError: A cell is neither a number nor empty.
        """
        values = np.full(len(self), np.nan)
        bad = []
        for i, text in enumerate(self.column(name)):
            if text.strip():
                try:
                    values[i] = float(text)
                except ValueError:
                    bad.append(f"{self.rows[i]} ({text!r})")
        self.refuse(
            bad, f"column {name!r} is not a number in", "Correct the cells or leave them empty."
        )
        return values

    def where(self, **wanted: str | Sequence[str]) -> "Manifest":
        """The rows in which each named column holds the value, or one of the values.

        Example: ``manifest.where(site=["rosendahl"], split="train")``.

        Raises:
            UserError: No such column, a value that is in no row, or no row fits them all.
        """
        keep = np.ones(len(self), bool)
        for name, value in wanted.items():
            present = sorted(set(self.column(name)))
            values = [value] if isinstance(value, str | int | float) else list(value)
            values = [str(v) for v in values]
            for v in values:
                if v not in present:
                    raise UserError(
                        f"{self.path}: no row has {name} = {v!r}.{did_you_mean(v, present)}",
                        f"Column {name!r} holds {first_few(present)}.",
                    )
            keep &= self.table[name].isin(values).to_numpy()
        if not keep.any():
            conditions = ", ".join(f"{name} = {value!r}" for name, value in wanted.items())
            raise UserError(
                f"{self.path}: no row has all of {conditions}.", "Loosen one of the conditions."
            )
        return self.select(np.flatnonzero(keep))

    def select(self, indices: Sequence[int] | np.ndarray) -> "Manifest":
        """The rows at `indices` (positions in this manifest, from 0), in that order."""
        return dataclasses.replace(self, table=self.table.iloc[np.asarray(indices, np.int64)])

    def with_group_pattern(self, pattern: str) -> "Manifest":
        """With what a regular expression finds first in the group column as the group.

        Example: ``patient\\d+`` takes the patient out of CheXpert's
        ``CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg``.

        Raises:
            UserError: No group column is named, the expression is none, or it finds nothing in a
                row.
        """
        if self.columns.group is None:
            raise UserError("A group pattern needs a group column.", "Set data.group.")
        try:
            expression = re.compile(pattern)
        except re.error as error:
            raise UserError(
                f"The group pattern {pattern!r} is none ({error}).", "Correct it."
            ) from None
        found = [expression.search(str(cell)) for cell in self.column(self.columns.group)]
        self.refuse(
            [str(row) for row, match in zip(self.rows, found, strict=True) if match is None],
            f"the group pattern {pattern!r} finds nothing in column {self.columns.group!r} of",
            "Correct the pattern or the cells.",
        )
        groups = {self.columns.group: [match[0] for match in found]}
        return dataclasses.replace(self, table=self.table.assign(**groups))

    def refuse(self, bad: Sequence[str], problem: str, remedy: str) -> None:
        """Raises where `bad`, a list of rows, is not empty: path, problem, count, first five."""
        if bad:
            raise UserError(
                f"{self.path}: {problem} {len(bad):,} row(s): row {first_few(bad)}.", remedy
            )


def read_manifest(
    path: str | os.PathLike,
    columns: Columns = Columns(),
    *,
    allow_outside: bool = False,
    check_files: bool = True,
) -> Manifest:
    """Reads a CSV or Parquet file and refuses whatever would be misread later.

    A CSV is comma-separated UTF-8 (a byte order mark is taken off) with a header. Lines without
    any text in them are no rows. In a Parquet file a null is an empty cell, and numbers are
    written as text: 3, not 3.0, in a column of whole numbers.

    Args:
        path: The file; its name ends in .csv or .parquet.
        columns: Which column plays which part.
        allow_outside: Accept absolute paths and paths that leave the manifest's folder.
        check_files: Look whether every image is there. False where the pixels come from
            elsewhere, such as an array_record.

    Raises:
        UserError: The file is missing, empty, of another kind or not readable; a column is
            missing; an image is named twice, not at all, by a Windows path, outside the folder,
            or does not exist.
    """
    path = Path(path).absolute()
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(
            f"{path}: there is no such file.{did_you_mean(path.name, siblings)}",
            "Give the path of a .csv or .parquet manifest.",
        ) from None
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read: {error.strerror}.",
            "Give the path of a readable .csv or .parquet manifest.",
        ) from None
    readers = {".csv": read_csv, ".parquet": read_parquet}
    if path.suffix.lower() not in readers:
        raise UserError(
            f"{path}: a manifest is a .csv or a .parquet file.", "Save the table as one of these."
        )
    if not data.strip():
        raise UserError(f"{path}: the file is empty.", "It needs a header and a row per image.")
    table = readers[path.suffix.lower()](data, path)
    require_columns(table.columns, columns.named(), path)
    if table.empty:
        raise UserError(f"{path}: there is a header and no row.", "It needs a row per image.")

    manifest = Manifest(table, columns, path, hashlib.sha256(data).hexdigest())
    _check_image_names(manifest, allow_outside)
    if check_files:
        missing = [
            f"{row} ({image})"
            for row, image in zip(manifest.rows, manifest.images, strict=True)
            if not os.path.isfile(manifest.store.path(image))
        ]
        manifest.refuse(
            missing,
            "the image file is missing for",
            f"Paths start at the manifest's folder, {path.parent}.",
        )
    return manifest


def require_columns(present: Sequence[str], wanted: Sequence[str], path: Path) -> None:
    """Raises UserError, with the nearest name, where a wanted column is not among `present`."""
    for name in wanted:
        if name not in present:
            raise UserError(
                f"{path}: there is no column {name!r}.{did_you_mean(name, present)}",
                f"The columns are {', '.join(map(repr, present))}.",
            )


def _check_image_names(manifest: Manifest, allow_outside: bool) -> None:
    """Refuses image cells that are empty, of Windows' kind, outside the folder, or repeated."""
    images = manifest.images
    empty, windows, outside = [], [], []
    normal = images
    for position in _unusual_names(images):
        image = images[position]
        row = str(manifest.rows[position])
        if not image.strip():
            empty.append(row)
            continue
        if normal is images:
            normal = list(images)
        path = PurePosixPath(posixpath.normpath(image))
        normal[position] = str(path)
        if "\\" in image or PureWindowsPath(image).drive:
            windows.append(f"{row} ({image})")
        elif path.is_absolute() or path.parts[:1] == ("..",):
            outside.append(f"{row} ({image})")
    column = f"column {manifest.columns.image!r}"
    manifest.refuse(empty, f"{column} is empty in", "Name the image or delete the row.")
    manifest.refuse(
        windows,
        f"{column} holds a Windows path in",
        "Write relative paths with '/', as in a/b.png.",
    )
    if not allow_outside:
        manifest.refuse(
            outside,
            f"{column} leads out of the manifest's folder in",
            "Use paths inside the folder, or pass allow_outside=True if this is meant.",
        )
    if len(set(normal)) < len(normal):
        manifest.refuse(
            _repeated(images, normal, manifest.rows),
            "an image is named again in",
            "Keep one row per image.",
        )


def _unusual_names(images: Sequence[str]) -> list[int]:
    """Positions of the names that have to be looked at one by one, the empty ones among them."""
    # All at once first, since of a million names mostly none is unusual.
    joined = "/" + "/\n/".join(images) + "/"
    if any(part in joined for part in ("\\", ":", "//", "/./", "/../")):
        return [i for i, name in enumerate(images) if not name.strip() or _UNUSUAL.search(name)]
    return [i for i, name in enumerate(images) if not name.strip()]


def _repeated(images: Sequence[str], normal: Sequence[str], rows: np.ndarray) -> list[str]:
    """The rows whose image is another's, with that other's row."""
    found = []
    seen: dict[str, int] = {}
    for row, image, name in zip(rows.tolist(), images, normal, strict=True):
        if name in seen:
            found.append(f"{row} ({image}, also in row {seen[name]})")
        seen.setdefault(name, row)
    return found
