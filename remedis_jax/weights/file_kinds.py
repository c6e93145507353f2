"""What a file is by its first bytes, so that weights of another kind are refused by name."""

import os
import zipfile
from pathlib import Path

from remedis_jax.errors import UserError

_PICKLE = "a pickle, which can run any program when it is opened"


def file_kind(path: Path) -> str:
    """What a file is, by its first bytes and, of a zip, its table of contents; nothing is loaded.

    Returns:
        "safetensors", "npz", "numpy", "pickle", "torch", "hdf5", "html", "empty" or "unknown".

    Raises:
        UserError: It cannot be read.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(512)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.", "Restore it.") from error
    if not start:
        return "empty"
    if start.startswith(b"PK\x03\x04") or start.startswith(b"PK\x05\x06"):
        return _zip_kind(path)
    # Pickle protocols 2 to 5, and the magic number that old torch.save begins with.
    if start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05":
        return "pickle"
    if start.startswith(b"\x93NUMPY"):
        return "numpy"
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return "hdf5"
    if start.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "html"
    # A little-endian header length, then a JSON object.
    length = int.from_bytes(start[:8], "little")
    if len(start) > 8 and start[8:9] == b"{" and 2 <= length <= os.path.getsize(path):
        return "safetensors"
    if start[:1] in b"(c}]" and b"\n" in start:
        # Protocol 0 is text; what begins so is either a pickle or none of ours.
        return "pickle"
    return "unknown"


def _zip_kind(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):
        return "unknown"
    if any(name.endswith(".pkl") for name in names):
        return "torch"
    return "npz" if names and all(name.endswith(".npy") for name in names) else "unknown"


_REFUSALS = {
    "npz": ("is an .npz", "Bring it in first: remedis import bit FILE.npz"),
    "numpy": ("is a single NumPy array", "Give a weights.safetensors."),
    "pickle": (f"is {_PICKLE}", "Ask for the weights as safetensors."),
    "torch": (f"is a PyTorch archive with {_PICKLE}", "Ask for the weights as safetensors."),
    "hdf5": ("is an HDF5 file", "Give the BiT .npz or a safetensors file."),
    "html": ("is a web page", "Download it again; the server sent an error or a log-in page."),
    "empty": ("is empty (0 bytes)", "Copy or make it again."),
}


def refuse_other_kinds(path: Path, wanted: str = "safetensors") -> None:
    """Raises UserError where a file is not of the wanted kind, with what it is instead.

    Args:
        path: An existing file.
        wanted: As `file_kind` names it.
    """
    kind = file_kind(path)
    if kind == wanted:
        return
    if kind == "unknown":
        problem, remedy = f"is not a readable {wanted} file", "Copy or make it again."
    else:
        problem, remedy = _REFUSALS.get(kind, (f"is a {kind} file", f"Give a {wanted} file."))
    raise UserError(f"{path} {problem}.", remedy)
