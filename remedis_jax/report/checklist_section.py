"""Reporting checklists, filled in where the tool knows the answer and open where it does not."""

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Literal

import pandas as pd

from remedis_jax.data.messages import did_you_mean
from remedis_jax.report.checklist_items import ITEMS, SOURCES, Item
from remedis_jax.report.document import Section, anchor
from remedis_jax.report.tables import plain

HEADING = "Reporting checklist"
STEM = "checklist"
Status = Literal["filled", "partly", "open"]
Fact = str | tuple[str, str]
MARKS: dict[Status, str] = {"filled": "●", "partly": "◐", "open": "○"}
WORDS: dict[Status, str] = {
    "filled": "filled by the tool",
    "partly": "partly",
    "open": "open: to be written by the authors",
}
# Key of a fact -> what it tells.
FACTS = {
    "accuracy": "sensitivity and specificity with intervals",
    "agreement": "how far readers agree",
    "calibration": "how calibration was judged",
    "checkpoint": "what chose the final weights",
    "class_balance": "what was done about rare classes, or that nothing was",
    "code": "the program that did this, with version and command",
    "comparison": "how arms or models were compared",
    "data_sources": "manifests and sites",
    "demographics": "Table 1 of every part",
    "ensemble": "whether models were combined",
    "exclusions": "which rows were left out for which reason",
    "explanation": "saliency maps",
    "external_test": "the test on another site",
    "failures": "the gallery of failures",
    "flow": "rows, exclusions, images and patients of every part",
    "hyperparameters": "what chose them",
    "initialisation": "what the weights started from",
    "inputs": "that images alone are the inputs",
    "internal_test": "the test on the site of training",
    "intervals": "what the intervals and tests are",
    "labels": "columns, classes, and the policy for uncertain ones",
    "leak_guard": "what it compared and found",
    "limitations": "the limits that the report states",
    "metrics": "the measures",
    "missing": "what was done with missing labels and characteristics",
    "model": "the architecture",
    "objective": "the question that the experiment answers",
    "operating_point": "the rule and data of the threshold",
    "output": "what the model puts out",
    "partitions": "how rows were assigned to training, validation and test",
    "performance": "the results with intervals",
    "prediction": "how predictions are computed from weights",
    "preprocessing": "the preprocessing contract",
    "protocol": "the config and the record of the experiment",
    "quality": "how images were checked",
    "robustness": "seeds, sites and fractions over which the result was repeated",
    "sizes": "patients, images and events of every part",
    "software": "versions",
    "subgroups": "results in subgroups",
    "subsets": "how shares of the labels were drawn",
    "summary": "the result in a sentence",
    "technique": "the kind of learning",
    "training": "steps, augmentation, optimiser, hardware and hours",
    "unit": "what no two parts have in common",
    "updating": "temperature scaling, fine-tuning on the new site",
    "weights": "hashes of the weights",
}


def checklist_section(facts: Mapping[str, Fact]) -> Section:
    """Fills in CLAIM (2024 update) and TRIPOD+AI; nothing is guessed.

    An item is filled where all its facts are there and nothing is left for the authors, partly
    where some are, and otherwise open.

    Args:
        facts: Key of `FACTS` -> a short sentence in plain text, or (sentence, heading of the
            section of this report that holds it). Leave out what is not known.

    Returns:
        The section, folded, with the same as CSV.

    Raises:
        ValueError: A key is no fact.
    """
    for key in facts:
        if key not in FACTS:
            raise ValueError(f"there is no fact {key!r}.{did_you_mean(key, FACTS)}")
    states = {item: status_of(item, facts) for item in ITEMS}
    paragraphs = [
        f"{counted(states)} The other items are open: they are for the authors to write, and a tool"
        " would only guess. Items are given in our own words; authors submit the guidelines' own"
        " forms.",
        f"{MARKS['filled']} filled · {MARKS['partly']} partly · {MARKS['open']} open",
    ]
    for standard, items in groupby(ITEMS, lambda item: item.standard):
        paragraphs.append(f"### {plain(standard)}\n\n{plain(SOURCES[standard])}")
        for group, members in groupby(items, lambda item: item.group):
            lines = "\n".join(_line(item, states[item], facts) for item in members)
            paragraphs.append(f"#### {plain(group)}\n\n{lines}")
    return Section(HEADING, "\n\n".join(paragraphs), {STEM: _table(states, facts)}, folded=True)


def status_of(item: Item, facts: Mapping[str, Fact]) -> Status:
    """How far the facts answer an item."""
    known = [key for key in item.keys if key in facts]
    if not known:
        return "open"
    return "filled" if len(known) == len(item.keys) and not item.left else "partly"


def counted(states: Mapping[Item, Status]) -> str:
    """'31 of 44 items of CLAIM 2024 are filled or partly filled, and 27 of 52 of TRIPOD+AI.'"""
    clauses = []
    for standard in SOURCES:
        of_it = [status for item, status in states.items() if item.standard == standard]
        answered = sum(status != "open" for status in of_it)
        clauses.append((answered, len(of_it), standard))
    first, *others = clauses
    rest = "".join(f", and {n} of {total} of {name}" for n, total, name in others)
    return f"{first[0]} of {first[1]} items of {first[2]} are filled or partly filled{rest}."


def left_of(item: Item, facts: Mapping[str, Fact]) -> str:
    """What is still to be written of an item that is partly filled."""
    missing = [FACTS[key] for key in item.keys if key not in facts]
    return "; ".join([*missing, *([item.left] if item.left else [])])


def _line(item: Item, status: Status, facts: Mapping[str, Fact]) -> str:
    text = f"- {MARKS[status]} **{plain(item.number)}** {plain(item.asks)}: *{WORDS[status]}*."
    for key in item.keys:
        if key in facts:
            sentence, heading = _fact(facts[key])
            text += f" {plain(sentence.rstrip('.'))}" if sentence else ""
            text += f" ([{plain(heading)}](#{anchor(heading)}))." if heading else "."
    if status == "partly":
        text += f" *To be written:* {plain(left_of(item, facts))}."
    return text


def _fact(fact: Fact) -> tuple[str, str]:
    return (fact, "") if isinstance(fact, str) else fact


def _table(states: Mapping[Item, Status], facts: Mapping[str, Fact]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "standard": item.standard,
                "item": item.number,
                "group": item.group,
                "asks": item.asks,
                "status": status,
                "answer": " ".join(_answers(item, facts)),
                "left": left_of(item, facts) if status == "partly" else "",
            }
            for item, status in states.items()
        ]
    )


def _answers(item: Item, facts: Mapping[str, Fact]) -> Iterable[str]:
    for key in item.keys:
        if key in facts:
            sentence, heading = _fact(facts[key])
            yield sentence.rstrip(".") + (f" (section {heading})." if heading else ".")
