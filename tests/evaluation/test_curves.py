import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from remedis_jax.errors import UserError
from remedis_jax.evaluation.bootstrap import seed_bootstrap
from remedis_jax.evaluation.curves import (
    LabelsToMatch,
    NoCrossing,
    evaluate_cells,
    label_fraction_curve,
    labels_to_match,
    labels_to_match_interval,
)
from remedis_jax.evaluation.experiment_cells import Cell, read_cells
from remedis_jax.evaluation.metrics import NotDefined
from remedis_jax.evaluation.predictions import (
    Predictions,
    predictions_table,
    read_predictions,
    write_predictions,
)


def write_cell(
    folder: Path, arm: str, seed: int, fraction: float, strength: float, stage: str = ""
) -> Cell:
    """A test set of 60 patients, the same for every cell, scored with a signal of `strength`."""
    patients = np.repeat(np.arange(60), 2)
    y = patients % 2
    rng = np.random.default_rng([seed, round(1000 * fraction)])
    logit = strength * (2 * y - 1) + rng.normal(size=60)[patients]
    p = 1 / (1 + np.exp(-logit))
    path = folder / f"{arm}-{seed}-{fraction:g}-{stage}.csv"
    names = [f"{i}.png" for i in range(120)]
    write_predictions(
        path,
        predictions_table(
            "softmax", ("no", "yes"), names, np.stack([1 - p, p], 1), y, groups=patients.astype(str)
        ),
    )
    stage = stage or ("ood_finetuned" if fraction else "ood_zero_shot")
    return Cell(arm, seed, fraction, stage, path, round(200 * fraction), round(500 * fraction))


@pytest.fixture
def cells(tmp_path) -> list[Cell]:
    strengths = {"plain": (0.0, 0.3, 0.6, 1.0), "ssl": (0.5, 1.2, 1.5, 1.6)}
    return [
        write_cell(tmp_path, arm, seed, fraction, strength)
        for arm, of_arm in strengths.items()
        for fraction, strength in zip((0.0, 0.01, 0.1, 1.0), of_arm, strict=True)
        for seed in (1, 0)
    ]


def test_curve_is_the_seed_bootstrap_of_every_point(cells):
    curve = label_fraction_curve(cells, "auroc", resamples=50, seed=3)
    assert curve["arm"].tolist() == ["plain"] * 4 + ["ssl"] * 4
    assert curve["fraction"].tolist() == [0, 0.01, 0.1, 1] * 2
    assert curve["n_patients"].tolist() == [0, 2, 20, 200] * 2
    assert curve["n_images"].tolist() == [0, 5, 50, 500] * 2
    assert set(curve["seeds"]) == {2} and set(curve["reason"]) == {""}
    same = [c for c in cells if c.arm == "ssl" and c.fraction == 0.1]
    runs = [Predictions.from_table(read_predictions(c.predictions)) for c in same]
    expected = seed_bootstrap(runs[::-1], "auroc", resamples=50, seed=3)
    assert tuple(curve.loc[6, ["mean", "low", "high"]]) == (
        expected.value,
        expected.low,
        expected.high,
    )


def test_in_distribution_cells_are_no_part_of_the_curve(cells, tmp_path):
    cells.append(write_cell(tmp_path, "ssl", 0, 0.0, 3.0, stage="id"))
    assert len(label_fraction_curve(cells, "auroc", resamples=10)) == 8


def test_level_group_scores_by_patient(cells):
    by_image, by_group = (
        evaluate_cells(cells, "auroc", level=level, resamples=10) for level in ("image", "group")
    )
    assert len(by_image[0].runs.reference.images) == 120
    assert len(by_group[0].runs.reference.images) == 60


def test_points_without_a_value_are_blank_and_say_why(cells):
    for cell in cells:
        table = read_predictions(cell.predictions)
        write_predictions(cell.predictions, table.assign(label="no"))
    curve = label_fraction_curve(cells, "auroc", resamples=10)
    assert curve[["mean", "low", "high"]].isna().all(axis=None)
    assert set(curve["reason"]) == {"only negatives, n=120"}
    points = evaluate_cells(cells, "auroc", resamples=10)
    assert isinstance(labels_to_match_interval(points[4:], points[3], "auroc"), NotDefined)


def test_cell_on_other_images_is_named(cells):
    table = read_predictions(cells[3].predictions)
    write_predictions(cells[3].predictions, table.iloc[:50])
    with pytest.raises(UserError, match="arm 'plain', ood_finetuned, fraction 0.01: .* 70 are"):
        evaluate_cells(cells, "auroc", resamples=10)


def curve_of(*means: float) -> pd.DataFrame:
    fractions = [0, 0.01, 0.1, 1][-len(means) :]
    return pd.DataFrame({"arm": "ssl", "fraction": fractions, "mean": means})


