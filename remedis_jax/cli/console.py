"""What the sub-commands share in talking to the user."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator

from remedis_jax.errors import RunFailed, UserError


class Announcer:
    """Prints each thing that starts, with the time since the command began."""

    def __init__(self):
        self._start = time.monotonic()

    def __call__(self, line: str) -> None:
        elapsed = int(time.monotonic() - self._start)
        print(f"[{elapsed // 60:d}:{elapsed % 60:02d}] {line}", flush=True)


def count_progress(what: str, interval: float = 5.0) -> Callable[[int, int], None]:
    """A (done, total) callback that prints a line with rate and time left now and then."""
    start = last = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < interval:
            return
        last = now
        rate = done / (now - start)
        print(
            f"{what}: {done:,}/{total:,}  {rate:,.0f}/s  {(total - done) / rate:.0f} s left",
            file=sys.stderr,
            flush=True,
        )

    return progress


def read_filters(texts: Iterable[str] | None) -> dict[str, list[str]]:
    """The rows that `--where COLUMN=VALUE ...` asks for: column -> accepted values.

    Raises:
        UserError: One has no "=".
    """
    filters: dict[str, list[str]] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--where {text!r} has no value.", "Write --where COLUMN=VALUE.")
        filters.setdefault(name, []).append(value)
    return filters


@contextlib.contextmanager
def disk_errors() -> Iterator[None]:
    """Turns an error of the file system into one line."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.strerror is None:
            raise
        raise RunFailed(
            f"{error.filename or 'A file'} could not be written or read ({error.strerror}).",
            "Check the path, its permissions and the free space, then repeat the command.",
        ) from error
