"""The most confident errors: what a model is surest of and wrong about."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from remedis_jax.evaluation.binary_problems import THRESHOLD, binary_problems
from remedis_jax.evaluation.drawn_runs import aligned
from remedis_jax.evaluation.not_defined import NotDefined
from remedis_jax.evaluation.point_values import normalised
from remedis_jax.evaluation.predictions import Predictions

FALSE_POSITIVE, FALSE_NEGATIVE, WRONG_CLASS = "false positive", "false negative", "wrong class"
_COLUMNS = ("image", "error", "class", "label", "probability", "confidence", "wrong_runs", "runs")


def failures(runs: Sequence[Predictions]) -> pd.DataFrame:
    """Every error of the mean probability over the runs, the most confident ones first.

    Two classes and findings are called positive at the mean of the runs' thresholds (0.5 where
    there are none); of more classes the most probable one is called.

    Args:
        runs: One per seed, on the same images, of classes or findings.

    Returns:
        One row per error: image, error ('false positive', 'false negative' or 'wrong class'),
        class (the one that is called, or the finding, or the positive class), label (what it is,
        as text), probability (of `class`, the mean over the runs), confidence (how sure the error
        is: the probability, or one minus it for false negatives), wrong_runs (how many runs err by
        themselves), runs.
    """
    runs = aligned(runs)
    first = runs[0]
    if first.kind == "softmax" and not first.is_binary:
        found = _wrong_classes(runs)
    else:
        found = [table for index in range(len(binary_problems(first)))
                 for table in _of_problem(runs, index)]  # fmt: skip
    table = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=_COLUMNS)
    return table.sort_values(["confidence", "image"], ascending=[False, True], ignore_index=True)


def _wrong_classes(runs: Sequence[Predictions]) -> list[pd.DataFrame]:
    first = runs[0]
    if not len(first.y):
        return []
    classes = np.array(first.classes, object)
    p = np.mean([normalised(run.p) for run in runs], axis=0)
    called = p.argmax(axis=1)
    wrong = called != first.y
    votes = np.sum([run.p.argmax(axis=1) != first.y for run in runs], axis=0)
    sure = p.max(axis=1)[wrong]
    table = pd.DataFrame({"image": first.images[wrong], "error": WRONG_CLASS})
    table["class"], table["label"] = classes[called[wrong]], classes[first.y[wrong]]
    table["probability"] = table["confidence"] = sure
    table["wrong_runs"], table["runs"] = votes[wrong], len(runs)
    return [table]


def _of_problem(runs: Sequence[Predictions], index: int) -> list[pd.DataFrame]:
    first = runs[0]
    problems = [binary_problems(run)[index] for run in runs]
    one = problems[0]
    p = np.mean([problem.score for problem in problems], axis=0)
    thresholds = [_threshold(problem.threshold) for problem in problems]
    positive = one.name or first.classes[first.positive_index]
    votes = np.sum(
        [(q.score >= t) != (one.y == 1) for q, t in zip(problems, thresholds, strict=True)], axis=0
    )
    called = p >= np.mean(thresholds)
    tables = []
    for error, wrong, confidence in (
        (FALSE_POSITIVE, called & (one.y == 0), p),
        (FALSE_NEGATIVE, ~called & (one.y == 1), 1 - p),
    ):
        table = pd.DataFrame({"image": first.images[one.rows[wrong]], "error": error})
        table["class"] = positive
        table["label"] = _label(first, one.name, error)
        table["probability"], table["confidence"] = p[wrong], confidence[wrong]
        table["wrong_runs"], table["runs"] = votes[wrong], len(runs)
        tables.append(table)
    return tables


def _threshold(threshold: float | NotDefined) -> float:
    """A problem without an operating point has no decision of its own and is judged at 0.5."""
    return THRESHOLD if isinstance(threshold, NotDefined) else threshold


def _label(predictions: Predictions, finding: str | None, error: str) -> str:
    if finding is not None:
        return f"no {finding}" if error == FALSE_POSITIVE else finding
    k = predictions.positive_index
    return predictions.classes[1 - k if error == FALSE_POSITIVE else k]
