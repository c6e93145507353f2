"""Embeddings of whatever encoder, by the names of their images.

What `remedis embed` wrote, and files of other tools where it is clear what stands where:

* a table (Parquet, CSV, TSV) with a column for the image and either one column of lists or the
  columns NAME0, NAME1, ... of one NAME, as LightlyTrain writes 'embedding_0'
* npz and HDF5 with one matrix and the names of its rows beside it

Nothing is unpickled.
"""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from remedis_jax.data.messages import first_few
from remedis_jax.errors import UserError
from remedis_jax.evaluation.column_roles import IMAGE, find_column, find_image_and_group
from remedis_jax.evaluation.embedding_files import read_embeddings, read_header
from remedis_jax.evaluation.table_files import read_text_table

FEATURES = "features"  # the role of the matrix, or of the columns' common beginning
_MATRICES = ("features", "embeddings", "embedding", "feats", "vectors")
_NUMBERED = re.compile(r"(.*?)(\d+)")
_TABLES = (".parquet", ".csv", ".tsv")
_SAY = "Say which: --column features=NAME."


@dataclasses.dataclass(frozen=True, eq=False)
class NamedFeatures:
    """Features of N images.

    Attributes:
        images: N distinct names.
        features: float32 [N, F], finite.
        read: Role -> what it was read from, for the report.
        unusable: Names of images of which the file says that they could not be used.
    """

    images: tuple[str, ...]
    features: np.ndarray
    read: Mapping[str, str]
    unusable: tuple[str, ...] = ()


def read_features(path: str | Path, given: Mapping[str, str] | None = None) -> NamedFeatures:
    """Reads a file of embeddings.

    Args:
        path: Ends in .parquet, .csv, .tsv, .npz, .h5 or .hdf5.
        given: Role -> name, where the names do not say it: 'image' and 'features'.

    Raises:
        UserError: It cannot be read, it is not clear what stands where, a name is there twice, or a
            feature is NaN or infinite.
    """
    path, given = Path(path), dict(given or {})
    if not path.is_file():
        raise UserError(f"{path} does not exist.", "Give a file of embeddings.")
    suffix = path.suffix.lower()
    unusable: tuple[str, ...] = ()
    if suffix in (".parquet", ".npz", ".h5") and read_header(path) is not None:
        names, features, read, unusable = _own(path, given)
    elif suffix in _TABLES:
        names, features, read = _of_table(path, given)
    elif suffix in (".npz", ".h5", ".hdf5"):
        names, features, read = _of_arrays(path, _arrays(path), given)
    else:
        raise UserError(
            f"{path}: embeddings are read from {', '.join(_TABLES)}, .npz and .h5.",
            "Save them so; files that have to be unpickled (.pt, .pkl, .npy of objects) are not"
            " opened.",
        )
    features = np.asarray(features, np.float32)
    _check(path, names, features)
    return NamedFeatures(tuple(names), features, read, unusable)


def _own(path: Path, given: Mapping[str, str]) -> tuple:
    embeddings = read_embeddings(path)
    table = embeddings.table.drop(columns="row", errors="ignore").astype(str)
    image, _ = find_image_and_group(table, str(path), given, group_required=False)
    bad = np.zeros(len(table), bool)
    if "problem" in table:
        bad = (table["problem"] != "").to_numpy()
    names = table[image].to_numpy(str)
    read = {IMAGE: image, FEATURES: "remedis embed"}
    return names[~bad].tolist(), embeddings.features[~bad], read, tuple(names[bad].tolist())


def _of_table(path: Path, given: Mapping[str, str]) -> tuple[list[str], np.ndarray, dict]:
    lists: dict[str, np.ndarray] = {}
    if path.suffix.lower() == ".parquet":
        table, lists = _parquet(path)
    else:
        table = read_text_table(path)
    families: dict[str, list[tuple[int, str]]] = {}
    for name in table.columns:
        if match := _NUMBERED.fullmatch(name):
            families.setdefault(match[1], []).append((int(match[2]), name))
    families = {
        start: sorted(members) for start, members in families.items() if len(members) > 1
    }
    wanted = given.get(FEATURES)
    found = [name for name in (*lists, *families) if wanted in (None, name)]
    if len(found) != 1:
        shown = [f"the lists {n!r}" for n in lists] + [
            f"{members[0][1]!r} to {members[-1][1]!r}" for members in families.values()
        ]
        raise UserError(
            f"{path}: the features could be {' or '.join(shown)}."
            if len(shown) > 1 and wanted is None
            else f"{path} has no column of lists and no numbered columns"
            f"{'' if wanted is None else f' {wanted!r}'} of features.",
            _SAY if shown else "Name the columns embedding_0, embedding_1 and so on.",
        )
    (name,) = found
    if name in lists:
        features, columns = lists[name], [name]
    else:
        numbers, columns = zip(*families[name], strict=True)
        if list(numbers) != list(range(numbers[0], numbers[0] + len(numbers))):
            raise UserError(
                f"{path}: the numbers of the columns {columns[0]!r} to {columns[-1]!r} have gaps.",
                "Number all columns of features one after the other.",
            )
        features = _numbers(path, table, list(columns))
    rest = table.drop(columns=[c for c in columns if c in table])
    image, _ = find_image_and_group(rest, str(path), given, group_required=False)
    said = name if name in lists else f"{columns[0]} to {columns[-1]}"
    return rest[image].tolist(), features, {IMAGE: image, FEATURES: said}


