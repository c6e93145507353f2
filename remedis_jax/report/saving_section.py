"""What a report says of the labels that are saved: a table, and a sentence per arm."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from remedis_jax.evaluation.bootstrap import Interval
from remedis_jax.evaluation.curves import NoCrossing
from remedis_jax.evaluation.label_saving import Amount, LabelSaving
from remedis_jax.evaluation.non_inferiority import Answer
from remedis_jax.evaluation.not_defined import NotDefined
from remedis_jax.report.document import Section
from remedis_jax.report.tables import markdown_table, plain
from remedis_jax.report.wording import match_clause, percent, share_range, share_text

HEADING = "Labels saved"
TIMES = "\N{MULTIPLICATION SIGN}"
READING = """
- **By the crossing**: where the arm's mean curve first reaches the mean of {baseline},
  interpolated. The interval comes from patients and seeds, drawn together; the crossing is found
  anew in every resample.
- **By the margin**: the first measured share at which the arm is shown to be not worse by more than
  the margin: the 95% interval of the paired difference lies wholly on that side of it. Few test
  patients or seeds widen the interval, and so put this share higher.
- Fewer labels: the baseline's share of the labels divided by the share that matches. Between zero
  and the first measured share nothing is known but the straight line, so above the value of the
  first share the text says “more than” that.
- “{never}” and “{zero}” are answers. Neither has a number of times, so the words stand where the
  number would be, at the ends of intervals too; the labels saved are then none or all.
