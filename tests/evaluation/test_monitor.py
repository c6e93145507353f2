"""What a run of self-supervision reports about itself, and what it declares."""

import json

import numpy as np
import pytest

import remedis_jax
from remedis_jax.errors import RunFailed, UserError
from remedis_jax.evaluation import monitor
from remedis_jax.evaluation.histograms import read_histograms
from remedis_jax.evaluation.monitor import default_steps
from remedis_jax.models import bit
from remedis_jax.weights.artifact import flatten, load_artifact


@pytest.fixture
def train(tiny_phantom, tmp_path, monkeypatch):
    """(name, overrides) -> the folder of a run of SimCLR with a monitor that reads labels."""
    monkeypatch.setitem(bit.UNITS, 5, (1,))
    labelled = f"{tiny_phantom}/labelled/manifest.csv"

    def run(name, *overrides):
        lines = []
        remedis_jax.train(
            "experiments/contrastive/simclr.py:task=phantom,tiny",
            tmp_path / name,
            overrides=(
                f"data.manifest={tiny_phantom}/pool/manifest.csv", "devices=2",
                "data.group=patient_id", "model.name=r5x0.5", "augment.recipe=finetune",
                "monitor.images=24", "monitor.steps=3", f"monitor.manifest={labelled}",
                "monitor.group=patient_id", "monitor.labels=('finding',)",
                "monitor.where={'split': 'train'}", "total_steps=4", *overrides,
            ),
            announce=lines.append,
        )  # fmt: skip
        return tmp_path / name, lines

    return run


def rows_of(workdir):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: row for row in rows if "monitor_rankme" in row}


def test_numbers_histograms_and_declaration(train):
    workdir, lines = train("run")
    rows = rows_of(workdir)
    assert list(rows) == [0, 3, 4]
    for row in rows.values():
        assert 1 <= row["monitor_rankme"] <= 24
        assert 0 <= row["monitor_feature_std"] <= 1
        assert 0 <= row["monitor_alignment"] <= 4 and -8 <= row["monitor_uniformity"] <= 0
        assert 0 <= row["monitor_knn_accuracy"] <= 1 and 0 <= row["monitor_probe_accuracy"] <= 1
    histograms = read_histograms(workdir / "histograms.jsonl")
    assert [row["step"] for row in histograms] == [0, 3, 4]
    assert sum(histograms[0]["positive"]) == 24 and sum(histograms[0]["negative"]) == 24 * 23
    # The user is told, and so is whoever gets the weights.
    assert any("'finding'" in line and "no gradient" in line for line in lines)
    assert any("tell nothing" in line for line in lines)
    declared = load_artifact(workdir / "weights.safetensors").card["labels_seen_while_training"]
    assert declared["labels"] == ["finding"] and declared["where"] == {"split": "train"}


def test_watching_changes_no_weight(train):
    watched, _ = train("watched")
    unwatched, _ = train("unwatched", "monitor.images=0")
    assert not rows_of(unwatched)
    first, second = (load_artifact(path / "weights.safetensors") for path in (watched, unwatched))
    assert second.card["labels_seen_while_training"] is None
    others = flatten(second.params)
    for name, values in flatten(first.params).items():
        assert values.tobytes() == others[name].tobytes(), name


def test_held_out_labels_are_refused(train, tiny_phantom):
    held_out = {
        "manifest": f"{tiny_phantom}/labelled/manifest.csv",
        "group": "patient_id",
        "where": {"split": "test"},
    }
    with pytest.raises(UserError, match="monitor's labels"):
        train("run", f"data.held_out=({held_out},)", "monitor.where={'split': ['train', 'test']}")
    with pytest.raises(UserError, match=r"monitor\.labels"):
        train("other", "monitor.labels=()")


def test_features_that_are_not_finite_end_the_run_with_a_line(train, monkeypatch):
    # Weights that are not finite will not do here: XLA's max on CPUs takes 0 of (NaN, 0).
    monkeypatch.setattr(monitor, "features_of", lambda *_, **__: np.full((24, 8), np.nan))
    with pytest.raises(RunFailed, match="not finite at step 0"):
        train("run")


def test_default_pace_keeps_to_two_percent():
    # 3 x 256 forward passes beside steps of 3 x 2 x 128.
    steps = default_steps(256, 0, 128, 1000)
    assert steps == 67
    cost, step = 3 * 256, 3 * 2 * 128
    assert cost / (steps * step) <= 0.015 < cost / ((steps - 1) * step)
    assert default_steps(256, 512, 4096, 100) == 4
    # Where steps are short for their number of images, 50 measurements in all.
    assert default_steps(256, 512, 4096, 312_000) == 6240
