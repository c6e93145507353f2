"""A split as files: the manifest's table with one more column, and beside it what it holds.

Training reads the table as it reads the manifest. Equal manifest, rules and seed give equal bytes:
nothing of the time, the machine or the versions is written.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from remedis_jax.data.drawn_split import Rules, draw_split, split_contents
from remedis_jax.data.duplicates import equal_files, joined_groups, similar_images
from remedis_jax.data.manifest import Manifest
from remedis_jax.data.messages import first_few
from remedis_jax.data.stores import FolderStore
from remedis_jax.errors import RunFailed, UserError

FORM = "remedis_jax split 1"
Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What else there is to say of a split.

    Attributes:
        column: What the new column is called.
        keep_duplicates_together: Groups that share a file, byte for byte, go to one part.
        near_duplicates: So do groups with pictures whose fingerprints differ in so many bits or
            fewer; -1 looks for equal files only.
        overwrite: Replace files that hold another split.
        absolute: Name images that lie outside of the split's folder by their absolute paths,
            instead of refusing them; reading needs `allow_outside` then.
    """

    column: str = "split"
    keep_duplicates_together: bool = True
    near_duplicates: int = -1
    overwrite: bool = False
    absolute: bool = False

    def __post_init__(self) -> None:
        if self.near_duplicates >= 0 and not self.keep_duplicates_together:
            raise UserError(
                "Pictures that look the same are to go to one part, and equal files are not.",
                "Leave one of --near-duplicates and --no-keep-duplicates-together out.",
            )


def split_manifest(
    manifest: Manifest,
    rules: Rules,
    settings: Settings,
    seeds: Sequence[int],
    out: Path | None = None,
    *,
    progress: Progress | None = None,
) -> tuple[dict[Path, dict[str, Any]], int, int]:
    """Draws splits and writes them, each with its record.

    Args:
        manifest: The images; its group column is what stays whole.
        rules: How they are dealt out.
        settings: What else there is to say.
        seeds: One split is drawn for each; several go to files that bear the seed.
        out: The CSV file; `default_path` if None.
        progress: Called with (done, total) while images are compared.

    Returns:
        (file -> what its parts hold, see `split_contents`; pairs of equal images; groups that
        these tie to others).

    Raises:
        UserError: The rules do not work out, or the files cannot be written as asked for.
        RunFailed: They could not be written.
    """
    target = default_path(manifest) if out is None else Path(out)
    pairs = equal_files(manifest, progress) if settings.keep_duplicates_together else []
    if settings.near_duplicates >= 0:
        pairs += similar_images(manifest, settings.near_duplicates, progress)
    units = joined_groups(manifest.groups, pairs)
    joined = len(set(manifest.groups)) - len(set(units))
    said = {
        "by": manifest.columns.group,
        "stratify": list(rules.stratify),
        "fractions": dict(rules.fractions),
        "site": rules.site,
        "test_sites": list(rules.test_sites),
        "ood_fractions": dict(rules.ood_fractions) if rules.test_sites else {},
        "column": settings.column,
        "keep_duplicates_together": settings.keep_duplicates_together,
        "near_duplicates": settings.near_duplicates,
        "duplicate_pairs": len(pairs),
        "groups_joined": joined,
    }
    files, drawn = {}, {}
    for seed in seeds:
        path = target if len(seeds) == 1 else seed_path(target, seed)
        part = draw_split(manifest, units, rules, seed)
        drawn[path] = split_contents(manifest, part, rules)
        files[path] = split_table(
            manifest, part, settings.column, path, absolute=settings.absolute
        )
        files[record_path(path)] = split_record(
            manifest, files[path], {"seed": seed} | said, drawn[path]
        )
    write_files(files, overwrite=settings.overwrite)
    return drawn, len(pairs), joined


def default_path(manifest: Manifest) -> Path:
    """`NAME.split.csv` beside the manifest; in the folder where a folder is the manifest."""
    path = manifest.path
    if path.is_dir():
        return path / "manifest.split.csv"
    return path.with_name(f"{path.stem}.split.csv")


