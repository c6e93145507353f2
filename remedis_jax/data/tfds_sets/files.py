"""The image files that data sets come with, and whether they are those that the table names."""

from collections.abc import Collection, Mapping
from pathlib import PurePath

from etils import epath

from remedis_jax.data.messages import first_few
from remedis_jax.data.tfds_sets.tables import Row
from remedis_jax.errors import UserError


def find_files(folder: epath.Path, suffixes: Collection[str]) -> dict[str, str]:
    """The files of a folder and the folders below it.

    Hidden files, and what macOS adds to its archives, are not looked at.

    Args:
        folder: Where to look.
        suffixes: How the names of the files wanted end, in lower case.

    Returns:
        Full path by the path relative to `folder`, with '/' between folders, in sorted order.

    Raises:
        UserError: There is no such folder.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder}: there is no such folder.",
            "Unpack the archive there, as the data set's instructions say.",
        )
    found = {}
    start = len(PurePath(folder).parts)
    for place, folders, names in folder.walk():
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f != "__MACOSX")
        for name in names:
            if name.lower().endswith(tuple(suffixes)) and not name.startswith("."):
                path = place / name
                found["/".join(PurePath(path).parts[start:])] = str(path)
    return dict(sorted(found.items()))


def by_name(files: Mapping[str, str]) -> dict[str, str]:
    """The files by the last part of their relative paths.

    Raises:
        UserError: Two files in different folders have the same name.
    """
    relative: dict[str, str] = {}
    for path in files:
        name = path.rpartition("/")[2]
        if name in relative:
            raise UserError(
                f"{files[path]}: {files[relative[name]]} has the same name.",
                "Remove the copy; no name comes twice in this data set.",
            )
        relative[name] = path
    return {name: files[path] for name, path in relative.items()}


def match_files(
    rows: Mapping[str, Row], files: Mapping[str, str], folder: epath.Path
) -> dict[str, str]:
    """Brings the rows of a table and the files of a folder together, one to one.

    Args:
        rows: The row that names each file, by the name of the file.
        files: Full path of each file, by name.
        folder: Where the files are, for errors.

    Returns:
        Full path by name, in the order of the rows.

    Raises:
        UserError: A row has no file, or a file has no row.
    """
    table = next(iter(rows.values())).path
    missing = [f"row {row.number} ({name})" for name, row in rows.items() if name not in files]
    if missing:
        raise UserError(
            f"{table}: the images of {len(missing):,} of {len(rows):,} row(s) are not in"
            f" {folder}: {first_few(missing)}.",
            "Download and unpack what is missing.",
        )
    surplus = [name for name in files if name not in rows]
    if surplus:
        raise UserError(
            f"{folder}: {len(surplus):,} image(s) are in no row of {table.name}:"
            f" {first_few(surplus)}.",
            "Move away what does not belong to the data set, or download the table again.",
        )
    return {name: files[name] for name in rows}


def read_file(path: str) -> bytes:
    """The bytes of a file.

    Raises:
        UserError: It cannot be read, or is empty.
    """
    try:
        data = epath.Path(path).read_bytes()
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise UserError(f"{path}: the file cannot be read ({reason}).", "Restore it.") from None
    if not data:
        raise UserError(f"{path}: the file is empty (0 bytes).", "Download it again.")
    return data


def only_file(folder: epath.Path, names: Collection[str]) -> epath.Path:
    """The one file of a folder that has one of `names`.

    Raises:
        UserError: There is none, or more than one.
    """
    found = [name for name in names if (folder / name).exists()]
    if len(found) == 1:
        return folder / found[0]
    if found:
        raise UserError(
            f"{folder}: {' and '.join(found)} are versions of one table.", "Keep one of them."
        )
    raise UserError(
        f"{folder}: there is no {' or '.join(names)}.",
        "Download it, as the data set's instructions say.",
    )
