"""Watches cells that other processes work on, by their files."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from remedis_jax.data.messages import first_few
from remedis_jax.errors import RunFailed, UserError
from remedis_jax.sweeps.cells import FINISHED, REFUSED, CellFolder, Outcome

Announce = Callable[[str], None]
# ours: seconds between two lines when nothing has ended.
_QUIET_SECONDS = 60.0


class Watch:
    """Says how many cells are done, whenever that changes and now and then.

    Args:
        folders: The cells.
        announce: Called with the line.
    """

    def __init__(self, folders: Sequence[CellFolder], announce: Announce):
        self._folders, self._announce = folders, announce
        self._outcomes: dict[Path, Outcome] = {}
        self._begun = self._said = time.monotonic()
        self._before: Counter[str] = Counter()

    def look(self) -> int:
        """Looks at the files once; returns how many cells have no outcome yet."""
        for folder in self._folders:
            if folder.path not in self._outcomes:
                outcome = folder.outcome()
                if outcome is not None:
                    self._outcomes[folder.path] = outcome
        counts = Counter(outcome.status for outcome in self._outcomes.values())
        open_ = len(self._folders) - len(self._outcomes)
        now = time.monotonic()
        if counts != self._before or (open_ and now - self._said > _QUIET_SECONDS):
            self._before, self._said = counts, now
            running = sum(
                folder.path not in self._outcomes and _seems_running(folder)
                for folder in self._folders
            )
            line = (
                f"{counts[FINISHED]} of {len(self._folders)} cells done, {running} running, "
                f"{len(self._outcomes) - counts[FINISHED]} failed"
            )
            if self._outcomes and open_:
                line += f"; {(now - self._begun) / len(self._outcomes) * open_:.0f} s left"
            self._announce(line)
        return open_

    def outcomes(self) -> Iterable[Outcome]:
        """Those that were there at the last look."""
        return self._outcomes.values()


def _seems_running(folder: CellFolder) -> bool:
    """Whether the last that a cell has said is that it goes; one that was killed still says so.

    The lock would be the truth, but a look at it can keep a worker from taking the cell.
    """
    events = folder.events()
    return bool(events) and events[-1]["event"] in ("started", "continued")


def is_held(folder: CellFolder) -> bool:
    """Whether a process works on the cell now; not to be asked while workers choose cells."""
    with folder.locked(folder.cell().run) as free:
        return not free


def require_outcomes(folders: Sequence[CellFolder], logs: Sequence[Path]) -> None:
    """Checks that processes which have ended left an outcome for each of their cells.

    Raises:
        UserError: The input of a cell was wrong.
        RunFailed: A cell has no outcome.
    """
    open_ = []
    for folder in folders:
        outcome = folder.outcome()
        if outcome is None:
            open_.append(folder)
        elif outcome.status == REFUSED:
            raise UserError(f"{folder.cell().title}: {outcome.problem}", outcome.remedy)
    if open_:
        busy = sum(is_held(folder) for folder in open_)
        raise RunFailed(
            f"{len(open_)} cell(s) have no outcome: "
            f"{first_few([folder.cell().title for folder in open_], '; ')}; "
            + (f"another process works on {busy} of them." if busy else "their process ended."),
            f"Read {first_few([str(log) for log in logs])}, then repeat the command.",
        )
