"""A folder of exported files that appears complete or not at all."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from remedis_jax.errors import UserError


@contextlib.contextmanager
def complete_folder(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out` that takes its name if the block ends without an error.

    Args:
        out: Must not exist yet; parents are made.

    Raises:
        UserError: It exists, or its parent is a file.
        OSError: It cannot be written.
    """
    # Absolute, since what checks the files runs elsewhere.
    out = Path(out).absolute()
    if out.exists() or out.is_symlink():
        raise UserError(f"{out} exists already.", "Give --out a new folder, or remove that one.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"{out.parent} is no folder.", "Give --out another place.") from error
    temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".tmp", dir=out.parent))
    try:
        yield temporary
        # mkdtemp and safetensors make what only its owner can read.
        mask = os.umask(0)
        os.umask(mask)
        for path in temporary.iterdir():
            path.chmod(0o666 & ~mask)
        temporary.chmod(0o777 & ~mask)
        os.rename(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