def _parquet(path: Path) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """The columns that hold no lists, as text but for numbers, and those that do, as matrices."""
    import pyarrow
    import pyarrow.parquet
    import pyarrow.types as types

    try:
        whole = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} is no readable Parquet file ({reason}).", "Write it again.") from (
            error
        )
    is_list = (types.is_list, types.is_large_list, types.is_fixed_size_list)
    lists, plain = {}, {}
    for field in whole.schema:
        column = whole.column(field.name)
        if not any(kind(field.type) for kind in is_list):
            cells = column.to_pandas()
            if not types.is_floating(field.type):
                cells = pd.Series(["" if v is None else str(v) for v in column.to_pylist()])
            plain[field.name] = cells
            continue
        rows = column.to_pylist()
        widths = {len(row) if row is not None else 0 for row in rows}
        if len(widths) != 1:
            raise UserError(
                f"{path}: the lists in {field.name!r} have {min(widths):,} to {max(widths):,}"
                " numbers.",
                "Every image needs as many features as the others.",
            )
        lists[field.name] = np.array(rows, np.float32)
    return pd.DataFrame(plain), lists


def _numbers(path: Path, table: pd.DataFrame, columns: list[str]) -> np.ndarray:
    try:
        return table[columns].to_numpy().astype(np.float32)
    except ValueError as error:
        raise UserError(
            f"{path}: a cell in {columns[0]!r} to {columns[-1]!r} is no number ({error}).",
            "Write features as decimal numbers with a point.",
        ) from error


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file, or the data sets at the root of an HDF5 file."""
    try:
        if path.suffix.lower() == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        import h5py

        with h5py.File(path, "r") as file:
            return {
                name: item.asstr()[:] if item.dtype.kind in "OS" else item[:]
                for name, item in file.items()
                if isinstance(item, h5py.Dataset) and item.ndim
            }
    except ImportError:
        raise UserError(
            "HDF5 files need h5py.", "Install the extra: pip install 'remedis_jax[h5]'."
        ) from None
    except (OSError, ValueError, KeyError, ArithmeticError) as error:
        raise UserError(
            f"{path} is no readable file of embeddings ({str(error).splitlines()[0]}).",
            "Save numbers and text only; objects would have to be unpickled.",
        ) from error


def _of_arrays(
    path: Path, arrays: Mapping[str, np.ndarray], given: Mapping[str, str]
) -> tuple[list[str], np.ndarray, dict]:
    matrices = [n for n, a in arrays.items() if a.ndim == 2 and a.dtype.kind in "fiu"]
    named = [n for n in matrices if n.lower() in _MATRICES]
    if FEATURES in given:
        named = [n for n in matrices if n == given[FEATURES]]
    elif not named:
        named = matrices
    if len(named) != 1:
        raise UserError(
            f"{path}: the features could be {' or '.join(map(repr, named))}."
            if named
            else f"{path} has no matrix of features; it has {first_few(sorted(arrays))}.",
            _SAY if named else "Save them as features [images, width].",
        )
    features = arrays[named[0]]
    texts = {
        name: array.astype(str)
        for name, array in arrays.items()
        if array.shape == features.shape[:1] and array.dtype.kind in "UOiu"
    }
    # Names of arrays are mostly in the plural.
    table = pd.DataFrame({name.removesuffix("s"): texts[name] for name in texts}, dtype=str)
    own = {name.removesuffix("s"): name for name in texts}
    given = {role: name.removesuffix("s") for role, name in given.items()}
    image = find_column(table, IMAGE, str(path), given)
    if image is None:
        raise UserError(
            f"{path} does not name the images of its {len(features):,} rows; beside"
            f" {named[0]!r} it has {first_few(sorted(set(arrays) - {named[0]})) or 'nothing'}.",
            "Save their names as 'images', text of the same length.",
        )
    return table[image].tolist(), features, {IMAGE: own[image], FEATURES: named[0]}


def _check(path: Path, names: list[str], features: np.ndarray) -> None:
    twice = sorted(pd.Series(names)[pd.Series(names).duplicated()].unique())
    if twice:
        raise UserError(
            f"{path}: {len(twice):,} image(s) stand in the file twice: {first_few(twice)}.",
            "Keep one row per image.",
        )
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        raise UserError(
            f"{path}: the features of {len(bad):,} image(s) are NaN or infinite:"
            f" {first_few([names[i] for i in bad[:6]])}.",
            "Embed these images again, or take them out of the file.",
        )
