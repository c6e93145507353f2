"""How many labels of a new hospital an arm saves, by two definitions of "as good as the baseline".

The baseline is one arm with all labels of the new hospital. Another arm matches it at the share f*

- where its mean curve first crosses the baseline's mean (`curves.labels_to_match`), with an
  interval from resampling patients and seeds together, or
- at the first measured share at which it is not inferior by more than a stated margin
  (`non_inferiority`). Here nothing is interpolated, and chance works against the arm.

The saving is 1 / f*, times fewer labels (the relative data saving of REMEDIS; Azizi et al. 2023).
That the baseline is never reached, or is reached with no label at all, is an answer too. Neither
has a reciprocal, and neither becomes a number anywhere.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

from remedis_jax.errors import UserError
from remedis_jax.evaluation.bootstrap import CONFIDENCE
from remedis_jax.evaluation.curves import (
    LabelsToMatch,
    NoCrossing,
    Point,
    Scale,
    labels_to_match_interval,
)
from remedis_jax.evaluation.non_inferiority import (
    Answer,
    NonInferiority,
    non_inferiority,
    written,
)
from remedis_jax.evaluation.not_defined import NotDefined

LabelUnit = Literal["image", "patient"]


@dataclasses.dataclass(frozen=True)
class Amount:
    """What is saved, with its interval.

    Attributes:
        value: A number, or which of the two answers stands instead of one.
        low: Lower end, of the same kind; 'never reached' is below every number.
        high: Upper end; 'already at zero labels' is above every number.
    """

    value: Answer
    low: Answer
    high: Answer

    def as_record(self) -> dict[str, float | str]:
        """Numbers and words for JSON."""
        return {name: written(getattr(self, name)) for name in ("value", "low", "high")}


@dataclasses.dataclass(frozen=True)
class LabelSaving:
    """How many labels an arm saves.

    Attributes:
        arm: Name of the arm.
        metric: By which it is compared.
        share_of_all: Share of the labels that the baseline has; 1 if it has all.
        patients: The baseline's labelled patients.
        images: Their images.
        crossing: Share at which the mean curve reaches the baseline, with its interval.
        smallest: Smallest measured share above zero. Below it the curve is a straight line to
            zero labels, so a saving above `largest` says no more than "more than that".
        at_most: True where the curve has no point at zero labels and is there at its first share,
            which is then an upper bound.
        non_inferior: The second definition.
        minutes: A clinician's minutes per label; None where nobody stated them.
        unit: What a label is given to.
    """

    arm: str
    metric: str
    share_of_all: float
    patients: int
    images: int
    crossing: LabelsToMatch | NotDefined
    smallest: float | None
    at_most: bool
    non_inferior: NonInferiority
    minutes: float | None
    unit: LabelUnit

    @property
    def saving(self) -> Amount | NotDefined:
        """Times fewer labels, by the crossing: 1 / f* where the baseline has all labels."""
        return self._from_crossing(lambda share: self.share_of_all / share)

    @property
    def non_inferior_saving(self) -> Answer | NotDefined:
        """Times fewer labels, by the margin; its share is measured and has no interval."""
        share = self.non_inferior.share
        return self.share_of_all / share if isinstance(share, float) else share

    @property
    def largest(self) -> float | None:
        """The largest saving that the measured shares can tell; None without one above zero."""
        return None if self.smallest is None else self.share_of_all / self.smallest

    @property
    def patients_saved(self) -> Amount | NotDefined:
        """Patients of the new hospital that need no label, by the crossing."""
        return self._from_crossing(lambda share: self._unused(share, self.patients))

    @property
    def images_saved(self) -> Amount | NotDefined:
        """Images of the new hospital that need no label, by the crossing."""
        return self._from_crossing(lambda share: self._unused(share, self.images))

    @property
    def hours_saved(self) -> Amount | NotDefined | None:
        """Clinician-hours that are not spent on labels; None where no minutes were stated."""
        if self.minutes is None:
            return None
        labels = self.images if self.unit == "image" else self.patients
        return self._from_crossing(lambda share: self._unused(share, labels) * self.minutes / 60)

    def as_record(self) -> dict[str, Any]:
        """Numbers, words and null for JSON; no NaN and no infinity."""
        hours = self.hours_saved
        by_crossing: dict[str, Any] = {}
        if isinstance(self.crossing, NotDefined):
            by_crossing["not_defined"] = self.crossing.reason
        else:
            by_crossing = {
                "share": Amount(*dataclasses.astuple(self.crossing)).as_record(),
                "share_is_upper_bound": self.at_most,
                "saving": self.saving.as_record(),
                "patients_saved": self.patients_saved.as_record(),
                "images_saved": self.images_saved.as_record(),
                "hours_saved": None if hours is None else hours.as_record(),
            }
        by_margin = self.non_inferior.as_record()
        if "share" in by_margin:
            by_margin["saving"] = written(self.non_inferior_saving)
        return {
            "arm": self.arm,
            "metric": self.metric,
            "baseline_share": self.share_of_all,
            "baseline_patients": self.patients,
            "baseline_images": self.images,
            "smallest_measured_share": self.smallest,
            "crossing": by_crossing,
            "non_inferior": by_margin,
            "minutes_per_label": self.minutes,
            "label_unit": self.unit,
        }

    def _unused(self, share: float, labels: int) -> float:
        return labels - labels * share / self.share_of_all

    def _from_crossing(self, of_share: Callable[[float], float]) -> Amount | NotDefined:
        """A falling function of the share; the ends change places, the two answers stay."""
        if isinstance(self.crossing, NotDefined):
            return self.crossing
        value, high, low = (
            share if isinstance(share, NoCrossing) else of_share(share)
            for share in (self.crossing.value, self.crossing.low, self.crossing.high)
        )
        return Amount(value, low, high)


def label_saving(
    points: Sequence[Point],
    baseline: Point,
    metric: str,
    *,
    margin: float,
    minutes_per_label: float | None = None,
    unit: LabelUnit = "image",
    scale: Scale = "log",
    confidence: float = CONFIDENCE,
) -> LabelSaving:
    """What an arm saves against the baseline with all labels.

    Args:
        points: The arm on the new hospital, one or more, ascending in share; zero-shot is 0.
        baseline: The baseline arm with all labels of the new hospital, on the same test patients.
        metric: Tells which direction is better.
        margin: By how much an arm may be worse and still count as not inferior, in the unit of
            the metric; a clinical judgement that has to be made before the result is seen.
        minutes_per_label: A clinician's time for one label.
        unit: What a label is given to, each 'image' or each 'patient'.
        scale: As in `curves.labels_to_match`.
        confidence: Of all intervals.

    Raises:
        UserError: The margin or the minutes are negative or no finite number; the points are not
            on the baseline's test patients.
    """
    _check(margin, minutes_per_label, unit)
    measured = [point.fraction for point in points if point.fraction > 0]
    crossing = labels_to_match_interval(
        points, baseline, metric, scale=scale, confidence=confidence
    )
    return LabelSaving(
        arm=points[0].arm,
        metric=metric,
        share_of_all=baseline.fraction,
        patients=baseline.n_patients,
        images=baseline.n_images,
        crossing=crossing,
        smallest=min(measured, default=None),
        at_most=isinstance(crossing, LabelsToMatch) and crossing.value == points[0].fraction,
        non_inferior=non_inferiority(points, baseline, metric, margin, confidence),
        minutes=minutes_per_label,
        unit=unit,
    )


def _check(margin: float, minutes: float | None, unit: str) -> None:
    if not (math.isfinite(margin) and margin >= 0):
        raise UserError(
            f"margin is {margin:g}.",
            "Give how much worse still counts as equal, 0 or more, in the unit of the metric.",
        )
    if minutes is not None and not (math.isfinite(minutes) and minutes > 0):
        raise UserError(
            f"minutes_per_label is {minutes:g}.", "Give a number above 0, or leave it out."
        )
    if unit not in get_args(LabelUnit):
        raise UserError(f"a label's unit is {unit!r}.", "Use 'image' or 'patient'.")