- Patients, images and hours saved are by the crossing, of all that the baseline was trained on.
"""


def fold_text(answer: Answer, largest: float | None = None) -> str:
    """'4.2×', 'more than 100×' beyond what was measured, or one of the two answers."""
    if isinstance(answer, NoCrossing):
        return answer.value
    if largest is not None and answer > largest:
        return f"more than {_two_digits(largest)}{TIMES}"
    return f"{_two_digits(answer)}{TIMES}"


def amount_text(
    amount: Amount | NotDefined | None, text: Callable[[Answer], str] | None = None
) -> str:
    """'960 (640 to 1,000)', one answer if all three are it, or why there is none; '' for None."""
    if amount is None:
        return ""
    if isinstance(amount, NotDefined):
        return str(amount)
    text = text or count_text
    value, low, high = (text(a) for a in (amount.value, amount.low, amount.high))
    return value if value == low == high else f"{value} ({low} to {high})"


def count_text(answer: Answer) -> str:
    """'960', '4.5' below ten; 'none' where it is never reached, 'all' where without labels."""
    if isinstance(answer, NoCrossing):
        return "none" if answer is NoCrossing.NEVER_REACHED else "all"
    return f"{round(answer):,}" if answer >= 10 else f"{round(answer, 1):g}"


def saving_text(saving: LabelSaving) -> str:
    """'4.2× (2.1× to 8.3×)'; 'at least' before a value whose share is an upper bound."""
    text = amount_text(saving.saving, lambda answer: fold_text(answer, saving.largest))
    return f"at least {text}" if saving.at_most else text


def match_text(saving: LabelSaving) -> str:
    """'24% (12% to 48%)': the share that matches, by the crossing."""
    crossing = saving.crossing
    if isinstance(crossing, NotDefined):
        return str(crossing)
    value, ends = share_text(crossing.value), share_range(crossing)
    value = f"at most {value}" if saving.at_most else value
    return value if value == ends else f"{value} ({ends})"


def margin_text(saving: LabelSaving) -> str:
    """'33%, and at every larger share', by the margin."""
    share, stays = saving.non_inferior.share, saving.non_inferior.stays
    if isinstance(share, NotDefined):
        return str(share)
    if stays is None:
        return share_text(share)
    after = "and at every larger share" if stays else "not at every larger share"
    first = percent(share) if isinstance(share, float) else share.value
    return first if share == saving.share_of_all else f"{first}, {after}"


def saving_table(savings: Mapping[str, LabelSaving]) -> pd.DataFrame:
    """One row per arm, as text.

    Args:
        savings: Label of the arm -> what it saves.
    """
    rows = []
    for label, saving in savings.items():
        row = {
            "Arm": label,
            "Share that matches, by the crossing": match_text(saving),
            f"First share within the margin of {saving.non_inferior.margin:g}": margin_text(saving),
            "Fewer labels": saving_text(saving),
            "Patients saved": amount_text(saving.patients_saved),
            "Images saved": amount_text(saving.images_saved),
        }
        if saving.minutes is not None:
            row["Clinician-hours saved"] = amount_text(saving.hours_saved)
        rows.append(row)
    return pd.DataFrame(rows, dtype=str).fillna("")


def saving_numbers(savings: Mapping[str, LabelSaving]) -> pd.DataFrame:
    """The same as numbers, for CSV; an answer that is no number stands as words in its cell."""
    rows = []
    for label, saving in savings.items():
        crossing, by_margin = saving.crossing, saving.non_inferior
        share: Amount | NotDefined = (
            crossing
            if isinstance(crossing, NotDefined)
            else Amount(*dataclasses.astuple(crossing))
        )
        row = {"arm": saving.arm, "label": label, "metric": saving.metric}
        row |= _cells("share", share) | _cells("saving", saving.saving)
        row |= {
            "margin": by_margin.margin,
            "non_inferior_share": _cell(by_margin.share),
            "non_inferior_at_larger_shares": by_margin.stays,
            "non_inferior_saving": _cell(saving.non_inferior_saving),
        }
        for name in ("patients_saved", "images_saved", "hours_saved"):
            row |= _cells(name, getattr(saving, name))
        row |= {
            "minutes_per_label": saving.minutes,
            "label_unit": saving.unit,
            "reason": crossing.reason if isinstance(crossing, NotDefined) else "",
        }
        rows.append(row)
    return pd.DataFrame(rows, dtype=object)


def margin_numbers(savings: Mapping[str, LabelSaving]) -> pd.DataFrame:
    """For CSV: the paired difference to the baseline with all labels at every share."""
    rows = []
    for label, saving in savings.items():
        for share, difference in saving.non_inferior.differences.items():
            row = {"arm": saving.arm, "label": label, "share": share}
            known = isinstance(difference, Interval)
            row |= {
                name: getattr(difference, name) if known else None
                for name in ("value", "low", "high")
            }
            row["within_margin"] = saving.non_inferior.within.get(share)
            rows.append(row | {"reason": "" if known else difference.reason})
    return pd.DataFrame(rows, dtype=object)


def saving_sentence(label: str, saving: LabelSaving, baseline: str, site: str) -> str:
    """What an arm saves, in words; plain text.

    Args:
        label: Of the arm.
        saving: What it saves.
        baseline: Label of the baseline arm.
        site: The new hospital.
    """
    match = match_clause(saving.crossing, f"“{baseline}”", saving.share_of_all, site)
    sentences = [f"“{label}”: {match}"]
    amount = saving.saving
    if isinstance(amount, Amount) and isinstance(amount.value, float):
        value, _, ends = saving_text(saving).partition(" (")
        sentences[0] += f", {value} fewer labels" + (f" ({ends}" if ends else "")
        sentences.append(
            f"Of {saving.patients:,} patients, {amount_text(saving.patients_saved)} need no label, "
            f"of {saving.images:,} images {amount_text(saving.images_saved)}{_hours(saving)}"
        )
    elif isinstance(amount, Amount) and amount.value is NoCrossing.ALREADY_AT_ZERO:
        sentences.append(
            f"None of the labels of {saving.patients:,} patients ({saving.images:,} images) was "
            "needed for that, so there is no ratio to give"
        )
    sentences.append(_by_margin(saving))
    passed = [
        f"{percent(share)} ({difference.reason})"
        for share, difference in saving.non_inferior.differences.items()
        if isinstance(difference, NotDefined)
    ]
    if passed and saving.non_inferior.within:
        sentences.append(f"Passed over, as there is no difference: {', '.join(passed)}")
    return " ".join(f"{sentence}." for sentence in sentences)


def saving_section(
    savings: Mapping[str, LabelSaving],
    *,
    baseline: str,
    site: str,
    minutes_source: str = "",
    figure: str = "",
) -> Section:
    """The section of a report on one experiment.

    Args:
        savings: Label of the arm -> what it saves; one or more, against one baseline.
        baseline: Label of the baseline arm.
        site: The new hospital.
        minutes_source: Where the minutes per label come from.
        figure: Name of a file of `saving_figure` in figures/; "" for none.
    """
    first = next(iter(savings.values()))
    paragraphs = [plain(saving_sentence(a, s, baseline, site)) for a, s in savings.items()]
    if figure:
        paragraphs.append(f"![Label saving of every arm](figures/{figure})")
    paragraphs.append(markdown_table(saving_table(savings)))
    if first.minutes is None:
        time = "No time per label was stated, so no hours are given."
    else:
        source = f" ({minutes_source})" if minutes_source else ""
        time = f"Hours are those of {first.minutes:g} minutes per {first.unit}{source}."
    paragraphs += [plain(time), reading([first], baseline)]
    tables = {"label_saving": saving_numbers(savings), "non_inferiority": margin_numbers(savings)}
    return Section(HEADING, "\n\n".join(paragraphs), tables)


def reading(savings: Sequence[LabelSaving], baseline: str = "the baseline arm") -> str:
    """How the table, the sentences and the figure of savings are to be read.

    Args:
        savings: One or more.
        baseline: Label of the baseline arm, where there is one for all.
    """
    shares = {saving.share_of_all for saving in savings}
    goal = percent(min(shares)) + " of the labels" if shares != {1} else "all labels"
    return READING.strip().format(
        baseline=f"{plain(baseline)} with {goal if len(shares) == 1 else 'the most labels'}",
        never=NoCrossing.NEVER_REACHED.value,
        zero=NoCrossing.ALREADY_AT_ZERO.value,
    )


def _hours(saving: LabelSaving) -> str:
    if saving.minutes is None:
        return ""
    hours = amount_text(saving.hours_saved)
    return f"; that is {hours} clinician-hours at {saving.minutes:g} minutes per {saving.unit}"


def _by_margin(saving: LabelSaving) -> str:
    found = saving.non_inferior
    margin = f"the margin of {found.margin:g}"
    if isinstance(found.share, NotDefined):
        return f"Whether it is within {margin} is not defined ({found.share.reason})"
    if found.share is NoCrossing.NEVER_REACHED:
        return f"At no measured share is it shown to be within {margin}"
    where = (
        "without any label"
        if found.share is NoCrossing.ALREADY_AT_ZERO
        else f"from {percent(found.share)} of the labels on"
    )
    after = "" if found.stays else ", but not at every larger share"
    return f"It is shown to be within {margin} {where}{after}"


def _two_digits(value: float) -> str:
    return f"{float(f'{value:.2g}'):,g}"


def _cells(name: str, amount: Amount | NotDefined | None) -> dict[str, float | str | None]:
    known = isinstance(amount, Amount)
    return {
        name + end: _cell(getattr(amount, part)) if known else None
        for end, part in (("", "value"), ("_low", "low"), ("_high", "high"))
    }


def _cell(answer: Answer | NotDefined) -> float | str | None:
    if isinstance(answer, NotDefined):
        return None
    return answer.value if isinstance(answer, NoCrossing) else answer