@pytest.mark.parametrize(
    ("means", "baseline", "expected"),
    [
        ((0.6, 0.7, 0.8, 0.9), 0.75, 0.01 * 10**0.5),  # half-way in the logarithm
        ((0.6, 0.7, 0.8, 0.9), 0.65, 0.005),  # from zero: half-way in the share
        ((0.6, 0.7, 0.8, 0.9), 0.8, 0.1),  # reached exactly
        ((0.6, 0.8, 0.7, 0.9), 0.75, 0.0075),  # the first of two crossings
        ((0.6, np.nan, 0.8, 0.9), 0.7, 0.05),  # a point without a value is passed over
        ((0.6, 0.7, 0.8, 0.9), 0.6, NoCrossing.ALREADY_AT_ZERO),
        ((0.6, 0.7, 0.8, 0.9), 0.91, NoCrossing.NEVER_REACHED),
        ((0.7, 0.8, 0.9), 0.6, 0.01),  # no zero-shot point: the first share is an upper bound
        ((np.nan,) * 4, 0.6, NoCrossing.NEVER_REACHED),
    ],
)
def test_labels_to_match(means, baseline, expected):
    found = labels_to_match(curve_of(*means), baseline)
    if isinstance(expected, NoCrossing):
        assert found is expected
    else:
        assert found == pytest.approx(expected, rel=1e-12)
    losses = curve_of(*(-np.array(means)))
    assert labels_to_match(losses, -baseline, lower_is_better=True) == found


def test_labels_to_match_on_a_linear_scale_and_of_one_arm_only():
    curve = curve_of(0.6, 0.7, 0.8, 0.9)
    assert labels_to_match(curve, 0.75, scale="linear") == pytest.approx(0.055, rel=1e-12)
    with pytest.raises(ValueError, match="one arm"):
        labels_to_match(pd.concat([curve, curve.assign(arm="plain")]), 0.7)


def test_match_is_found_anew_in_every_resample(cells):
    points = evaluate_cells(cells, "auroc", resamples=200)
    plain, ssl = points[:4], points[4:]
    match = labels_to_match_interval(ssl, plain[-1], "auroc")
    curve = label_fraction_curve(cells, "auroc", resamples=200)
    assert match.value == labels_to_match(curve[curve["arm"] == "ssl"], plain[-1].interval.value)
    levels, curves = plain[-1].runs.means(), np.stack([p.runs.means() for p in ssl], axis=1)
    order = {NoCrossing.ALREADY_AT_ZERO: -1.0, NoCrossing.NEVER_REACHED: 2.0}
    drawn = sorted(
        order.get(found, found)
        for found in (
            labels_to_match(curve_of(*means), level)
            for means, level in zip(curves, levels, strict=True)
        )
    )
    # 2.5 % and 97.5 % of 200: positions 4 and 195 of 0..199.
    assert [order.get(end, end) for end in (match.low, match.high)] == [drawn[4], drawn[195]]
    assert drawn[4] < match.value < drawn[195]


def test_match_may_be_never_or_already(cells):
    points = evaluate_cells(cells, "auroc", resamples=100)
    plain, ssl = points[:4], points[4:]
    never = labels_to_match_interval(plain[:2], ssl[-1], "auroc")
    assert never == LabelsToMatch(*[NoCrossing.NEVER_REACHED] * 3)
    already = labels_to_match_interval(ssl, plain[0], "auroc")
    assert already.value is already.low is NoCrossing.ALREADY_AT_ZERO
    # The same numbers as losses: lower is better, and the arm's are all higher.
    at_loss = labels_to_match_interval(ssl, plain[0], "brier")
    assert at_loss.value is NoCrossing.NEVER_REACHED


def lines(folder: Path, *records: object) -> Path:
    write_cell(folder, "a", 0, 0.0, 1.0)
    path = folder / "cells.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" if r != "" else "\n" for r in records))
    return path


GOOD = {
    "arm": "a",
    "seed": 0,
    "fraction": 0.1,
    "stage": "ood_finetuned",
    "predictions": "a-0-0-.csv",
    "n_patients": 5,
    "n_images": 9,
    "train_seconds": 1.5,
}


def test_cells_are_read(tmp_path):
    path = lines(tmp_path, GOOD, "", {**GOOD, "stage": "id", "fraction": None})
    path_of = tmp_path.resolve() / "a-0-0-.csv"
    assert read_cells(path) == [
        Cell("a", 0, 0.1, "ood_finetuned", path_of, 5, 9),
        Cell("a", 0, 0.0, "id", path_of, 5, 9),
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stage": "odd"}, "line 2: stage 'odd'"),
        ({"fraction": 1.5}, "line 2: fraction is 1.5"),
        ({"fraction": None}, "line 2: fraction is 0"),
        ({"seed": "x"}, "line 2: invalid literal"),
        ({"predictions": "none.csv"}, "line 2: 'none.csv' does not exist"),
        ({"predictions": "../p.csv"}, "line 2: '../p.csv' is outside"),
        ({"predictions": "/etc/hostname"}, "line 2: '/etc/hostname' is outside"),
        ({}, "line 2: the cell arm='a', seed=0, fraction=0.1.*twice"),
    ],
)
def test_bad_cells_are_refused_with_their_line(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        read_cells(lines(tmp_path, GOOD, GOOD | change))


def test_cells_that_are_no_cells_are_refused(tmp_path):
    with pytest.raises(UserError, match="line 1 has no key 'arm'"):
        read_cells(lines(tmp_path, {k: v for k, v in GOOD.items() if k != "arm"}))
    with pytest.raises(UserError, match="line 1 is not a JSON object"):
        read_cells(lines(tmp_path, [1]))
    (tmp_path / "cells.jsonl").write_text(json.dumps(GOOD)[:-5])
    with pytest.raises(UserError, match="line 1 is not JSON"):
        read_cells(tmp_path / "cells.jsonl")
    with pytest.raises(UserError, match="holds no cells"):
        read_cells(lines(tmp_path, ""))
    with pytest.raises(UserError, match="cannot be read"):
        read_cells(tmp_path / "nothing.jsonl")
