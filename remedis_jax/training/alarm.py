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

# ours: at this spread, or rank, embeddings are one point to rounding, whatever they were before.
_NOTHING = {"feature_std": 1e-3, "embedding_std": 1e-3, "monitor_rankme": 1.0}

# ours: what is measured once in many steps, on the same images each time, is not noise.
_MONITOR_PATIENCE = 2


class CollapseAlarm:
    """Looks at every line of metrics, in order.

    Collapsed is what stays below `ratio` times the highest value that it had in the run for
    `patience` steps in a row, or is nothing from the beginning. The run's own values and not a
    fixed number are the measure, since the features of a fresh network are all much alike too.

    Args:
        action: "warn" once for each of `WATCHED`, "stop" the run, or "off".
        ratio: Between 0 and 1. Healthy runs of all methods here stayed above 0.53 and deliberately
            collapsed ones fell to 0.16 (ours: 0.25).
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
        self._highest: dict[str, tuple[float, int]] = {}
        self._low: dict[str, int] = {}
        self._warned: set[str] = set()

    def look(self, step: int, metrics: Mapping[str, float]) -> str | None:
        """Takes in one line of metrics.

        Returns:
            A warning, the first time that there is reason for one for a metric; otherwise None.

        Raises:
            RunFailed: There is reason for one and the action is "stop".
        """
        if self._action == "off":
            return None
        warnings = [self._look_at(name, step, metrics[name]) for name in WATCHED if name in metrics]
        return "\n".join(filter(None, warnings)) or None

    def _look_at(self, name: str, step: int, value: float) -> str | None:
        highest, when = self._highest.get(name, (-math.inf, step))
        if value > highest:
            highest, when = self._highest[name] = value, step
        # Comparisons that are also right for what is not a number.
        enough = value > max(_NOTHING[name], self._ratio * highest)
        self._low[name] = 0 if enough else self._low.get(name, 0) + 1
        patience = self._patience if name in EVERY_STEP else _MONITOR_PATIENCE
        if self._low[name] < patience or name in self._warned:
            return None
        self._warned.add(name)
        before = f" and was {highest:.3g} at step {when}" if when < step else ""
        problem = (
            f"The embeddings have collapsed: {name} is {value:.3g} at step {step}{before}."
        )
        remedy = (
            "Lower optimizer.learning_rate, lengthen the warm-up, or check that the views "
            "still show what tells images apart; alarm.action=off silences this."
        )
        if self._action == "stop":
            raise RunFailed(problem, remedy)
        return f"warning: {problem} {remedy}"

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
