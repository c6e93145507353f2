"""A folder of images as a manifest: Hugging Face's `imagefolder`, DICOM exports, plain folders.

* Images are .jpg, .jpeg, .png, .tif, .tiff, .bmp, .dcm, .dicom, and files of any other name that
  begin as DICOM does. Their order is that of their paths.
* Where first-level folders are called as splits are (train, validation, test and the like), all of
  them must be, and give the column 'split'.
* A metadata.csv or metadata.jsonl, in the folder or in those of the splits, gives the columns of
  the images that it names in 'file_name', relative to itself. It must name all of them.
* Without one, where every image lies in one folder below, those folders give the column 'label'.
* Hidden files and folders (a name that begins with '.', and Windows' Thumbs.db and desktop.ini) are
  not looked at. Tables and texts beside the images are not read. Any other file is refused by name.
"""

import json
import os
import posixpath
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from remedis_jax.data.made_manifest import made_manifest
from remedis_jax.data.manifest import FIRST_ROW, Columns, Manifest, require_columns
from remedis_jax.data.messages import first_few
from remedis_jax.data.stores import FolderStore
from remedis_jax.data.stores import file_name as file_of
from remedis_jax.data.tables import read_csv
from remedis_jax.errors import UserError

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".dcm", ".dicom"}
)
_SIDECAR_SUFFIXES = frozenset({".csv", ".jsonl", ".txt", ".md", ".json", ".xml"})
_SIDECAR_NAMES = frozenset({"DICOMDIR", "LICENSE", "README"})
_HIDDEN = frozenset({"thumbs.db", "desktop.ini"})
# As Hugging Face's `datasets` reads folder names.
_SPLITS = frozenset(
    {
        "train", "training", "validation", "valid", "val", "dev",
        "test", "testing", "eval", "evaluation",
    }
)  # fmt: skip
_METADATA = ("metadata.csv", "metadata.jsonl")
_FILE_NAME = "file_name"


def open_folder(
    folder: Path, files: Sequence[str], columns: Columns, *, allow_outside: bool = False
) -> Manifest:
    """The manifest of a folder of images.

    Args:
        folder: Absolute.
        files: What `list_files` found in it.
        columns: Which column plays which part; `columns.image` is what the column of paths is
            called.
        allow_outside: Accept links to files outside the folder.

    Raises:
        UserError: There are no images, files that are neither image nor sidecar, folders that are
            splits in part, or metadata that do not fit.
    """
    images = _images(folder, files)
    if not allow_outside:
        _refuse_links(folder, images)
    splits = _splits(folder, images)
    tables = [name for name in files if posixpath.basename(name) in _METADATA]
    if tables:
        return _with_metadata(folder, images, splits, tables, columns)
    cells = {columns.image: images}
    below = 1 if splits is None else 2
    if all(name.count("/") == below for name in images):
        cells["label"] = [name.split("/")[-2] for name in images]
    if splits is not None:
        cells["split"] = splits
    return made_manifest(cells, columns, folder, FolderStore(folder))


def list_files(folder: Path, *, allow_outside: bool = False) -> list[str]:
    """Paths of all files that are not hidden, relative to the folder with '/', in sorted order.

    Raises:
        UserError: A folder cannot be read, or is a link and `allow_outside` is False, or a link
            leads back to a folder that it is in.
    """

    def fail(error: OSError) -> None:
        raise UserError(
            f"{error.filename}: the folder cannot be read ({error.strerror.lower()}).",
            "Make it readable, or move it away.",
        ) from None

    found = []
    for place, folders, names in os.walk(folder, onerror=fail, followlinks=allow_outside):
        folders[:] = [name for name in folders if not _hidden(name)]
        for name in folders:
            path = Path(place, name)
            if path.is_symlink() and not allow_outside:
                raise UserError(
                    f"{path}: is a link to another folder.",
                    "Put the folder itself there, or pass allow_outside=True if this is meant.",
                )
            if path.is_symlink() and Path(place).resolve().is_relative_to(path.resolve()):
                raise UserError(f"{path}: is a link to a folder that it is in.", "Remove it.")
        inside = Path(place).relative_to(folder).as_posix()
        start = "" if inside == "." else inside + "/"
        found += [start + name for name in names if not _hidden(name)]
    return sorted(found)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _HIDDEN


def _images(folder: Path, files: Sequence[str]) -> list[str]:
    images, others = [], []
    for name in files:
        suffix = posixpath.splitext(name)[1].lower()
        if suffix in IMAGE_SUFFIXES:
            images.append(name)
        elif suffix in _SIDECAR_SUFFIXES or posixpath.basename(name).upper() in _SIDECAR_NAMES:
            continue
        elif _is_dicom(folder / name):
            images.append(name)
        else:
            others.append(name)
    if others:
        raise UserError(
            f"{folder}: {len(others):,} of {len(files):,} file(s) are neither images nor tables or"
            f" texts beside them: {first_few(others)}.",
            "Move them away, or name the images in a manifest.",
        )
    if not images:
        raise UserError(
            f"{folder}: there are no images in the folder.",
            "Images end in " + ", ".join(sorted(IMAGE_SUFFIXES)) + ", or begin as DICOM does.",
        )
    return images


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError as error:
        raise UserError(
            f"{path}: the file cannot be read ({error.strerror.lower()}).", "Make it readable."
        ) from None


