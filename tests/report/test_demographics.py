import math

import numpy as np
import pandas as pd
import pytest

from remedis_jax.errors import UserError
from remedis_jax.evaluation.not_defined import NotDefined
from remedis_jax.report.demographics import (
    Classes,
    Quantity,
    characteristic_of,
    shortened,
    standardised_difference,
)
from remedis_jax.report.demographics_section import STEM, demographics_section

AGES = ["50", "60", "70", "", "41", "52", "63", "74", "85", "96"]


@pytest.fixture
def rows() -> pd.DataFrame:
    """Two parts of ten patients with two images; the second part's patients are ten years older."""
    table = []
    for part, shift in (("a test", 0), ("b test", 10)):
        for patient, age in enumerate(AGES):
            for image in range(2):
                table.append(
                    {
                        "part": part,
                        "image": f"{part}-{patient}-{image}.png",
                        "group": f"{part}-{patient}",
                        "site": part[0],
                        "split": "test",
                        "finding": "yes" if patient < 3 + shift // 5 else "no",
                        "age": str(int(age) + shift) if age else "nan",
                        "sex": "F" if patient < 6 else "M",
                        "view": ("AP", "PA")[image],
                        "note": "missing" if patient == 0 else "other",
                    }
                )
    return pd.DataFrame(table)


def lines(section) -> dict[str, list[str]]:
    """First cell -> the other cells; a class is named by its characteristic too."""
    found, name = {}, ""
    for line in section.markdown.splitlines():
        if line.startswith("|"):
            first, *cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            first = first.strip().replace("*", "").replace("\\", "")
            name = first if not first.startswith("·") else name
            found[first if name == first else f"{name} {first}"] = [c.strip(" |") for c in cells]
    return found


COLUMNS = ["age", "sex", "view", "note"]


def test_counts_by_patient_where_a_patient_has_one_value_else_by_image(rows):
    found = lines(demographics_section(rows, COLUMNS, compare=("a test", "b test")))
    assert found["Patients"][:2] == ["10", "10"] and found["Images"][:2] == ["20", "20"]
    assert found["Images per patient, mean"][0] == "2.00, most 2"
    assert found["finding, by image · yes"][:2] == ["6 (30.0%)", "10 (50.0%)"]
    assert found["finding, by patient · yes"][:2] == ["3 (30.0%)", "5 (50.0%)"]
    assert found["sex, by patient · F"][:2] == ["6 (60.0%)", "6 (60.0%)"]
    assert found["view, by image · AP"][:2] == ["10 (50.0%)", "10 (50.0%)"]
    ages = [float(a) for a in AGES if a]
    mean, sd = np.mean(ages), np.std(ages, ddof=1)
    assert found["age, by patient · mean (SD)"][0] == f"{mean:.1f} ({sd:.1f})"
    assert found["age, by patient · range"][:2] == ["41–96", "51–106"]
    assert found["age, by patient · missing"][:2] == ["1 (10.0%)", "1 (10.0%)"]
    assert found["age, by patient"][2] == f"{10 / sd:.2f}"
    assert found["sex, by patient"][2] == "0.00"
    # A class may be called so; what has no value is another row, and here there is none.
    assert found["note, by patient · missing"][:2] == ["1 (10.0%)", "1 (10.0%)"]
    assert "sex, by patient · missing" not in found


def test_the_table_of_numbers_holds_them_unrounded(rows):
    section = demographics_section(rows, ["age"], compare=("a test", "b test"))
    table = section.tables[STEM]
    age = table[(table["part"] == "b test") & (table["characteristic"] == "age")]
    values = age.set_index("statistic")["value"]
    ages = [float(a) + 10 for a in AGES if a]
    assert values["mean"] == pytest.approx(np.mean(ages), abs=1e-12)
    assert values["SD"] == pytest.approx(np.std(ages, ddof=1), abs=1e-12)
    difference = table.set_index("statistic").loc["standardised difference"]
    assert set(difference["part"]) == {"a test / b test"}


def test_parts_that_are_not_there_are_not_compared(rows):
    section = demographics_section(rows, ["age"], compare=("a test", "c test"))
    assert "Difference" not in section.markdown and "Austin" not in section.markdown


def test_without_patients_all_is_by_image(rows):
    section = demographics_section(rows.assign(group=rows["image"]), COLUMNS)
    assert "by patient |" not in section.markdown and "Patients**" not in section.markdown
    assert "No column names the patients" in section.markdown
    assert lines(section)["sex, by image · F"] == ["12 (60.0%)", "12 (60.0%)"]


