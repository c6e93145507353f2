import pytest

from remedis_jax.evaluation.bootstrap import Interval
from remedis_jax.evaluation.curves import LabelsToMatch, NoCrossing
from remedis_jax.evaluation.metrics import NotDefined
from remedis_jax.report.wording import (
    comparison_clause,
    difference_text,
    interval_text,
    match_clause,
    percent,
    share_range,
    verdict,
)

ALREADY, NEVER = NoCrossing.ALREADY_AT_ZERO, NoCrossing.NEVER_REACHED


def interval(value: float, low: float, high: float) -> Interval:
    return Interval(value, low, high, 1000, 0)


def test_numbers_have_three_decimals_and_dashes_that_are_not_signs():
    assert interval_text(interval(0.8123, 0.7741, 0.8459)) == "0.812 (0.774–0.846)"
    assert difference_text(interval(0.0119, -0.0042, 0.0307)) == "+0.012 (−0.004 to +0.031)"
    assert difference_text(interval(0, -0.0001, 0.0004)) == "0.000 (0.000 to 0.000)"
    assert interval_text(NotDefined("one class")) == "not defined (one class)"
    assert interval_text(None) == difference_text(None) == ""


@pytest.mark.parametrize(
    ("share", "text"), [(0.01, "1%"), (0.033, "3.3%"), (1, "100%"), (0.0005, "0.05%"), (0, "0%")]
)
def test_shares_are_percent_without_idle_zeros(share, text):
    assert percent(share) == text


@pytest.mark.parametrize(
    ("low", "high", "metric", "expected"),
    [
        (0.01, 0.09, "auroc", "better"),
        (-0.09, -0.01, "auroc", "worse"),
        (-0.01, 0.09, "auroc", "not distinguishable"),
        (0.01, 0.09, "brier", "worse"),
        (-0.09, -0.01, "log_loss/edema", "better"),
        (0.0, 0.0, "auroc", "not distinguishable"),
        (0.0004, 0.09, "auroc", "not distinguishable"),  # its end is printed as 0.000
        (0.0006, 0.09, "auroc", "better"),
    ],
)
def test_verdict_needs_the_whole_interval_on_one_side(low, high, metric, expected):
    assert verdict(interval((low + high) / 2, low, high), metric) == expected


def test_verdict_without_an_interval_is_none():
    assert verdict(NotDefined("x"), "auroc") == verdict(None, "auroc") == "not defined"


def test_clauses_are_honest():
    better = comparison_clause("X", "Y", interval(0.05, 0.01, 0.09), "auroc")
    difference = "(difference in AUROC +0.050, 95% interval +0.010 to +0.090)"
    assert better == f"X is better than Y {difference}"
    equal = comparison_clause("X", "Y", interval(0.05, -0.01, 0.09), "auroc")
    assert equal.startswith("X is not distinguishable from Y (")
    worse = comparison_clause("X", "Y", interval(-0.05, -0.09, -0.01), "auroc/mass")
    assert worse.startswith("X is worse than Y (difference in AUROC, mass −0.050")
    nothing = comparison_clause("X", "Y", NotDefined("one patient only"), "auroc")
    assert nothing == "X cannot be compared with Y (one patient only)"
    assert comparison_clause("X", "Y", None, "auroc").endswith("(not measured)")


@pytest.mark.parametrize(
    ("match", "text"),
    [
        (
            LabelsToMatch(0.0824, 0.021, NEVER),
            "it reaches Y with all B's labels with 8.2% of them "
            "(95% interval: 2.1% to never reached)",
        ),
        (
            LabelsToMatch(ALREADY, ALREADY, 0.1),
            "it is level with Y with all B's labels without a single one of them "
            "(95% interval: already at zero labels to 10%)",
        ),
        (
            LabelsToMatch(NEVER, NEVER, NEVER),
            "it does not reach Y with all B's labels at any measured share "
            "(95% interval: never reached)",
        ),
        (NotDefined("x"), "a match with Y with all B's labels is not defined (x)"),
        (None, "a match with Y with all B's labels was not measured"),
    ],
)
def test_match_has_three_outcomes(match, text):
    assert match_clause(match, "Y", 1.0, "B") == text


def test_a_baseline_with_less_than_all_labels_is_called_so():
    assert "Y with 50% of B's labels" in match_clause(None, "Y", 0.5, "B")
    assert share_range(LabelsToMatch(0.1, 0.1, 0.1)) == "10%"
