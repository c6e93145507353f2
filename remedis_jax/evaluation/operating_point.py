"""Where a score becomes a decision: the operating point, chosen on validation predictions.

A score of the threshold or more is called positive. Thresholds are chosen among the scores that
validation has, so they never lie where nothing was observed; and never on the test set, whose
sensitivity would then be too good.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from remedis_jax.errors import UserError
from remedis_jax.evaluation.binary_problems import BinaryProblem, binary_problems
from remedis_jax.evaluation.not_defined import NotDefined
from remedis_jax.evaluation.predictions import Predictions

YOUDEN = "youden"
_AT_LEAST = ("sensitivity", "specificity")


@dataclasses.dataclass(frozen=True)
class OperatingPoint:
    """Thresholds and where they are from.

    Attributes:
        rule: As `choose_operating_point` takes it.
        thresholds: One per problem of `binary_problems`, for `Predictions.at`; `NotDefined` for a
            finding or class of which none could be chosen, where others could.
        on: What they were chosen on, in words: '412 images of 96 patients'.
    """

    rule: str
    thresholds: tuple[float | NotDefined, ...]
    on: str


def choose_operating_point(
    validation: Predictions, rule: str = YOUDEN
) -> OperatingPoint | NotDefined:
    """Chooses a threshold for every problem of `binary_problems`, each by itself.

    Args:
        validation: Predictions of the model that the thresholds are for, on rows that are not the
            test set; scored as the test set is (by image or by patient, before or after a
            temperature).
        rule: 'youden': the greatest sensitivity + specificity - 1; of several such thresholds the
            highest, which calls the fewest positive. 'sensitivity=0.9': the highest threshold
            whose sensitivity is at least that. 'specificity=0.9': the lowest threshold whose
            specificity is at least that. Shares are compared in whole numbers of images, so
            rounding decides no tie.

    Returns:
        The operating point; `NotDefined` where no problem has one: the labels are of one class, or
        no observed score has that specificity.

    Raises:
        UserError: The rule is none of these, or its share is not in (0, 1].

    References:
        Youden 1950 (Cancer 3:32).
    """
    choose = parse_rule(rule)
    if validation.kind == "survival":
        return NotDefined("survival has no operating point")
    problems = binary_problems(validation)
    thresholds = tuple(problem.one_class_only or choose(problem) for problem in problems)
    reasons = [found for found in thresholds if isinstance(found, NotDefined)]
    if len(reasons) == len(thresholds):
        return NotDefined(f"no operating point from validation: {reasons[0].reason}")
    patients = len(np.unique(validation.groups))
    on = f"{len(validation.images):,} images of {patients:,} patients"
    return OperatingPoint(rule, thresholds, on)


def parse_rule(rule: str) -> Callable[[BinaryProblem], float | NotDefined]:
    """The rule as a function of a problem that has both classes.

    Raises:
        UserError: As `choose_operating_point`.
    """
    if rule == YOUDEN:
        return _youden
    name, equals, text = rule.partition("=")
    if name not in _AT_LEAST or not equals:
        raise UserError(
            f"operating point {rule!r} is unknown.",
            f"Choose '{YOUDEN}', 'sensitivity=0.9' or 'specificity=0.9'.",
        )
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise UserError(
            f"operating point {rule!r}: {text!r} is not a share.",
            f"Give a number above 0 and up to 1, as in '{name}=0.9'.",
        )
    at_least = _sensitivity_at_least if name == "sensitivity" else _specificity_at_least
    return lambda problem: at_least(problem, share)


def _youden(problem: BinaryProblem) -> float:
    true_negatives, false_positives, false_negatives, true_positives, scores = _table(problem)
    positives = true_positives[0] + false_negatives[0]
    negatives = true_negatives[0] + false_positives[0]
    # Sensitivity - (1 - specificity), times positives x negatives: whole numbers.
    return float(scores[np.argmax(true_positives * negatives - false_positives * positives)])


def _sensitivity_at_least(problem: BinaryProblem, share: float) -> float:
    _, _, false_negatives, true_positives, scores = _table(problem)
    enough = true_positives / (true_positives + false_negatives) >= share
    return float(scores[np.argmax(enough)])


def _specificity_at_least(problem: BinaryProblem, share: float) -> float | NotDefined:
    true_negatives, false_positives, _, _, scores = _table(problem)
    enough = true_negatives / (true_negatives + false_positives) >= share
    if not enough.any():
        return NotDefined(f"no observed score has a specificity of {share:g}")
    return float(scores[np.flatnonzero(enough)[-1]])


def _table(problem: BinaryProblem) -> tuple[np.ndarray, ...]:
    """Counts int64 [T] of tn, fp, fn, tp and the observed scores [T], from the highest down."""
    from sklearn.metrics import confusion_matrix_at_thresholds

    *counts, scores = confusion_matrix_at_thresholds(problem.y, problem.score)
    return (*(np.rint(count).astype(np.int64) for count in counts), scores)