def test_small_cells_are_masked_on_the_page_and_in_the_file(rows):
    section = demographics_section(rows, COLUMNS, compare=("a test", "b test"), least_cell=5)
    found, table = lines(section), section.tables[STEM]
    assert found["sex, by patient · F"][0] == "not shown"  # 10 less the one below
    assert found["sex, by patient · M"][0] == "\\<5"
    assert found["sex, by patient"][2] == "not shown"
    assert found["finding, by patient · yes"][:2] == ["\\<5", "5 (50.0%)"]
    assert found["age, by patient · missing"][0] == "\\<5"
    assert "age, by patient · range" not in found and "and quartiles" in section.markdown
    assert "most" not in found["Images per patient, mean"][0]
    counts = table[table["statistic"].isin(["n", "missing"])]["value"].dropna()
    assert not ((counts > 0) & (counts < 5)).any()
    hidden = table[table["note"] != ""]
    assert hidden["value"].isna().all() and set(hidden["note"]) == {"<5", "not shown"}
    shares = table[(table["statistic"] == "%") & (table["characteristic"] == "sex")]
    assert shares.empty


def test_difference_of_quantities_is_austins():
    a, b = Quantity(1.0, 2.0, 0, 0, 0, 0, 9, 0), Quantity(4.0, 1.0, 0, 0, 0, 0, 9, 0)
    assert standardised_difference(a, b) == pytest.approx(3 / math.sqrt(2.5), abs=1e-12)
    constant = Quantity(1.0, 0.0, 1, 1, 1, 1, 5, 0)
    assert standardised_difference(constant, constant) == 0
    other = Quantity(2.0, 0.0, 2, 2, 2, 2, 5, 0)
    assert "no spread" in standardised_difference(constant, other).reason
    single = Quantity(1.0, None, 1, 1, 1, 1, 1, 0)
    assert "fewer than two" in standardised_difference(single, other).reason
    none = Quantity(None, None, None, None, None, None, 0, 7)
    assert "no known value" in standardised_difference(none, other).reason


def test_difference_of_classes_is_austins_of_two_and_that_of_yang_and_dalton_of_more():
    two = Classes({"F": 30, "M": 70}, 5), Classes({"F": 45, "M": 55}, 0)
    expected = 0.15 / math.sqrt((0.3 * 0.7 + 0.45 * 0.55) / 2)
    assert standardised_difference(*two) == pytest.approx(expected, abs=1e-12)
    a, b = np.array([0.2, 0.3, 0.5]), np.array([0.3, 0.3, 0.4])
    covariance = (np.diag(a) - np.outer(a, a) + np.diag(b) - np.outer(b, b)) / 2
    # The pseudo-inverse of the whole matrix gives the same as leaving any one class out.
    expected = math.sqrt((a - b) @ np.linalg.pinv(covariance) @ (a - b))
    three = [Classes(dict(zip("xyz", map(int, 100 * p))), 0) for p in (a, b)]
    assert standardised_difference(*three) == pytest.approx(expected, abs=1e-12)
    empty = [dataclass_with(part, "never", 0) for part in three]
    assert standardised_difference(*empty) == pytest.approx(expected, abs=1e-12)


def dataclass_with(part: Classes, name: str, count: int) -> Classes:
    return Classes({**part.counts, name: count}, part.missing)


def test_difference_without_a_common_class_is_not_defined():
    a, b = Classes({"F": 5, "M": 0}, 0), Classes({"F": 0, "M": 5}, 0)
    assert isinstance(standardised_difference(a, b), NotDefined)
    assert standardised_difference(a, a) == 0
    assert isinstance(standardised_difference(a, Classes({"F": 0, "M": 0}, 9)), NotDefined)


def test_rare_classes_are_taken_together(rows):
    rows = rows.assign(centre=[f"c{i % 13}" for i in range(len(rows))])
    found = shortened(characteristic_of(rows, "centre"), most=5)
    counts = found.of_parts["a test"].counts
    assert len(counts) == 5 and "9 other classes" in counts and sum(counts.values()) == 20


def test_a_column_that_is_not_there_is_named(rows):
    with pytest.raises(UserError, match="no column 'agee'. Did you mean 'age'"):
        demographics_section(rows, ["agee"])
