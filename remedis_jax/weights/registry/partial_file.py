"""The beginning of a file that is being downloaded, and the lock that lets one process write it."""

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from remedis_jax.errors import RunFailed


@dataclasses.dataclass
class PartialFile:
    """`NAME.part`, and in `NAME.part.json` which version of which address it is the beginning of.

    Attributes:
        target: The file that is to come of it.
        url: Where it comes from.
        validator: What tells the server's version from others: a strong ETag or a date; "" if the
            server gives none, and then it cannot be gone on with.
        total: Bytes of the whole file, 0 if unknown.
    """

    target: Path
    url: str
    validator: str = ""
    total: int = 0

    @property
    def path(self) -> Path:
        return self.target.with_name(self.target.name + ".part")

    @property
    def _about(self) -> Path:
        return self.target.with_name(self.target.name + ".part.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def is_whole(self) -> bool:
        return bool(self.total) and self.size == self.total

    def load(self) -> None:
        """Takes up what an earlier run has left, or removes it if it cannot be gone on with."""
        try:
            about = json.loads(self._about.read_text(encoding="utf-8"))
            same = about["url"] == self._identity and bool(about["validator"])
            self.validator, self.total = str(about["validator"]), int(about["total"])
        except (OSError, ValueError, TypeError, KeyError):
            # None there, or cut off when its writer was killed: what it was a part of is unknown.
            same = False
        if not same or (self.total and self.size > self.total):
            self.remove()

    def begin(self, validator: str, total: int) -> None:
        """Starts at the first byte of a version of the file."""
        self.remove()
        self.validator, self.total = validator, total
        about = {"url": self._identity, "validator": validator, "total": total}
        self._about.write_text(json.dumps(about), encoding="utf-8")
        self.path.touch()

    def remove(self) -> None:
        """Forgets what is there."""
        self.validator, self.total = "", 0
        self.path.unlink(missing_ok=True)
        self._about.unlink(missing_ok=True)

    @property
    def _identity(self) -> str:
        """Tells addresses apart without showing them: a query may hold a signature."""
        return hashlib.sha256(self.url.encode()).hexdigest()


@contextlib.contextmanager
def alone(target: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Waits until no other process works on `target`, and keeps others out meanwhile.

    The lock ends with the process that holds it, however that ends.

    Args:
        target: What is going to be written.
        waiting: Called again and again while another process has the lock.

    Raises:
        RunFailed: The file system knows no locks.
        OSError: The folder cannot be written to.
    """
    path = target.with_name(f".{target.name}.lock")
    while True:
        file = open(path, "w", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise RunFailed(
                    f"{target.parent} does not support locks ({error.strerror}).",
                    "Let REMEDIS_MODELS begin with a folder on a local disk.",
                ) from error
            waiting()
            time.sleep(0.2)
            continue
        # Whoever had the lock removes its file; what is locked now may be one that is gone.
        if _is_at(path, file.fileno()):
            break
        file.close()
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
