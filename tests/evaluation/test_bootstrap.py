import dataclasses

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from remedis_jax.errors import UserError
from remedis_jax.evaluation import resampling
from remedis_jax.evaluation.bootstrap import (
    Interval,
    bootstrap,
    difference_of,
    paired_difference,
    paired_seed_difference,
    resample_arms,
    resample_runs,
    seed_bootstrap,
    spread_of,
)
from remedis_jax.evaluation.metrics import METRICS, NotDefined
from remedis_jax.evaluation.predictions import Predictions, predictions_table
from remedis_jax.evaluation.resampling import patient_counts


def clustered(seed: int = 0, patients: int = 80, each: int = 25, noise: float = 0.5) -> Predictions:
    """Label and most of the score belong to the patient; images add a little noise."""
    rng = np.random.default_rng(seed)
    sick = np.arange(patients) % 2
    severity = 0.8 * sick + rng.normal(size=patients)
    logit = np.repeat(severity, each) + noise * rng.normal(size=patients * each)
    p = 1 / (1 + np.exp(-logit))
    return Predictions.from_table(
        predictions_table(
            "softmax",
            ("healthy", "sick"),
            [f"{i}.png" for i in range(len(p))],
            np.stack([1 - p, p], axis=1),
            np.repeat(sick, each),
            groups=[f"p{i:03d}" for i in np.repeat(np.arange(patients), each)],
        )
    )


def width(interval: Interval) -> float:
    return interval.high - interval.low


def test_patient_intervals_are_wider_than_image_intervals():
    by_patient = clustered()
    by_image = dataclasses.replace(by_patient, groups=by_patient.images)
    patient, image = (bootstrap(p, ["auroc"])["auroc"] for p in (by_patient, by_image))
    assert patient.value == image.value
    assert width(patient) > 3 * width(image)


def test_same_seed_same_interval_other_seed_another(predictions):
    first = bootstrap(predictions, METRICS, resamples=50, seed=1)
    assert bootstrap(predictions, METRICS, resamples=50, seed=1) == first
    assert bootstrap(predictions, METRICS, resamples=50, seed=2) != first


def test_blocks_and_row_order_do_not_change_the_interval(predictions, monkeypatch):
    whole = bootstrap(predictions, ["auroc", "accuracy"], resamples=50)
    shuffled = predictions.select(np.random.default_rng(0).permutation(len(predictions.images)))
    assert bootstrap(shuffled, ["auroc", "accuracy"], resamples=50) == whole
    monkeypatch.setattr(resampling, "CELLS", 7 * len(predictions.images))
    assert bootstrap(predictions, ["auroc", "accuracy"], resamples=50) == whole


def test_resamples_are_whole_patients_drawn_with_replacement():
    counts = np.concatenate(list(patient_counts(patients=20, resamples=400, seed=0, rows=64)))
    assert counts.shape == (400, 20)
    np.testing.assert_array_equal(counts.sum(axis=1), 20)
    # Binomial(20, 1/20): mean 1, variance 0.95; 400 x 20 draws leave 0.011 of error on the mean.
    assert abs(counts.var() - 0.95) < 0.06
    assert (counts == 0).mean() == pytest.approx(0.95**20, abs=0.02)


def test_interval_agrees_with_scipy_over_patient_indices():
    predictions = clustered(patients=60, each=4)
    groups, index = np.unique(predictions.groups, return_inverse=True)
    rows = [np.flatnonzero(index == g) for g in range(len(groups))]

    def statistic(drawn: np.ndarray) -> float:
        chosen = np.concatenate([rows[g] for g in drawn])
        y, ranks = predictions.y[chosen], stats.rankdata(predictions.p[chosen, 1])
        sick = y.sum()
        return (ranks[y == 1].sum() - sick * (sick + 1) / 2) / (sick * (len(y) - sick))

    theirs = stats.bootstrap(
        (np.arange(len(groups)),),
        statistic,
        n_resamples=1000,
        method="percentile",
        vectorized=False,
        rng=np.random.default_rng(0),
    )
    ours = bootstrap(predictions, ["auroc"], resamples=10_000)["auroc"]
    # The standard error of a 2.5 % percentile of 1,000 normal draws is 0.085 of their deviation.
    tolerance = 4 * 0.085 * theirs.standard_error
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=tolerance)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=tolerance)


def test_confidence_widens_the_interval(draw):
    at_95, at_50 = (
        bootstrap(draw("softmax", 2), ["auroc"], confidence=c)["auroc"] for c in (0.95, 0.5)
    )
    assert at_95.low < at_50.low < at_50.value < at_50.high < at_95.high


def test_difference_of_identical_predictions_is_exactly_zero(predictions):
    shuffled = predictions.select(np.random.default_rng(1).permutation(len(predictions.images)))
    for metric in METRICS:
        for other in (predictions, shuffled):
            found = paired_difference(predictions, other, metric, resamples=20)
            assert (found.value, found.low, found.high, found.p_value) == (0, 0, 0, 1)


