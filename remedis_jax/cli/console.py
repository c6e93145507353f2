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
    last = time.monotonic()
    first: tuple[int, float] | None = None
    before = 0

    def progress(done: int, total: int) -> None:
        nonlocal first, last, before
        now = time.monotonic()
        if first is None or done < before:
            # What a resumed run has found done already says nothing of its rate; and neither does
            # what came before where the next of several lists begins.
            first = done, now
        before = done
        if now - last < interval or done == first[0]:
            return
        last = now
        rate = (done - first[0]) / (now - first[1])
        shown = f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
        print(
            f"{what}: {done:,}/{total:,}  {shown}/s  {(total - done) / rate:.0f} s left",
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


def read_tiles(text: str | None) -> dict[str, str | int | float] | None:
    """What `--tiles slide=file,x=x,y=y,size=256` says; numbers are read as such.

    Raises:
        UserError: A part has no "=".
    """
    if text is None:
        return None
    tiles: dict[str, str | int | float] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not equals:
            raise UserError(
                f"--tiles {part!r} has no value.", "Write slide=COLUMN,x=COLUMN,y=COLUMN,size=256."
            )
        try:
            tiles[name.strip()] = int(value) if value.strip().isdigit() else float(value)
        except ValueError:
            tiles[name.strip()] = value.strip()
    return tiles


def read_share(option: str, text: str) -> float:
    """A share from `0.1%` or `0.001`.

    Raises:
        UserError: It is neither, or not between 0 and 1.
    """
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise UserError(f"{option} {text!r} is no share.", "Write e.g. 0.1% or 0.001.")
    return share


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
