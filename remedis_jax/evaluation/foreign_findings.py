"""Findings in a table of predictions of another tool: a label and a score column for each.

The columns are of one form, such as 'edema_true' with 'edema_pred', 'label_edema' with 'p_edema',
or 'edema' with 'edema_prob'. Forms of a probability go before those of a prediction.
"""

from collections.abc import Mapping, Sequence

from remedis_jax.errors import UserError
from remedis_jax.evaluation.column_roles import NAMES, folded
from remedis_jax.evaluation.prediction_schema import FINDING, SCORE
from remedis_jax.evaluation.score_sources import Found, Source

_LABEL_FORMS = (
    "label_{}", "{}_label", "y_true_{}", "true_{}", "{}_true", "gt_{}", "{}_gt", "target_{}",
    "{}_target",
)  # fmt: skip
_PROBABILITY_FORMS = (
    "p_{}", "{}_p", "prob_{}", "{}_prob", "proba_{}", "{}_proba", "probability_{}",
    "{}_probability", "score_{}", "{}_score", "y_prob_{}", "y_score_{}",
)  # fmt: skip
# Some tools call a decision so and some a probability, so the others go before them.
_PREDICTION_FORMS = ("pred_{}", "{}_pred", "y_pred_{}")
_NO_FINDINGS = {folded(name) for ranks in NAMES.values() for rank in ranks for name in rank}


def findings_given(where: str, given: Mapping[str, str]) -> Found:
    """The findings whose columns the user names; raises UserError where one has no partner."""
    labels = {r.removeprefix(FINDING): c for r, c in given.items() if r.startswith(FINDING)}
    scores = {r.removeprefix(SCORE): c for r, c in given.items() if r.startswith(SCORE)}
    for name in labels.keys() ^ scores.keys():
        raise UserError(
            f"{where}: --column names one of {FINDING}{name} and {SCORE}{name}.", "Name both."
        )
    return Found(None, labels, {name: Source(column) for name, column in scores.items()})


def find_findings(columns: Sequence[str], where: str) -> Found | None:
    """The findings; None where no two columns are a finding's label and its score.

    Raises:
        UserError: They could be read in two ways, or a label or a score has no partner.
    """
    for label_forms in (_LABEL_FORMS, ("{}",)):
        for score_forms in (_PROBABILITY_FORMS, _PREDICTION_FORMS):
            readings = {}
            for label_form in label_forms:
                labels = _captured(columns, label_form)
                for score_form in score_forms:
                    scores = _captured(columns, score_form)
                    if both := [name for name in labels if name in scores]:
                        readings[label_form, score_form] = (labels, scores, both)
            if len(readings) > 1:
                shown = [f"{a.format('X')} with {b.format('X')}" for a, b in readings]
                raise UserError(
                    f"{where}: the findings could be read as {' or as '.join(shown)}.",
                    "Say which: --column label_FINDING=NAME and --column p_FINDING=NAME for each.",
                )
            for (label_form, score_form), (labels, scores, both) in readings.items():
                alone = [scores[name] for name in scores if name not in labels]
                if label_form != "{}":
                    alone += [labels[name] for name in labels if name not in scores]
                if alone:
                    raise UserError(
                        f"{where}: {alone[0]!r} has no partner of the form"
                        f" {label_form.format('X')!r} with {score_form.format('X')!r}.",
                        "Every finding needs a label and a score; take the others out, or name"
                        " all with --column label_FINDING=NAME and --column p_FINDING=NAME.",
                    )
                return Found(
                    None,
                    {name: labels[name] for name in both},
                    {name: Source(scores[name]) for name in both},
                )
    return None


def _captured(columns: Sequence[str], form: str) -> dict[str, str]:
    """What stands for X in the columns of a form 'X_true': X -> column."""
    before, after = form.split("{}")
    found = {}
    for column in columns:
        name = column[len(before) : len(column) - len(after)]
        fits = column.startswith(before) and column.endswith(after) and column == (
            before + name + after
        )
        if fits and name and folded(name) not in _NO_FINDINGS:
            found[name] = column
    return found