def test_difference_is_paired_and_signed():
    weak, strong = clustered(noise=1.0), clustered(noise=0.2)  # the same patients
    found = paired_difference(strong, weak, "auroc")
    back = paired_difference(weak, strong, "auroc")
    assert found.value > 0
    assert (back.value, back.low, back.high) == (-found.value, -found.high, -found.low)
    assert back.p_value == found.p_value < 0.05
    alone = bootstrap(strong, ["auroc"])["auroc"]
    assert width(found) < 0.5 * width(alone)


def test_p_value_counts_the_resamples_on_either_side_of_zero():
    a, b = clustered(noise=0.4), clustered(noise=0.8)
    resampled = [resample_runs([run], "auroc", resamples=99) for run in (a, b)]
    draws = resampled[0].means() - resampled[1].means()
    fewer = min((draws <= 0).sum(), (draws >= 0).sum())
    found = difference_of(*resampled)
    assert found.p_value == pytest.approx(2 * (1 + fewer) / 100, rel=0, abs=1e-15)
    # No resample of a clear difference is on the other side: as small as 99 resamples can show.
    clear = paired_difference(clustered(noise=0.01), clustered(noise=9.0), "auroc", 99)
    assert clear.low > 0 and clear.p_value == pytest.approx(0.02, rel=0, abs=1e-15)


def test_p_value_and_interval_agree_but_for_the_ones_that_are_added():
    below = []
    for seed in range(12):
        a, b = clustered(seed, each=3, noise=0.6), clustered(seed, each=3, noise=1.2)
        found = paired_difference(a, b, "auroc", resamples=399)
        if found.low > 0 or found.high < 0:
            assert found.p_value <= 0.05 + 2 / 400
        else:
            assert found.p_value >= 0.05
        below.append(found.p_value < 0.05)
    assert 0 < sum(below) < 12


def test_arms_and_metrics_together_are_those_one_by_one(predictions):
    metrics = ["auroc", "accuracy", "specificity", "ece"]
    rng = np.random.default_rng(0)
    runs = [predictions.select(rng.permutation(len(predictions.images))) for _ in range(2)]
    runs[1] = dataclasses.replace(runs[1], p=runs[1].p[:, ::-1])
    arms = [[predictions, runs[0]], [runs[1], predictions]]
    together = resample_arms(arms, metrics, resamples=30, seed=5)
    for arm, of_metric in zip(arms, together, strict=True):
        assert list(of_metric) == metrics
        for metric, found in of_metric.items():
            alone = resample_runs(arm, metric, resamples=30, seed=5)
            for field in ("values", "draws", "picks"):
                np.testing.assert_array_equal(getattr(found, field), getattr(alone, field))
            assert found.left_out == alone.left_out


def test_sampling_and_seeds_are_told_apart():
    rng = np.random.default_rng(0)
    base = clustered(patients=100, each=2)

    def noisy(scale: float) -> Predictions:
        logit = np.log(base.p[:, 1] / base.p[:, 0]) + scale * rng.normal(size=len(base.y))
        p = 1 / (1 + np.exp(-logit))
        return dataclasses.replace(base, p=np.stack([1 - p, p], axis=1))

    same = spread_of(resample_runs([base] * 3, "auroc", 200))
    one = spread_of(resample_runs([base], "auroc", 200))
    assert same.seed_sd == pytest.approx(0, abs=1e-15) and one.seed_sd.reason == "one run only"
    assert same.sampling_sd == pytest.approx(one.sampling_sd, rel=1e-9)
    alone = resample_runs([base], "auroc", 200)
    assert one.sampling_sd == pytest.approx(alone.draws[0].std(ddof=1), rel=1e-12)
    runs = [noisy(scale) for scale in (0.5, 1.0, 3.0)]
    apart = spread_of(resample_runs(runs, "auroc", 200))
    values = [roc_auc_score(run.y, run.p[:, 1]) for run in runs]
    assert apart.seed_sd == pytest.approx(np.std(values, ddof=1), rel=1e-9)
    assert spread_of(NotDefined("no")) == NotDefined("no")


def test_one_run_over_seeds_is_the_bootstrap_of_that_run(predictions):
    alone = bootstrap(predictions, ["auroc"], resamples=100)["auroc"]
    assert seed_bootstrap([predictions], "auroc", resamples=100) == alone
    thrice = seed_bootstrap([predictions] * 3, "auroc", resamples=100)
    assert (thrice.low, thrice.high) == pytest.approx((alone.low, alone.high), rel=0, abs=1e-15)


def test_resamples_draw_patients_and_seeds(draw):
    """Every resample's mean, made by hand from the patients and the runs that it draws."""
    base = draw("softmax", 2)
    rng = np.random.default_rng(5)
    runs = []
    for _ in range(3):
        score = np.clip(base.p[:, 1] + 0.2 * rng.normal(size=len(base.y)), 0, 1)
        runs.append(dataclasses.replace(base, p=np.stack([1 - score, score], axis=1)))
    resampled = resample_runs(runs, "auroc", resamples=20, seed=4)
    _, index = np.unique(base.groups, return_inverse=True)
    (counts,) = patient_counts(index.max() + 1, 20, seed=4, rows=20)
    assert len(np.unique(resampled.picks, axis=0)) > 10  # runs are drawn, not all taken
    for r, mean in enumerate(resampled.means()):
        weight = counts[r][index]
        values = [
            roc_auc_score(base.y, runs[k].p[:, 1], sample_weight=weight)
            for k in resampled.picks[r]
        ]
        assert mean == pytest.approx(np.mean(values), rel=0, abs=1e-12)
    found = seed_bootstrap(runs, "auroc", resamples=20, seed=4)
    assert found.value == pytest.approx(np.mean(resampled.values), rel=0, abs=1e-15)