def _refuse_links(folder: Path, images: Sequence[str]) -> None:
    root, start = folder.resolve(), os.fspath(folder)
    links = [name for name in images if os.path.islink(os.path.join(start, name))]
    outside = [name for name in links if not (folder / name).resolve().is_relative_to(root)]
    if outside:
        raise UserError(
            f"{folder}: {len(outside):,} image(s) are links out of the folder:"
            f" {first_few(outside)}.",
            "Put the files themselves there, or pass allow_outside=True if this is meant.",
        )


def _splits(folder: Path, images: Sequence[str]) -> list[str] | None:
    """The split of each image, as its folder is called; None where there are none."""
    tops = [name.partition("/")[0] if "/" in name else "" for name in images]
    known = {top for top in tops if top.lower() in _SPLITS}
    if not known:
        return None
    others = sorted(set(tops) - known)
    if others:
        where = [f"in {top}/" if top else "in the folder itself" for top in others]
        raise UserError(
            f"{folder}: some images are in {first_few([f'{s}/' for s in sorted(known)])}, which"
            f" are called as splits are, others {first_few(where)}.",
            "Put every image in a folder of a split, or none, or write a manifest.",
        )
    return tops


def _with_metadata(
    folder: Path,
    images: Sequence[str],
    splits: Sequence[str] | None,
    tables: Sequence[str],
    columns: Columns,
) -> Manifest:
    frames = [_read_metadata(folder, name, columns.image) for name in tables]
    for name, frame in zip(tables, frames, strict=True):
        differ = sorted(set(frame.columns) ^ set(frames[0].columns))
        if differ:
            raise UserError(
                f"{folder / name}: has other columns than {tables[0]} ({first_few(differ)}).",
                "Give the tables of one folder the same columns.",
            )
    # A single table keeps its own rows, so that an error leads to them.
    alone = len(tables) == 1
    path = folder / tables[0] if alone else folder
    table = pd.concat(frames)
    names = table[columns.image].tolist()
    rows = table.index.tolist() if alone else list(range(FIRST_ROW, FIRST_ROW + len(table)))
    # An empty or hidden name, and one that leads elsewhere, is not among the images either.
    known = set(images)
    _refuse(path, rows, names, lambda name: file_of(name) not in known, "there is no such image in")
    seen: set[str] = set()
    _refuse(
        path, rows, names, lambda name: name in seen or seen.add(name), "an image is named again in"
    )
    used = set(map(file_of, seen))
    unnamed = [name for name in images if name not in used]
    if unnamed:
        raise UserError(
            f"{path}: {len(unnamed):,} of {len(images):,} image(s) are in no row:"
            f" {first_few(unnamed)}.",
            "Add their rows, or move the images away.",
        )
    cells = {name: table[name].tolist() for name in table.columns}
    if splits is not None and "split" not in cells:
        split_of = dict(zip(images, splits, strict=True))
        cells["split"] = [split_of[file_of(name)] for name in names]
    return made_manifest(cells, columns, path, FolderStore(folder), np.array(rows, np.int64))


def _refuse(
    path: Path,
    rows: Sequence[int],
    names: Sequence[str],
    is_bad: Callable[[str], object],
    problem: str,
) -> None:
    bad = [f"{row} ({name})" for row, name in zip(rows, names, strict=True) if is_bad(name)]
    if bad:
        raise UserError(
            f"{path}: {problem} {len(bad):,} row(s): row {first_few(bad)}.",
            "Give each image of the folder one row, by its path relative to this file, with '/'.",
        )


def _read_metadata(folder: Path, name: str, image: str) -> pd.DataFrame:
    """The rows of a table; the column `image`, in front, holds paths relative to the folder."""
    path = folder / name
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror.lower()}).", "Make it readable."
        ) from None
    table = read_csv(data, path) if name.endswith(".csv") else _read_jsonl(data, path)
    require_columns(table.columns, [_FILE_NAME], path)
    if image in table.columns and image != _FILE_NAME:
        raise UserError(
            f"{path}: has a column {image!r} beside {_FILE_NAME!r}.",
            f"Rename it, or set data.image={_FILE_NAME}.",
        )
    start = posixpath.dirname(name)
    paths = [posixpath.normpath(posixpath.join(start, text)) for text in table[_FILE_NAME]]
    rest = table.drop(columns=_FILE_NAME)
    rest.insert(0, image, pd.Series(paths, table.index, dtype=str))
    return rest


def _read_jsonl(data: bytes, path: Path) -> pd.DataFrame:
    """A JSON object in each line, as text: null is an empty cell, a list or an object JSON."""
    records: dict[int, dict[str, str]] = {}
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise UserError(f"{path}: line {number} is no JSON object.", "Correct the line.")
        records[number] = {key: _as_text(value) for key, value in record.items()}
    header = list(dict.fromkeys(key for record in records.values() for key in record))
    # A key that a line lacks is a null, as `datasets` has it.
    cells = [[record.get(key, "") for key in header] for record in records.values()]
    index = pd.Index(list(records), name="row", dtype=np.int64)
    return pd.DataFrame(cells, index, header, dtype=str)


def _as_text(value: object) -> str:
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, list | dict) else str(value)
