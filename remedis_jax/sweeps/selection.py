"""The setting of each arm, chosen by the validation rows and by nothing else."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from remedis_jax.errors import RunFailed, UserError
from remedis_jax.evaluation.metrics import LOWER_IS_BETTER
from remedis_jax.sweeps.cells import FINISHED, Cell, Outcome


@dataclasses.dataclass(frozen=True)
class Choice:
    """The best point of an arm.

    Attributes:
        axes: (dotted key, value) pairs.
        validation: Its validation score.
        tried: Cells of the arm that have a score.
        failed: Cells that failed and so could not be chosen.
        undefined: Cells whose metric was not defined on the validation rows.
    """

    axes: tuple[tuple[str, Any], ...]
    validation: float
    tried: int
    failed: int
    undefined: int


def choose(
    results: Sequence[tuple[Cell, Outcome]], metric: str
) -> Mapping[str, Choice]:
    """Chooses for every arm the point that validates best; of equals, the first in the grid.

    Args:
        results: The grid's cells in their order, with their outcomes.
        metric: What to choose by; LOWER_IS_BETTER names those of which less is better.

    Raises:
        UserError: The metric is defined for no cell of an arm.
        RunFailed: All cells of an arm failed.
    """
    sign = -1 if metric in LOWER_IS_BETTER else 1
    choices = {}
    for arm in dict.fromkeys(cell.arm for cell, _ in results):
        own = [(cell, outcome) for cell, outcome in results if cell.arm == arm]
        finished = [pair for pair in own if pair[1].status == FINISHED]
        scored = [pair for pair in finished if pair[1].validation is not None]
        if not finished:
            raise RunFailed(
                f"All {len(own)} cells of {arm} failed; the first: {own[0][1].problem}",
                "Correct that, then repeat the command.",
            )
        if not scored:
            raise UserError(
                f"{metric} is not defined on the validation rows of any cell of {arm}.",
                "Enlarge the validation set, or choose another metric.",
            )
        # max() keeps the first of equals.
        cell, outcome = max(scored, key=lambda pair: sign * pair[1].validation)
        choices[arm] = Choice(
            cell.axes, outcome.validation, len(scored), len(own) - len(finished),
            len(finished) - len(scored),
        )  # fmt: skip
    return choices
