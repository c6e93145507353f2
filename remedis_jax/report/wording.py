"""Numbers become words: intervals, shares, and what may honestly be said of a difference."""

from typing import Literal

from remedis_jax.evaluation.bootstrap import Interval
from remedis_jax.evaluation.curves import LabelsToMatch, NoCrossing
from remedis_jax.evaluation.metrics import LOWER_IS_BETTER, NAMES, NotDefined

Verdict = Literal["better", "not distinguishable", "worse", "not defined"]
MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"


def metric_name(metric: str, horizon: float | None = None) -> str:
    """'auroc' -> 'AUROC', 'auroc/edema' -> 'AUROC, edema'; of survival 'AUROC at 5'."""
    base, _, part = metric.partition("/")
    if horizon is not None and base == "auroc":
        return f"{NAMES[base]} at {horizon:g}"
    return f"{NAMES[base]}, {part}" if part else NAMES[base]


def percent(share: float, digits: int = 3) -> str:
    """0.033 -> '3.3%': at most so many significant digits, no zeros at the end."""
    return f"{float(f'{100 * share:.{digits}g}'):g}%"


def interval_text(interval: Interval | NotDefined | None) -> str:
    """'0.812 (0.774–0.846)', '−0.238 (−0.560 to 0.070)', or why there is none; '' for None."""
    if interval is None:
        return ""
    if isinstance(interval, NotDefined):
        return str(interval)
    if min(interval.value, interval.low) < 0:
        # A dash between negative numbers reads as one more minus.
        value, low, high = (
            signed(end).lstrip("+") for end in (interval.value, interval.low, interval.high)
        )
        return f"{value} ({low} to {high})"
    return f"{interval.value:.3f} ({interval.low:.3f}{DASH}{interval.high:.3f})"


def difference_text(interval: Interval | NotDefined | None) -> str:
    """'+0.012 (−0.004 to +0.031)', or why there is none; '' for None."""
    if interval is None:
        return ""
    if isinstance(interval, NotDefined):
        return str(interval)
    return f"{signed(interval.value)} ({signed(interval.low)} to {signed(interval.high)})"


def signed(value: float) -> str:
    """Three decimals and a sign; what rounds to zero has none."""
    text = f"{abs(value):.3f}"
    if float(text) == 0:
        return text
    return ("+" if value > 0 else MINUS) + text


def share_text(share: float | NoCrossing) -> str:
    """'8.2%', 'already at zero labels' or 'never reached'; two digits, as it is interpolated."""
    return share.value if isinstance(share, NoCrossing) else percent(share, 2)


def share_range(match: LabelsToMatch) -> str:
    """'2.1% to 33%', 'already at zero labels to 12%', or the one thing that both ends are."""
    low, high = share_text(match.low), share_text(match.high)
    return low if low == high else f"{low} to {high}"


def verdict(difference: Interval | NotDefined | None, metric: str) -> Verdict:
    """What the interval of a paired difference (arm minus baseline) allows to be said.

    'better' or 'worse' only if the whole interval is on one side of zero, as printed: an end
    that is shown as 0.000 is taken for zero.
    """
    if not isinstance(difference, Interval):
        return "not defined"
    sign = -1 if metric.partition("/")[0] in LOWER_IS_BETTER else 1
    low, high = sorted(sign * round(end, 3) for end in (difference.low, difference.high))
    if low > 0:
        return "better"
    return "worse" if high < 0 else "not distinguishable"


def comparison_clause(
    arm: str,
    baseline: str,
    difference: Interval | NotDefined | None,
    metric: str,
    horizon: float | None = None,
) -> str:
    """'X is better than Y (difference in AUROC +0.05, 95% interval +0.01 to +0.09)'."""
    found = verdict(difference, metric)
    if not isinstance(difference, Interval):
        reason = "not measured" if difference is None else difference.reason
        return f"{arm} cannot be compared with {baseline} ({reason})"
    link = {"better": "is better than", "worse": "is worse than"}.get(
        found, "is not distinguishable from"
    )
    return (
        f"{arm} {link} {baseline} (difference in {metric_name(metric, horizon)} "
        f"{signed(difference.value)}, "
        f"95% interval {signed(difference.low)} to {signed(difference.high)})"
    )


def match_clause(
    match: LabelsToMatch | NotDefined | None, baseline: str, share: float, site: str
) -> str:
    """What share of the new hospital's labels matches the baseline, as the end of a sentence."""
    goal = f"{baseline} with {'all' if share == 1 else percent(share) + ' of'} {site}'s labels"
    if match is None:
        return f"a match with {goal} was not measured"
    if isinstance(match, NotDefined):
        return f"a match with {goal} is not defined ({match.reason})"
    if match.value is NoCrossing.NEVER_REACHED:
        first = f"it does not reach {goal} at any measured share"
    elif match.value is NoCrossing.ALREADY_AT_ZERO:
        first = f"it is level with {goal} without a single one of them"
    else:
        first = f"it reaches {goal} with {share_text(match.value)} of them"
    return f"{first} (95% interval: {share_range(match)})"
