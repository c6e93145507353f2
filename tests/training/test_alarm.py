"""The alarm on made-up series, and on a run that really collapses."""

import json

import pytest

import remedis_jax
from remedis_jax.errors import RunFailed, UserError
from remedis_jax.models import bit
from remedis_jax.training.alarm import CollapseAlarm


def feed(alarm, values, name="feature_std", first=1):
    """Warnings by step."""
    rows = enumerate(values, start=first)
    return {step: text for step, value in rows if (text := alarm.look(step, {name: value}))}


def test_warns_once_when_low_for_long_enough():
    warnings = feed(CollapseAlarm(ratio=0.25, patience=3), [0.4, 0.3, 0.09, 0.05, 0.04, 0.04, 0.04])
    assert list(warnings) == [5]
    assert "feature_std is 0.04 at step 5 and was 0.4" in warnings[5]
    assert "learning_rate" in warnings[5]


def test_a_dip_and_a_low_start_are_no_collapse():
    assert not feed(CollapseAlarm(patience=3), [0.4, 0.05, 0.05, 0.2, 0.05, 0.05])
    # A fresh network's features are much alike; that is where it starts from.
    assert not feed(CollapseAlarm(patience=3), [0.02] * 9)


def test_a_fall_after_a_rise_is_a_collapse_and_so_is_nothing_from_the_start():
    assert list(feed(CollapseAlarm(patience=3), [0.05, 0.3, 0.6, 0.1, 0.1, 0.1])) == [6]
    warnings = feed(CollapseAlarm(patience=3), [1e-5, 2e-5, 1e-5, 1e-5], "embedding_std")
    assert list(warnings) == [3]


def test_both_ends_are_judged_on_the_same_line():
    alarm = CollapseAlarm(patience=1)
    alarm.look(1, {"feature_std": 0.4, "embedding_std": 1.0})
    warning = alarm.look(2, {"feature_std": 0.01, "embedding_std": 0.01})
    assert "feature_std" in warning and "embedding_std" in warning


def test_not_a_number_is_a_collapse():
    assert feed(CollapseAlarm(patience=2), [0.4, float("nan"), float("nan")])


def test_rank_is_watched_at_the_monitors_pace():
    assert list(feed(CollapseAlarm(patience=20), [40, 5, 5], "monitor_rankme", 0)) == [2]


def test_stop_raises_and_off_is_silent():
    with pytest.raises(RunFailed, match="collapsed"):
        feed(CollapseAlarm("stop", patience=1), [0.4, 0.01])
    assert not feed(CollapseAlarm("off", patience=1), [0.4, 0.01])


@pytest.mark.parametrize(
    "arguments", [{"action": "panic"}, {"ratio": 0.0}, {"ratio": 1.0}, {"patience": 0}]
)
def test_wrong_settings_are_refused(arguments):
    with pytest.raises(UserError, match="alarm"):
        CollapseAlarm(**arguments)


def test_a_resumed_run_decides_as_one_that_was_not_interrupted(tmp_path):
    values = [0.4, 0.3, 0.05, 0.05, 0.05, 0.05]
    path = tmp_path / "metrics.jsonl"
    rows = [json.dumps({"step": s, "feature_std": v}) + "\n" for s, v in enumerate(values, 1)]
    path.write_text("".join(rows) + '{"step": 7, "fea')
    whole = feed(CollapseAlarm(patience=4), values)
    for resumed_at in range(1, 6):
        alarm = CollapseAlarm(patience=4)
        alarm.replay(path, resumed_at)
        assert feed(alarm, values[resumed_at:], first=resumed_at + 1) == whole


@pytest.fixture
def byol_run(tiny_phantom, tmp_path, monkeypatch):
    """(learning rate) -> BYOL with the authors' optimiser, told to stop at a collapse."""
    monkeypatch.setitem(bit.UNITS, 5, (1,))

    def run(rate, *more):
        overrides = (
            f"data.manifest={tiny_phantom}/pool/manifest.csv", "devices=1", "model.name=r5x0.5",
            "augment.recipe=finetune", "augment.options={'crop': 'resize'}", "batch_size=32",
            "optimizer.name=lars_after_momentum", "optimizer.clip_norm=0", "warmup_steps=0",
            f"optimizer.learning_rate={rate}", "total_steps=60", "checkpoint_steps=0",
            "alarm.action=stop", *more,
        )  # fmt: skip
        config = "experiments/contrastive/byol.py:task=phantom,tiny"
        return remedis_jax.train(config, tmp_path / str(rate), overrides=overrides)

    return run


def test_a_collapsed_run_is_stopped_and_a_sound_one_is_not(byol_run):
    """No negatives, no slow target and 300 times the rate: the loss falls, and says nothing.

    The spread of the features falls to less than a fifth, well below the quarter of the alarm.
    """
    assert byol_run(0.2).steps == 60
    with pytest.raises(RunFailed, match="collapsed: feature_std") as caught:
        byol_run(60.0, "objective.momentum=0.0")
    assert "learning_rate" in caught.value.remedy
