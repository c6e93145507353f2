"""Where an arm is shown to be not worse than the baseline by more than a margin.

An arm is not inferior where the whole interval of the paired difference to the baseline lies on the
good side of the margin (Piaggio et al. 2012, the CONSORT extension for non-inferiority trials).
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from remedis_jax.evaluation.bootstrap import CONFIDENCE, Interval, difference_of
from remedis_jax.evaluation.curves import NoCrossing, Point
from remedis_jax.evaluation.metrics import LOWER_IS_BETTER
from remedis_jax.evaluation.not_defined import NotDefined

Answer = float | NoCrossing


@dataclasses.dataclass(frozen=True)
class NonInferiority:
    """Where an arm is not worse than the baseline by more than a margin.

    Attributes:
        margin: In the unit of the metric, at least 0.
        share: First measured share at which it is not; a `NoCrossing`; or why nothing is known.
        stays: Whether it is so at every larger measured share as well; None where it never is.
        differences: Share -> arm minus baseline there, or why they cannot be compared; such
            shares are passed over.
        within: Share -> whether the difference there is within the margin, where there is one.
    """

    margin: float
    share: Answer | NotDefined
    stays: bool | None
    differences: dict[float, Interval | NotDefined]
    within: dict[float, bool]

    def as_record(self) -> dict[str, Any]:
        """Numbers and words for JSON."""
        if isinstance(self.share, NotDefined):
            return {"margin": self.margin, "not_defined": self.share.reason}
        return {
            "margin": self.margin,
            "share": written(self.share),
            "stays_at_larger_shares": self.stays,
            "passed_over": {
                f"{share:g}": difference.reason
                for share, difference in self.differences.items()
                if isinstance(difference, NotDefined)
            },
        }


def non_inferiority(
    points: Sequence[Point],
    baseline: Point,
    metric: str,
    margin: float,
    confidence: float = CONFIDENCE,
) -> NonInferiority:
    """The first measured share from which an arm is not worse by more than `margin`.

    Arguments as `label_saving.label_saving`.
    """
    differences = {point.fraction: paired(point, baseline, confidence) for point in points}
    lower = metric.partition("/")[0] in LOWER_IS_BETTER
    within = {
        share: (-difference.high if lower else difference.low) >= -margin
        for share, difference in differences.items()
        if isinstance(difference, Interval)
    }
    if not within:
        return NonInferiority(margin, next(iter(differences.values())), None, differences, within)
    first = next((share for share, inside in within.items() if inside), None)
    if first is None:
        return NonInferiority(margin, NoCrossing.NEVER_REACHED, None, differences, within)
    return NonInferiority(
        margin,
        float(first) if first > 0 else NoCrossing.ALREADY_AT_ZERO,
        all(inside for share, inside in within.items() if share > first),
        differences,
        within,
    )


def paired(
    point: Point, baseline: Point, confidence: float = CONFIDENCE
) -> Interval | NotDefined:
    """The difference of two settings, point minus baseline, or why they cannot be paired."""
    if point.seeds != baseline.seeds:
        of_arm, of_baseline = (", ".join(map(str, p.seeds)) for p in (point, baseline))
        return NotDefined(f"the arms have different seeds, {of_arm} and {of_baseline}")
    return difference_of(point.runs, baseline.runs, confidence)


def written(answer: Answer) -> float | str:
    """The number, or the words of an answer that is none; for JSON and CSV."""
    return answer.value if isinstance(answer, NoCrossing) else float(answer)
