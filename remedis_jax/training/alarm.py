"""The collapse alarm: self-supervision that has stopped telling images apart.

Losses without negatives can be driven to nothing by an encoder that gives every image the same
embedding, and the loss curve looks fine while it happens. What gives it away is the spread of the
embeddings, which every step reports (`objectives.spread`), and their effective rank, which the
monitor reports now and then.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from remedis_jax.errors import RunFailed, UserError

ACTIONS = ("warn", "stop", "off")

# Both ends of the network, since BatchNorm in a head can keep `embedding_std` at 1 while the
# features have become one point, and a dead head can do the opposite.
EVERY_STEP = ("feature_std", "embedding_std")
WATCHED = (*EVERY_STEP, "monitor_rankme")

# ours: what is measured once in many steps, on the same images each time, is not noise.
_MONITOR_PATIENCE = 2


class CollapseAlarm:
    """Looks at every line of metrics, in order.

    Collapsed is what stays below `ratio` times its value at the start of the run for `patience`
    steps in a row. The start and not a fixed number is the measure, since the features of a fresh
    network are all much alike too.

    Args:
        action: "warn" once, "stop" the run, or "off".
        ratio: Between 0 and 1. Healthy runs of all methods here fell to 0.47 and deliberately
            collapsed ones to 0.16 (ours: 0.25).
        patience: Steps in a row, 1 or more (ours: 20). For the monitor's metrics it is two
            measurements.

    Raises:
        UserError: An argument is out of range.
    """

    def __init__(self, action: str = "warn", ratio: float = 0.25, patience: int = 20):
        if action not in ACTIONS:
            raise UserError(f"alarm.action is {action!r}.", f"Use {', '.join(ACTIONS)}.")
        if not 0 < ratio < 1:
            raise UserError(f"alarm.ratio is {ratio}.", "Use a number between 0 and 1.")
        if patience < 1:
            raise UserError(f"alarm.patience is {patience}.", "Use a whole number of 1 or more.")
        self._action, self._ratio, self._patience = action, ratio, patience
        self._start: dict[str, float] = {}
        self._low: dict[str, int] = {}
        self._warned: set[str] = set()

    def look(self, step: int, metrics: Mapping[str, float]) -> str | None:
        """Takes in one line of metrics.

        Returns:
            A warning, the first time that there is reason for one; otherwise None.

        Raises:
            RunFailed: There is reason for one and the action is "stop".
        """
        for name in WATCHED:
            if self._action == "off" or name not in metrics:
                continue
            value = metrics[name]
            start = self._start.setdefault(name, value)
            low = not value >= self._ratio * start or not math.isfinite(value)
            self._low[name] = self._low.get(name, 0) + 1 if low else 0
            patience = self._patience if name in EVERY_STEP else _MONITOR_PATIENCE
            if self._low[name] < patience or name in self._warned:
                continue
            self._warned.add(name)
            problem = (
                f"The embeddings have collapsed: {name} is {value:.3g} at step {step} and was "
                f"{start:.3g} at the start."
            )
            remedy = (
                "Lower optimizer.learning_rate, lengthen the warm-up, or check that the views "
                "still show what tells images apart; alarm.action=off silences this."
            )
            if self._action == "stop":
                raise RunFailed(problem, remedy)
            return f"warning: {problem} {remedy}"
        return None

    def replay(self, path: Path, last_step: int) -> None:
        """Takes in what an interrupted run had written up to the step it goes on from.

        A resumed run therefore decides as one that was never interrupted.

        Args:
            path: `metrics.jsonl`; may be absent.
            last_step: Lines of later steps are left out.
        """
        if last_step == 0 or not path.is_file():
            return
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            # A kill can cut the last line in two; such a line is of a later step.
            if line.endswith("\n"):
                row = json.loads(line)
                if row["step"] <= last_step:
                    self.look(row["step"], row)
