"""The simulations of docs/statistics.md, with few test sets."""

import numpy as np
import pandas as pd
import pytest

from experiments.simulations.clustered import DESIGNS
from experiments.simulations.coverage import (
    intervals_of_data_set,
    simulate,
    summarise,
    verdict,
)
from experiments.simulations.coverage_figure import coverage_figure
from remedis_jax.evaluation.metrics import value_of


def test_simulated_models_have_the_auroc_that_is_said():
    design = DESIGNS["difference"]
    values = np.array(
        [
            [value_of(run, "auroc") for (run,) in design.draw(np.random.default_rng(number))]
            for number in range(60)
        ]
    )
    standard_errors = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    assert np.all(np.abs(values.mean(axis=0) - design.aurocs) < 4 * standard_errors)
    assert design.truth == pytest.approx(0.05)
    runs = [run for arm in DESIGNS["seeds"].draw(np.random.default_rng(0)) for run in arm]
    assert len(runs) == 5 and all(np.array_equal(run.y, runs[0].y) for run in runs)


def test_intervals_by_image_are_several_times_too_narrow():
    rows = pd.DataFrame(
        [row for number in range(16) for row in intervals_of_data_set("auroc", number, 200)]
    )
    width = (rows["high"] - rows["low"]).groupby(rows["method"]).mean()
    assert width["patients"] > 2.2 * width["images"]
    covered = rows.groupby("method")["covers"].sum()
    assert covered["patients"] >= 13 > covered["images"]


def test_every_design_is_simulated_summed_up_and_drawn(tmp_path):
    said = []
    rows = simulate(2, resamples=40, progress=lambda *done: said.append(done))
    assert said[-1] == (2 * len(DESIGNS),) * 2
    again = pd.DataFrame(intervals_of_data_set("seed_difference", 1, resamples=40))
    same = rows[(rows["design"] == "seed_difference") & (rows["number"] == 1)]
    pd.testing.assert_frame_equal(same.reset_index(drop=True), again)
    summary = summarise(rows)
    assert set(summary["design"]) == set(DESIGNS) and (summary["data_sets"] == 2).all()
    of_differences = summary["design"].str.contains("difference")
    assert summary["rejected"].notna().tolist() == of_differences.tolist()
    summary.loc[summary["method"] == "patients", "coverage"] = 0.95
    line, met = verdict(summary)
    assert met and line.endswith("met")
    summary["coverage"] = 0.5
    assert not verdict(summary)[1]
    path = coverage_figure(tmp_path / "coverage.png", summary, rows[rows["design"] == "auroc"])
    assert path.stat().st_size > 10_000
