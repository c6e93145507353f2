import re

import pytest

from remedis_jax.report.checklist_items import CLAIM, ITEMS, TRIPOD_AI
from remedis_jax.report.checklist_section import (
    FACTS,
    STEM,
    checklist_section,
    counted,
    status_of,
)
from remedis_jax.report.document import anchor


def numbers(standard: str) -> list[str]:
    return [item.number for item in ITEMS if item.standard == standard]


def item(standard: str, number: str):
    (found,) = [i for i in ITEMS if (i.standard, i.number) == (standard, number)]
    return found


def test_every_item_of_both_guidelines_stands_once_in_their_order():
    assert numbers(CLAIM) == [str(n) for n in range(1, 45)]
    tripod = numbers(TRIPOD_AI)
    assert len(tripod) == len(set(tripod)) == 52
    assert list(dict.fromkeys(re.sub("[a-z]", "", n) for n in tripod)) == [
        str(n) for n in range(1, 28)
    ]
    assert tripod == sorted(tripod, key=lambda n: (int(re.sub("[a-z]", "", n)), n))


def test_facts_and_items_know_each_other():
    assert {key for i in ITEMS for key in i.keys} == set(FACTS)


def test_without_facts_everything_is_open():
    section = checklist_section({})
    assert section.markdown.startswith(
        "0 of 44 items of CLAIM 2024 are filled or partly filled, and 0 of 52 of TRIPOD+AI."
    )
    assert set(section.tables[STEM]["status"]) == {"open"} and section.folded
    assert section.markdown.count("open: to be written by the authors") == 96


def test_an_item_is_filled_only_where_nothing_is_left():
    unit = item(CLAIM, "20")
    facts = {"unit": "No two parts share a patient.", "leak_guard": ("Clean.", "Leak guard")}
    assert status_of(unit, {}) == "open"
    assert status_of(unit, {"unit": facts["unit"]}) == "partly"
    assert status_of(unit, facts) == "filled"
    # Ethics, funding and the like are never for a tool to say.
    everything = {key: "Known." for key in FACTS}
    for standard, number in (
        (CLAIM, "3"), (CLAIM, "11"), (CLAIM, "44"), (TRIPOD_AI, "17"), (TRIPOD_AI, "18a"),
        (TRIPOD_AI, "19"), (TRIPOD_AI, "25"),
    ):  # fmt: skip
        assert status_of(item(standard, number), everything) == "open"
    assert status_of(item(CLAIM, "40"), everything) == "partly"


def test_answers_lead_to_their_sections_and_say_what_is_left():
    section = checklist_section(
        {"unit": "No two parts share a *patient*.", "limitations": ("Stated.", "Limits, here")}
    )
    lines = section.markdown.splitlines()
    (unit,) = [line for line in lines if line.startswith("- ◐ **20**")]
    assert "*partly*. No two parts share a \\*patient\\*. *To be written:* what it compared" in unit
    (limits,) = [line for line in lines if line.startswith("- ◐ **40**")]
    assert f"Stated ([Limits, here](#{anchor('Limits, here')})). *To be written:*" in limits
    table = section.tables[STEM].set_index(["standard", "item"])
    assert table.loc[(CLAIM, "40"), "answer"] == "Stated (section Limits, here)."
    assert table.loc[(CLAIM, "40"), "left"] == "clinical limits"
    assert table.loc[(CLAIM, "3"), "left"] == ""
    states = {i: status_of(i, {"unit": ""}) for i in ITEMS}
    assert counted(states).startswith("1 of 44") and "1 of 52" in counted(states)


def test_a_fact_that_nobody_asks_for_is_a_mistake():
    with pytest.raises(ValueError, match="no fact 'metric'. Did you mean 'metrics'"):
        checklist_section({"metric": "AUROC"})
