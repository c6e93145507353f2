"""The table, the figure and the page of a sweep."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from remedis_jax.evaluation.bootstrap import paired_seed_difference, seed_bootstrap
from remedis_jax.evaluation.predictions import Predictions, read_predictions
from remedis_jax.report.figures import stamped
from remedis_jax.sweeps.executors import Inline
from remedis_jax.sweeps.heatmap import grid_figure
from remedis_jax.sweeps.sweep import run_sweep


@pytest.fixture(scope="module")
def finished(grid, tmp_path_factory, make_stand_in):
    stand_in = make_stand_in()
    stand_in.scores = {"init=a optimizer.learning_rate=0.1 optimizer.weight_decay=0.0001": 0.75}
    out = tmp_path_factory.mktemp("finished") / "out"
    page = run_sweep(grid, out, Inline(stand_in.run), announce=lambda line: None)
    return out, page


def runs(out, arm, grid):
    place = "0.1_weight_decay=0.0001" if arm == "imagenet" else "0.01_weight_decay=0.0"
    folders = [out / f"cells/final/{arm}_learning_rate={place}_seed={seed}" for seed in grid.seeds]
    return [
        Predictions.from_table(read_predictions(f / "tests/in_distribution/predictions.csv"))
        for f in folders
    ]


def test_the_numbers_are_those_of_the_bootstrap(finished, grid):
    out, _ = finished
    record = json.loads((out / "sweep.json").read_text())
    of_imagenet, of_simclr = runs(out, "imagenet", grid), runs(out, "simclr", grid)
    for arm, predictions in zip(record["arms"], (of_imagenet, of_simclr), strict=True):
        expected = seed_bootstrap(predictions, "auroc")
        found = arm["tests"]["in distribution"]
        assert (found["value"], found["low"], found["high"]) == (
            expected.value, expected.low, expected.high,
        )  # fmt: skip
    difference = paired_seed_difference(of_simclr, of_imagenet, "auroc")
    found = record["arms"][1]["difference_to_imagenet"]["in distribution"]
    assert found["value"] == difference.value and found["low"] == difference.low > 0
    assert record["arms"][0]["difference_to_imagenet"] == {}
    assert record["arms"][0]["chosen"] == {
        "optimizer.learning_rate": 0.1, "optimizer.weight_decay": 0.0001,
    }  # fmt: skip


def test_the_csv_has_every_cell(finished):
    table = pd.read_csv(finished[0] / "cells.csv")
    assert list(table.phase) == ["grid"] * 8 + ["final"] * 4
    assert list(table[table.chosen & (table.phase == "grid")].learning_rate) == [0.1, 0.01]
    assert table.in_distribution_auroc.notna().tolist() == [False] * 8 + [True] * 4
    assert set(table.steps) == {6} and set(table.status) == {"finished"}


def test_the_page_names_choice_result_and_limits(finished):
    out, page = finished
    text = (out / "report.md").read_text()
    assert page == out / "report.html" and "data:image/png;base64" in page.read_text()
    for part in (
        "simclr is better than imagenet", "learning\\_rate 0.1, weight\\_decay 0.0001",
        "Not for clinical use", "remedis train --config", "| 0.750 |",
    ):  # fmt: skip
        assert part in text, part
    assert (out / "table.md").read_text().strip() in text


SCORES = {
    "a": {(0.1, 0.0): 0.5, (0.1, 1.0): 0.6, (1.0, 0.0): None, (1.0, 1.0): 0.9},
    "b": {(0.1, 0.0): 0.7, (0.1, 1.0): 0.6, (1.0, 0.0): 0.8, (1.0, 1.0): 0.4},
}
AXES = (("optimizer.learning_rate", (0.1, 1.0)), ("optimizer.weight_decay", (0.0, 1.0)))


def draw(folder):
    chosen = {"a": (1.0, 1.0), "b": (1.0, 0.0)}
    png = grid_figure(folder / "grid.png", SCORES, AXES, chosen, metric_name="AUROC")
    return png, folder / "grid.svg"


def test_the_figure_has_every_number_and_is_the_same_bytes(tmp_path):
    with stamped("LEAKED DATA"):
        first, second = (draw(tmp_path / name) for name in "12")
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    text = first[1].read_text()
    for value in (
        "0.500", "0.900", "0.400", "learning_rate", "weight_decay", "\u00d7", "LEAKED DATA",
    ):  # fmt: skip
        assert f">{value}<" in text, value
    assert "None" not in text and "matplotlib v" not in text.lower()


def test_the_chosen_points_are_framed(tmp_path):
    png, _ = draw(tmp_path)
    pixels = np.asarray(Image.open(png).convert("RGB")).astype(int)
    frame = np.abs(pixels - (0xD5, 0x5E, 0x00)).sum(axis=2) < 30
    # One frame in the left panel's upper right, one in the right panel's lower right.
    half = pixels.shape[1] // 2
    left, right = frame[:, :half], frame[:, half:]
    assert left.sum() > 500 and right.sum() > 500
    assert np.argwhere(left)[:, 0].mean() < np.argwhere(right)[:, 0].mean()