def test_spread_of_seeds_widens_the_interval():
    rng = np.random.default_rng(0)
    base = clustered(patients=200, each=2)
    runs = []
    for scale in (0.0, 1.0, 2.0, 4.0):
        logit = np.log(base.p[:, 1] / base.p[:, 0]) + scale * rng.normal(size=len(base.y))
        p = 1 / (1 + np.exp(-logit))
        runs.append(dataclasses.replace(base, p=np.stack([1 - p, p], axis=1)))
    widest = max(width(bootstrap(run, ["auroc"])["auroc"]) for run in runs)
    assert width(seed_bootstrap(runs, "auroc")) > widest


def test_paired_seed_difference_draws_the_same_seeds_for_both():
    runs = [clustered(noise=noise) for noise in (0.1, 1.0, 3.0)]
    found = paired_seed_difference(runs, runs, "auroc", resamples=50)
    assert (found.value, found.low, found.high, found.p_value) == (0, 0, 0, 1)
    with pytest.raises(UserError, match="3 runs cannot be paired with 2"):
        paired_seed_difference(runs, runs[:2], "auroc", resamples=50)


@pytest.mark.filterwarnings("error")
def test_one_patient_has_no_interval(draw):
    predictions = draw("softmax", 2, patients=1)
    found = bootstrap(predictions, ["auroc", "accuracy"])
    assert all(isinstance(value, NotDefined) for value in found.values())
    assert found["auroc"].reason.startswith("one patient only")


@pytest.mark.filterwarnings("error")
def test_one_class_has_no_interval_and_accuracy_has(draw):
    predictions = draw("softmax", 2)
    only = predictions.select(predictions.y == 0)
    found = bootstrap(only, ["auroc", "accuracy"])
    assert found["auroc"] == NotDefined(f"only negatives, n={len(only.y)}")
    assert found["accuracy"].low < found["accuracy"].high
    assert isinstance(paired_difference(only, only, "auroc"), NotDefined)


@pytest.mark.filterwarnings("error")
def test_resamples_without_a_value_are_counted():
    one_sick = clustered(patients=30, each=2)
    sick = one_sick.groups == "p001"
    one_sick = dataclasses.replace(one_sick, y=sick.astype(np.int64))
    found = bootstrap(one_sick, ["auroc"])["auroc"]
    # The only sick patient is missing from (1 - 1/30)^30 = 36 % of the resamples.
    assert found.undefined_resamples == pytest.approx(362, abs=60)
    assert found.resamples == 1000
    # With two patients half of the resamples hold both; the seed decides on which side of it.
    two = one_sick.select((one_sick.groups == "p001") | (one_sick.groups == "p002"))
    undefined = [bootstrap(two, ["auroc"], resamples=50, seed=s)["auroc"] for s in range(20)]
    reasons = [found.reason for found in undefined if isinstance(found, NotDefined)]
    assert 0 < len(reasons) < 20
    assert all("resamples have a value" in reason for reason in reasons)


def test_parts_left_out_of_an_average_are_named(draw):
    predictions = draw("softmax", 4)
    three = predictions.select(predictions.y != 2)
    assert bootstrap(three, ["auroc"], resamples=20)["auroc"].left_out == ("cat",)


def test_predictions_of_other_images_patients_or_labels_are_not_compared(draw):
    a = draw("softmax", 2)
    for other, message in (
        (a.select(np.arange(10)), "290 are in one of them only"),
        (dataclasses.replace(a, groups=a.groups[::-1]), "not the same patients"),
        (dataclasses.replace(a, y=1 - a.y), "not the same labels"),
        (dataclasses.replace(a, classes=("ant", "wasp")), "same classes"),
        (dataclasses.replace(a, positive="ant"), "same classes"),
    ):
        with pytest.raises(UserError, match=message):
            paired_difference(a, other, "auroc", resamples=10)
    with pytest.raises(UserError, match="not on the same images"):
        seed_bootstrap([a, a.select(np.arange(10))], "auroc", resamples=10)


def test_resamples_and_runs_must_be_there(draw):
    with pytest.raises(UserError, match="no run"):
        seed_bootstrap([], "auroc")
    with pytest.raises(UserError, match="resamples is 0"):
        bootstrap(draw("softmax", 2), ["auroc"], resamples=0)
    few, many = (resample_runs([draw("softmax", 2)], "auroc", resamples=r) for r in (5, 6))
    with pytest.raises(UserError, match="resamples: 5 and 6"):
        difference_of(few, many)
