import json
import math

import numpy as np
import pytest

from remedis_jax.errors import UserError
from remedis_jax.evaluation.bootstrap import RunResamples, difference_of, interval_of
from remedis_jax.evaluation.curves import NoCrossing, Point, labels_to_match_interval
from remedis_jax.evaluation.label_saving import Amount, label_saving
from remedis_jax.evaluation.metrics import NotDefined
from remedis_jax.evaluation.predictions import Predictions

NEVER, ZERO = NoCrossing.NEVER_REACHED, NoCrossing.ALREADY_AT_ZERO
FRACTIONS = (0.0, 0.01, 0.1, 1.0)


def reference(images: int = 4) -> Predictions:
    return Predictions(
        kind="softmax", classes=("no", "yes"), y=np.arange(images) % 2,
        p=np.full((images, 2), 0.5), groups=np.arange(images).astype(str),
        images=np.arange(images).astype(str),
    )  # fmt: skip


def point(fraction: float, mean: float, arm="ssl", sd=0.02, seeds=(0, 1), images=4) -> Point:
    """Two seeds of one mean; 400 resamples, independent of those of other points."""
    rng = np.random.default_rng([round(1000 * fraction), arm == "ssl"])
    draws = mean + sd * rng.normal(size=(len(seeds), 400))
    picks = rng.integers(len(seeds), size=(400, len(seeds)))
    runs = RunResamples(np.full(len(seeds), mean), draws, picks, reference(images), ())
    stage = "ood_finetuned" if fraction else "ood_zero_shot"
    return Point(
        arm, stage, fraction, tuple(seeds), round(1000 * fraction), round(2500 * fraction), runs,
        interval_of(runs),
    )  # fmt: skip


def curve(*means: float, **options) -> list[Point]:
    return [point(f, m, **options) for f, m in zip(FRACTIONS[-len(means) :], means, strict=True)]


def saved(means, baseline=0.8, **options):
    options = {"margin": 0.05, "minutes_per_label": 6} | options
    return label_saving(curve(*means), point(1.0, baseline, "plain"), "auroc", **options)


def test_saving_is_the_reciprocal_of_the_crossing_with_its_ends_exchanged():
    found = saved((0.6, 0.7, 0.9, 0.95))
    match = labels_to_match_interval(
        curve(0.6, 0.7, 0.9, 0.95), point(1.0, 0.8, "plain"), "auroc"
    )
    assert found.crossing == match
    assert 0.01 < match.low < match.value < match.high < 0.1
    assert found.saving == Amount(1 / match.value, 1 / match.high, 1 / match.low)
    assert found.patients_saved.value == pytest.approx(1000 * (1 - match.value), rel=1e-12)
    assert found.images_saved.low == pytest.approx(2500 * (1 - match.high), rel=1e-12)
    assert found.hours_saved.high == pytest.approx(2500 * (1 - match.low) / 10, rel=1e-12)
    by_patient = saved((0.6, 0.7, 0.9, 0.95), unit="patient")
    assert by_patient.hours_saved.value == pytest.approx(found.patients_saved.value / 10, rel=1e-12)
    assert saved((0.6, 0.7, 0.9, 0.95), minutes_per_label=None).hours_saved is None


def numbers_in(record: object) -> list[float]:
    if isinstance(record, dict):
        return [n for value in record.values() for n in numbers_in(value)]
    return [record] if isinstance(record, float) else []


@pytest.mark.parametrize(
    ("means", "answer"), [((0.2, 0.3, 0.4, 0.5), NEVER), ((0.9, 0.92, 0.94, 0.95), ZERO)]
)
def test_answers_never_become_numbers(means, answer):
    found = saved(means)
    everywhere = (found.saving, found.patients_saved, found.images_saved, found.hours_saved)
    for amount in everywhere:
        assert (amount.value, amount.low, amount.high) == (answer,) * 3
    assert found.non_inferior.share is answer and found.non_inferior_saving is answer
    record = found.as_record()
    for name in ("share", "saving", "patients_saved", "images_saved", "hours_saved"):
        assert set(record["crossing"][name].values()) == {answer.value}
    assert record["non_inferior"]["saving"] == answer.value
    json.dumps(record, allow_nan=False)
    assert all(math.isfinite(number) for number in numbers_in(record))


def test_ends_of_either_kind_are_kept():
    # The mean is as high as the baseline at the largest share only: half of the resamples miss it.
    found = saved((0.6, 0.7, 0.75, 0.8))
    assert found.saving.value == 1.0 and found.saving.low is NEVER
    assert isinstance(found.saving.high, float)
    assert found.as_record()["crossing"]["patients_saved"]["low"] == "never reached"
    found = saved((0.79, 0.83, 0.9, 0.95))
    assert found.saving.high is ZERO and isinstance(found.saving.value, float)
    assert found.as_record()["crossing"]["saving"]["high"] == "already at zero labels"


