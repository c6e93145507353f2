"""The simulation of `experiments.simulations.saving`, with few and small experiments."""

import json

import pandas as pd
import pytest

from experiments.simulations import saving
from experiments.simulations.saving_model import SCENARIOS, simulate
from remedis_jax.errors import RunFailed
from remedis_jax.evaluation.curves import NoCrossing
from remedis_jax.evaluation.label_saving import Amount


@pytest.fixture(scope="module")
def rows():
    return saving.run(2, lambda line: None, processes=1, patients=80, resamples=60)


def test_planted_saving_is_held_and_answers_are_words(rows, tmp_path):
    summary = saving.write(rows, tmp_path)
    assert [found["simulations"] for found in summary.values()] == [2, 1, 1, 1]
    assert summary["planted"]["covered"] == 2
    assert 2 < summary["planted"]["median_saving"] < 8
    assert summary["never"]["answers"] == {
        "a number": 0, "already at zero labels": 0, "never reached": 1,
    }  # fmt: skip
    table = pd.read_csv(tmp_path / "saving_simulation.csv").set_index("scenario")
    assert table.loc["never", ["saving", "low", "side"]].tolist() == [
        "never reached", "never reached", "holds",
    ]  # fmt: skip
    assert json.loads((tmp_path / "saving_simulation.json").read_text()) == summary
    assert (tmp_path / "saving_simulation.png").is_file()
    assert "within the 95% interval in" in saving.sentences(summary)[0]


def test_a_simulation_is_the_same_again():
    again = [simulate(SCENARIOS[2], 1, 30, 10).as_record() for _ in range(2)]
    assert again[0] == again[1]
    assert again[0]["crossing"]["saving"]["value"] == "never reached"


def test_sides():
    never, zero = NoCrossing.NEVER_REACHED, NoCrossing.ALREADY_AT_ZERO
    assert saving.side(Amount(3.0, never, 5.0), 4.0) == "holds"
    assert saving.side(Amount(3.0, 2.0, zero), zero) == "holds"
    assert saving.side(Amount(3.0, 2.0, 3.9), 4.0) == "below"
    assert saving.side(Amount(9.0, 5.0, zero), 4.0) == "above"
    assert saving.side(Amount(never, never, 1.5), zero) == "below"


def test_an_answer_written_as_a_number_is_found(rows):
    saving.require_answers(rows)
    for wrong in (float("inf"), 0.5, "never"):
        with pytest.raises(RunFailed, match="saving is"):
            saving.require_answers([rows[0] | {"saving": wrong}])
    with pytest.raises(RunFailed, match="'inf' stands"):
        saving.require_answers([], "a,inf,b")