def seed_path(path: Path, seed: int) -> Path:
    """The file of one of several seeds: `NAME.split.csv` -> `NAME.split_3.csv`."""
    return path.with_name(f"{path.stem}_{seed}{path.suffix}")


def split_table(
    manifest: Manifest, part: np.ndarray, column: str, path: Path, *, absolute: bool = False
) -> bytes:
    """The CSV file, in UTF-8.

    Args:
        manifest: N images in files of a folder.
        part: Name of each image's part, text [N].
        column: To be called so.
        path: Where it is going to lie; image paths are written relative to its folder.
        absolute: See `Settings`.

    Raises:
        UserError: The images are no files, the column exists, or an image would lie outside of
            the folder.
    """
    _require_files(manifest)
    if path.suffix.lower() != ".csv":
        raise UserError(f"{path}: a split is written as CSV.", "Let its name end in .csv.")
    if path.absolute() == manifest.path:
        raise UserError(f"{path} is the manifest itself.", "Choose another --out.")
    if column in manifest.table.columns:
        raise UserError(
            f"{manifest.path}: there is already a column {column!r}.",
            "Choose another name with --column, or take the column out.",
        )
    table = manifest.table.copy()
    table[manifest.columns.image] = _moved(manifest, path, absolute)
    table[column] = part
    return table.to_csv(index=False, lineterminator="\n").encode()


def split_record(
    manifest: Manifest,
    table: bytes,
    settings: Mapping[str, Any],
    contents: Mapping[str, Any],
) -> bytes:
    """The JSON file beside a split: of which manifest it is, how it was drawn, what it holds.

    Args:
        manifest: Of which.
        table: The split.
        settings: How it was drawn: names and plain values.
        contents: See `data.drawn_split.split_contents`.
    """
    record = {
        "format": FORM,
        "manifest": manifest.path.name,
        "manifest_sha256": manifest.sha256,
        "split_sha256": hashlib.sha256(table).hexdigest(),
        **settings,
        "parts": contents,
    }
    return (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode()


def record_path(path: Path) -> Path:
    """`split.csv` -> `split.csv.json`."""
    return path.with_name(path.name + ".json")


def write_files(files: Mapping[Path, bytes], *, overwrite: bool = False) -> None:
    """Writes files, each whole or not at all; those that are there and equal are left alone.

    Raises:
        UserError: One is there and differs, and `overwrite` is not set.
        RunFailed: One cannot be written.
    """
    for path, content in files.items():
        if not overwrite and path.exists() and path.read_bytes() != content:
            raise UserError(
                f"{path} exists and holds another split.", "Choose another --out, or --overwrite."
            )
    for path, content in files.items():
        temporary = path.with_name(path.name + ".tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(content)
            os.replace(temporary, path)
        except OSError as error:
            raise RunFailed(
                f"{path} could not be written ({error.strerror}).",
                "Check the path, its permissions and the free space, then repeat the command.",
            ) from error


def _require_files(manifest: Manifest) -> None:
    if type(manifest.store) is not FolderStore:
        raise UserError(
            f"{manifest.path}: its images are no files that a table could name.",
            "Split the table that it was made from.",
        )


def _moved(manifest: Manifest, path: Path, absolute: bool) -> list[str]:
    """The image names as they are called from the folder of `path`."""
    here, there = Path(manifest.store.folder).resolve(), path.absolute().parent.resolve()
    if here == there:
        return manifest.images
    moved = [
        name if PurePosixPath(name).is_absolute() else Path(os.path.relpath(here / name, there))
        .as_posix()
        for name in manifest.images
    ]
    outside = [name for name in moved if PurePosixPath(name).parts[:1] == ("..",)]
    if outside and absolute:
        return [(here / name).as_posix() for name in manifest.images]
    if outside:
        raise UserError(
            f"{path}: {len(outside):,} image(s) would lie outside of its folder:"
            f" {first_few(outside)}.",
            f"Write it into {here}, or into a folder above that.",
        )
    return moved
