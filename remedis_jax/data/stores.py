"""Where the images that a manifest names lie: in a folder, in one file, on a slide.

A store gives one image by its name: the bytes of an encoded file, or pixels. All that is done with
images (checks, fingerprints, training, evaluation) goes through it, so that every kind of data is
treated alike. This file holds the folder; the other kinds stand in files of their own.
"""

import os
import re
from typing import Protocol

import numpy as np

from remedis_jax.errors import UserError

_FRAME = re.compile(r"#frame=(\d+)$")


class ImageStore(Protocol):
    """Images by name. Stores can be pickled, and be read in several threads at a time."""

    def read(self, name: str) -> bytes | np.ndarray:
        """The encoded file, or pixels: uint8 or uint16 [H, W] or [H, W, 1 or 3].

        Raises:
            UserError: It cannot be read.
        """

    def head(self, name: str, length: int) -> bytes | np.ndarray:
        """The first bytes of what `read` gives, or more of them; pixels whole.

        Raises:
            UserError: It cannot be read.
        """

    def size(self, name: str) -> int:
        """Bytes that `read` would read, without reading them; -1 where there is no such image."""

    def stamp(self, name: str) -> str:
        """A short text that changes when the image does, without reading it."""


class FolderStore:
    """Files of a folder; their names are paths relative to it, with '/' between folders.

    ``scan.dcm#frame=3`` names one frame of a file of several, counted from 0.

    Args:
        folder: Where relative names start.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = os.fspath(folder)

    def path(self, name: str) -> str:
        """The file of an image."""
        return os.path.join(self.folder, file_name(name))

    def read(self, name: str) -> bytes:
        return self.head(name, -1)

    def head(self, name: str, length: int) -> bytes:
        path = self.path(name)
        try:
            with open(path, "rb") as file:
                return file.read(length)
        except OSError as error:
            reason = (error.strerror or "unknown reason").lower()
            raise UserError(
                f"{path}: the file cannot be read ({reason}).",
                "Replace the file or leave the row out.",
            ) from None

    def size(self, name: str) -> int:
        try:
            return os.stat(self.path(name)).st_size
        except OSError:
            return -1

    def stamp(self, name: str) -> str:
        try:
            found = os.stat(self.path(name))
        except OSError:
            return "absent"
        return f"{found.st_size}:{found.st_mtime_ns}"


def file_name(name: str) -> str:
    """The name without the frame that it may name."""
    return _FRAME.sub("", name)


def frame_of(name: str) -> int | None:
    """The frame that a name asks for; None where it asks for none."""
    found = _FRAME.search(name)
    return None if found is None else int(found[1])
