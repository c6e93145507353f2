"""A scheduler or a user wants the run to stop: noted, and agreed on by all processes."""

import signal
import time
from typing import Any

import jax
import numpy as np

from remedis_jax.training import processes

# ours: seconds and steps between the moments when several processes ask each other whether to
# stop; schedulers leave half a minute or so between SIGTERM and SIGKILL.
_ASK_SECONDS = 2.0
_ASK_STEPS = 20


class StopSignal:
    """Notes SIGTERM and SIGINT instead of dying of them; a second one acts as usual."""

    def __init__(self):
        self.received = ""
        self._next_ask = 0
        self._asked = (0, time.monotonic())
        self._previous: dict[int, Any] = {}

    def __enter__(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                self._previous[number] = signal.signal(number, self._note)
            except ValueError:
                # Only the main thread may set handlers; in another, its owner decides.
                return self
        return self

    def __exit__(self, *exception):
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def agreed(self, step: int) -> bool:
        """Whether to stop after this step: all processes at the same one.

        Several processes ask each other every few steps only, since asking waits for the slowest.
        How many, they agree on as well, by the slowest one's clock.
        """
        if step < self._next_ask:
            return False
        now = time.monotonic()
        seconds = (now - self._asked[1]) / max(step - self._asked[0], 1)
        stop, slowest = processes.largest((float(bool(self.received)), seconds))
        self._asked = step, now
        if jax.process_count() > 1:
            self._next_ask = step + int(np.clip(_ASK_SECONDS / max(slowest, 1e-9), 1, _ASK_STEPS))
        return bool(stop)

    def _note(self, number, frame):
        self.received = signal.Signals(number).name
        signal.signal(number, self._previous[number])
