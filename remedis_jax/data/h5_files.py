"""HDF5 files of other tools: opened, and their arrays found, with all that is strange refused.

Nothing is unpickled, and links that lead into other files are not followed.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from remedis_jax.errors import UserError


@contextlib.contextmanager
def open_h5(path: str | os.PathLike) -> Iterator[Any]:
    """The file, opened for reading.

    Raises:
        UserError: h5py is missing, or the file is missing, damaged or of another kind.
    """
    path = Path(path)
    if path.suffix.lower() in (".pt", ".pth", ".pkl", ".pickle"):
        # The answer to .pt files of CLAM and slide2vec, too: they hold pickles.
        raise UserError(
            f"{path}: is a pickle, which can run code when it is read.",
            "Give the tool's .h5 file, or write the arrays to one.",
        )
    try:
        import h5py
    except ImportError:
        raise UserError(
            f"{path}: HDF5 files need h5py.", "Install the extra: pip install 'remedis_jax[h5]'."
        ) from None
    try:
        file = h5py.File(path, "r")
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file.", "Correct its name or restore it.") from (
            None
        )
    except OSError:
        raise UserError(f"{path}: is damaged, or no HDF5 file.", "Write it again.") from None
    with file:
        yield file


def find_array(
    file: Any, names: Sequence[str], kinds: str, path: str | os.PathLike
) -> Any | None:
    """The first of `names` that the file has, as a dataset; None where it has none of them.

    Args:
        file: From `open_h5`.
        names: Of datasets at the top of the file.
        kinds: numpy's kinds that it may have, such as 'iu' for whole numbers.
        path: Of the file, for errors.

    Raises:
        UserError: It is a link into another file, no array, or of another type.
    """
    import h5py

    for name in names:
        link = file.get(name, getlink=True)
        if link is None:
            continue
        if isinstance(link, h5py.ExternalLink):
            raise UserError(f"{path}: {name!r} leads into another file.", "Copy the array here.")
        found = file.get(name)
        if not isinstance(found, h5py.Dataset) or found.is_virtual or found.external:
            raise UserError(f"{path}: {name!r} is no array of this file.", "Write it again.")
        if found.dtype.kind not in kinds:
            raise UserError(
                f"{path}: {name!r} holds {found.dtype}, not numbers as expected.", "Write it again."
            )
        return found
    return None


def attributes(*places: Any) -> dict[str, Any]:
    """Attributes that are single numbers or texts, as Python's; those of later places win."""
    found: dict[str, Any] = {}
    for place in places:
        for name in place.attrs:
            value = place.attrs[name]
            if isinstance(value, bytes):
                value = value.decode("utf-8", "backslashreplace")
            if isinstance(value, np.ndarray) and value.size == 1 and value.dtype.kind in "biuf":
                value = value.reshape(())[()]
            if isinstance(value, np.generic):
                value = value.item()
            if isinstance(value, str | int | float | bool):
                found[name] = value
    return found
