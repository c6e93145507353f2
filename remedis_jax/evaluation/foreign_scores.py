"""Where the labels and the scores stand in a table of predictions of another tool.

One class per image: a label column, and a score column per class ('prob_<class>', 'y_pred<n>' of
slideflow, '<target>_<class>' of STAMP beside its column '<target>', or the classes' own names as
scikit-learn's and AutoGluon's users write them), or one score of two classes. Findings are those of
`evaluation.foreign_findings`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from remedis_jax.data.messages import did_you_mean, first_few
from remedis_jax.errors import UserError
from remedis_jax.evaluation.column_roles import LABEL, candidates, folded, require_column
from remedis_jax.evaluation.foreign_findings import find_findings, findings_given
from remedis_jax.evaluation.prediction_schema import FINDING, SCORE
from remedis_jax.evaluation.score_sources import Found, Source

ONE_SCORE = "score"  # the role of a column that scores the second of two classes
# Starts of the names of score columns, longest first: what follows is the class.
_STARTS = (
    "probability_", "y_proba_", "y_score_", "y_pred_", "y_prob_", "scores_", "proba_", "probs_",
    "score_", "prob_", "p_",
)  # fmt: skip
_NUMBERED = re.compile(r"(?:.*-)?y_pred(\d+)")  # slideflow: '<outcome>-y_pred0'
_NUMBERED_LABEL = re.compile(r"(?:.*-)?y_true")
_ONE_SCORE = ("y_score", "y_prob", "y_proba", "prob", "proba", "probability", "score", "p")
_OF_LABEL = ("_prob", "_proba", "_probability", "_score", "_p")
_NEGATIVE_POSITIVE = {"0": ("0", "1"), "1": ("0", "1")}
for _pair in (("False", "True"), ("false", "true")):
    _NEGATIVE_POSITIVE |= dict.fromkeys(_pair, _pair)


def find_scores(
    table: pd.DataFrame, where: str, given: Mapping[str, str], taken: Iterable[str]
) -> Found:
    """Finds labels and scores.

    Args:
        table: Text.
        where: The file, for messages.
        given: Role -> column: 'label', 'score', 'p_<class>', 'label_<finding>'.
        taken: Columns that play another role.

    Raises:
        UserError: They are not there, or not clear; with the candidates and the remedy.
    """
    columns = [name for name in table.columns if name not in set(taken)]
    for role, name in given.items():
        if role.startswith((LABEL, SCORE)) or role == ONE_SCORE:
            require_column(table, name, where)
    if any(role.startswith(FINDING) for role in given):
        return findings_given(where, given)
    if LABEL in given:
        labels, findings = [given[LABEL]], None
    else:
        labels = candidates(columns, LABEL)
        labels = labels or [name for name in columns if _NUMBERED_LABEL.fullmatch(name)]
        findings = find_findings(columns, where)
        if not labels and findings:
            return findings
        labels = labels or _prefixes_of_scores(table, columns)
    if not labels:
        raise UserError(
            f"{where} has no column {LABEL!r} or of another name for the label."
            + did_you_mean(LABEL, columns),
            "Say which it is: --column label=NAME; of findings --column label_FINDING=NAME and"
            f" --column p_FINDING=NAME. It has {first_few(columns)}.",
        )
    label = labels[0]
    if findings:
        other = next(iter(findings.findings.values()))
        raise UserError(
            f"{where} has a label column {label!r} and labels of findings, such as {other!r}.",
            f"Say which are meant: --column label={label}, or --column label_FINDING=NAME and"
            " --column p_FINDING=NAME for each.",
        )
    if len({tuple(table[name]) for name in labels}) > 1:
        raise UserError(
            f"{where}: the label could be column {' or '.join(map(repr, labels))}.",
            f"Say which: --column label={label}.",
        )
    scores = _class_scores(table, label, [c for c in columns if c != label], where, given)
    return Found(label, {}, scores)


def class_names(labels: pd.Series) -> list[str]:
    """The distinct labels, without blanks, sorted."""
    return sorted(set(labels) - {""})


def _class_scores(
    table: pd.DataFrame, label: str, columns: Sequence[str], where: str, given: Mapping[str, str]
) -> dict[str, Source]:
    values = class_names(table[label])
    explicit = {r.removeprefix(SCORE): c for r, c in given.items() if r.startswith(SCORE)}
    if explicit or ONE_SCORE in given:
        found = (
            _of_classes(explicit, values) if explicit else _of_pair(given[ONE_SCORE], values)
        )
        if found is None:
            raise UserError(
                f"{where}: the named columns do not score the labels {first_few(values)}.",
                "Name one per class, --column p_CLASS=NAME; one alone where there are two classes.",
            )
        return found
    options = _score_options(label, columns, values)
    distinct = {_content(table, scores): scores for scores in reversed(options)}
    if len(distinct) > 1:
        firsts = [repr(next(iter(scores.values())).column) for scores in options]
        name = values[-1] if values else "CLASS"
        raise UserError(
            f"{where}: the scores could be in {' or '.join(firsts)}.",
            f"Say which: --column p_{name}=NAME, one per class; one alone where there are two.",
        )
    if options:
        return options[0]
    lone = [name for name in columns if _is_one_score(name, label)]
    if lone and len(values) == 2:
        raise UserError(
            f"{where}: {lone[0]!r} does not say which of {values[0]!r} and {values[1]!r} it"
            " scores.",
            f"Say so: --column p_{values[1]}={lone[0]}.",
        )
    raise UserError(
        f"{where} has no scores of the labels {first_few(values)}: no {SCORE}<class> or"
        f" prob_<class> for each, and no column of one score.{did_you_mean(SCORE, columns)}",
        f"Say where: --column p_CLASS=NAME for each class. It has {first_few(list(columns))}.",
    )


def _score_options(
    label: str, columns: Sequence[str], values: Sequence[str]
) -> list[dict[str, Source]]:
    """Every way to read the scores, each class -> source."""
    families: dict[str, dict[str, str]] = {}
    for name in columns:
        start = next((s for s in _STARTS if name.lower().startswith(s) and name[len(s) :]), None)
        if numbered := _NUMBERED.fullmatch(name):
            families.setdefault("y_pred<n>", {})[numbered[1]] = name
        elif start:
            families.setdefault(start, {})[name[len(start) :]] = name
        if name.startswith(f"{label}_") and len(name) > len(label) + 1:
            families.setdefault(f"{label}_", {})[name[len(label) + 1 :]] = name
    if len(values) > 1 and set(values) <= set(columns):
        families["names"] = {value: value for value in columns if value in values}
    options = [_of_classes(family, values) for family in families.values()]
    options += [_of_pair(name, values) for name in columns if _is_one_score(name, label)]
    return [option for option in options if option]


def _of_classes(family: Mapping[str, str], values: Sequence[str]) -> dict[str, Source] | None:
    """Scores by class, where there is one for every label, or one of two."""
    if len(family) > 1:
        return {c: Source(n) for c, n in family.items()} if set(values) <= set(family) else None
    (name, column), = family.items()
    others = [value for value in values if value != name]
    if not others and name in _NEGATIVE_POSITIVE:
        others = [other for other in _NEGATIVE_POSITIVE[name] if other != name]
    if len(others) != 1:
        return None
    return {others[0]: Source(column, complement=True), name: Source(column)}


def _of_pair(column: str, values: Sequence[str]) -> dict[str, Source] | None:
    """One score, of the positive one of 0 and 1 or of False and True."""
    pairs = {_NEGATIVE_POSITIVE.get(value) for value in values}
    if len(pairs) != 1 or None in pairs:
        return None
    (negative, positive), = pairs
    return {negative: Source(column, complement=True), positive: Source(column)}


def _is_one_score(name: str, label: str) -> bool:
    return folded(name) in {folded(n) for n in _ONE_SCORE} or name in {
        label + end for end in _OF_LABEL
    }


def _content(table: pd.DataFrame, scores: Mapping[str, Source]) -> tuple:
    """What tells two readings apart: the last score's cells."""
    last = list(scores.values())[-1]
    return tuple(scores), tuple(table[last.column]), last.complement


def _prefixes_of_scores(table: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """Columns '<target>' beside '<target>_<class>' for each of their values (STAMP)."""
    found = []
    for name in columns:
        values = class_names(table[name])
        beside = [c for c in columns if c.startswith(f"{name}_")]
        if len(beside) > 1 and values and {f"{name}_{value}" for value in values} <= set(beside):
            found.append(name)
    return found