def test_non_inferior_is_the_first_lower_bound_within_the_margin():
    arm, baseline = curve(0.6, 0.74, 0.78, 0.81), point(1.0, 0.8, "plain")
    lows = {p.fraction: difference_of(p.runs, baseline.runs).low for p in arm}
    assert lows[0.01] < lows[0.1] < lows[1.0]
    for margin, share in (
        (-lows[0.1] + 1e-9, 0.1), (-lows[0.1] - 1e-9, 1.0), (-lows[1.0] - 1e-9, NEVER),
        (-lows[0.0], ZERO), (0.0, NEVER),
    ):  # fmt: skip
        found = label_saving(arm, baseline, "auroc", margin=margin).non_inferior
        assert found.share == share
        assert found.stays is (None if share is NEVER else True)
    found = label_saving(curve(0.6, 0.8, 0.6, 0.8), baseline, "auroc", margin=0.1)
    assert found.non_inferior.share == 0.01 and found.non_inferior.stays is False
    assert found.non_inferior_saving == 100.0


def test_of_losses_lower_is_better():
    losses = label_saving(
        curve(0.4, 0.3, 0.1, 0.05), point(1.0, 0.2, "plain"), "brier", margin=0.05
    )
    assert 10 < losses.saving.value < 100
    assert losses.non_inferior.share == 0.1
    worse = label_saving(curve(0.6, 0.5, 0.4, 0.35), point(1.0, 0.2, "plain"), "brier", margin=0.05)
    assert worse.saving.value is NEVER and worse.non_inferior.share is NEVER


def test_baseline_with_part_of_the_labels_and_curves_without_zero_shot():
    half = point(0.5, 0.8, "plain")
    found = label_saving(curve(0.6, 0.7, 0.9, 0.95)[:3], half, "auroc", margin=0)
    assert found.saving.value == pytest.approx(0.5 / found.crossing.value, rel=1e-12)
    assert found.largest == 50
    bound = label_saving(curve(0.9, 0.92, 0.95), point(1.0, 0.8, "plain"), "auroc", margin=0)
    assert bound.at_most and bound.saving.value == 100
    assert bound.as_record()["crossing"]["share_is_upper_bound"] is True
    assert not found.at_most


def test_points_without_a_difference_are_passed_over_and_named():
    arm, baseline = curve(0.6, 0.7, 0.79, 0.81), point(1.0, 0.8, "plain")
    arm[1] = point(0.01, 0.9, seeds=(0, 2))
    found = label_saving(arm, baseline, "auroc", margin=0.1)
    assert found.non_inferior.share == 0.1
    reason = "the arms have different seeds, 0, 2 and 0, 1"
    assert found.as_record()["non_inferior"]["passed_over"] == {"0.01": reason}
    others = [point(f, 0.9, seeds=(5, 6)) for f in FRACTIONS]
    found = label_saving(others, baseline, "auroc", margin=0.1)
    assert isinstance(found.non_inferior.share, NotDefined)
    assert "different seeds" in found.as_record()["non_inferior"]["not_defined"]


def test_undefined_points_give_a_reason_and_no_number():
    nothing = NotDefined("only negatives, n=4")
    arm = [
        Point("ssl", "ood_finetuned", 1.0, (0, 1), 1000, 2500, nothing, nothing),
    ]
    found = label_saving(arm, point(1.0, 0.8, "plain"), "auroc", margin=0.1, minutes_per_label=1)
    assert found.saving == found.hours_saved == found.non_inferior_saving == nothing
    record = found.as_record()
    assert record["crossing"] == {"not_defined": "only negatives, n=4"}
    assert record["non_inferior"] == {"margin": 0.1, "not_defined": "only negatives, n=4"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": -0.1}, "margin is -0.1"),
        ({"margin": math.nan}, "margin is nan"),
        ({"minutes_per_label": 0}, "minutes_per_label is 0"),
        ({"minutes_per_label": math.inf}, "minutes_per_label is inf"),
        ({"unit": "case"}, "unit is 'case'"),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        saved((0.6, 0.7), **options)


def test_other_test_patients_are_refused():
    with pytest.raises(UserError, match="not on the same images"):
        label_saving(curve(0.6, 0.7, images=6), point(1.0, 0.8, "plain"), "auroc", margin=0.1)
