"""What a run shows while it works: a bar on a terminal, a line now and then elsewhere."""

import sys
import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)


class StepProgress:
    """Progress, rate and time left of a run of known length.

    Args:
        title: What is running.
        total: Steps of the whole run.
        first: Steps already made before this process.
        interval: Seconds between lines where standard error is not a terminal.
        enabled: False in the processes that do not speak.
    """

    def __init__(
        self,
        title: str,
        total: int,
        *,
        first: int = 0,
        interval: float = 10.0,
        enabled: bool = True,
    ):
        self._enabled = enabled
        self.title, self.total, self.first = title, total, first
        self._interval = interval
        self._start = self._last_line = time.monotonic()
        self._bar = None
        if enabled and sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task(title, total=total, completed=first, note="")

    def __enter__(self):
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *exception):
        if self._bar:
            self._bar.stop()

    def update(self, step: int, *, examples_per_second: float, loss: float) -> None:
        """Tells that `step` steps have been made."""
        if not self._enabled:
            return
        note = f"loss {loss:.4f}  {examples_per_second:,.0f} images/s"
        if self._bar:
            self._bar.update(self._task, completed=step, note=note)
            return
        now = time.monotonic()
        if now - self._last_line < self._interval and step != self.total:
            return
        self._last_line = now
        made = max(step - self.first, 1)
        left = (now - self._start) / made * (self.total - step)
        print(
            f"{self.title}: step {step}/{self.total}  {note}  {left:.0f} s left",
            file=sys.stderr,
            flush=True,
        )
