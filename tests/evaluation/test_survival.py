"""Concordance and the AUROC at a horizon against scikit-survival; survival through the room."""

import dataclasses
import functools
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import top_k_accuracy_score
from sksurv.datasets import load_gbsg2, load_veterans_lung_cancer, load_whas500
from sksurv.metrics import concordance_index_censored, cumulative_dynamic_auc
from sksurv.nonparametric import kaplan_meier_estimator

from remedis_jax.data.labels import LabelSpec
from remedis_jax.errors import UserError
from remedis_jax.evaluation.aggregate import aggregate, disagreeing
from remedis_jax.evaluation.bootstrap import bootstrap, paired_difference
from remedis_jax.evaluation.metrics import metrics_of, score, value_of
from remedis_jax.evaluation.not_defined import NotDefined
from remedis_jax.evaluation.predictions import (
    Predictions,
    predictions_table,
    read_predictions,
    unlabelled,
    write_predictions,
)
from remedis_jax.evaluation.resampled import resampler
from remedis_jax.evaluation.scorable import require_scorable
from remedis_jax.evaluation.survival import (
    auroc_of_weights_at,
    concordance,
    concordance_of_weights,
    kaplan_meier,
    time_dependent_auroc,
)

SETS = {
    "veterans": load_veterans_lung_cancer,
    "whas500": load_whas500,
    "gbsg2": load_gbsg2,
}
TIGHT = dict(rtol=0, atol=1e-10)


@functools.cache
def survival_set(name):
    """Times, events and a risk of few distinct values, so that all three have ties."""
    table, outcome = SETS[name]()
    event, time = (outcome[field] for field in outcome.dtype.names)
    numbers = table.select_dtypes("number").to_numpy(float)
    risk = ((numbers - numbers.mean(0)) / numbers.std(0)) @ np.linspace(-1, 1, numbers.shape[1])
    return time.astype(float), event, np.round(risk, 1)


def outcome_of(time, event):
    return np.array(list(zip(event, time, strict=True)), [("event", bool), ("time", float)])


@pytest.fixture(scope="module")
def lifelines():
    """Arrays by name; see tests/golden/make_lifelines_golden.py."""
    with np.load(Path(__file__).parents[1] / "golden" / "lifelines.npz") as stored:
        return dict(stored)


@pytest.mark.parametrize(
    "case", ["plain", "tied_risk", "tied_times", "all_tied", "uncensored", "rare_events"]
)
def test_concordance_is_that_of_lifelines(lifelines, case):
    time, event, risk = (lifelines[f"{case}/{what}"] for what in ("time", "event", "risk"))
    expected = float(lifelines[f"{case}/concordance"])
    assert concordance(time, event, risk) == pytest.approx(expected, rel=0, abs=1e-9)


@pytest.mark.parametrize("name", SETS)
def test_metrics_are_those_of_scikit_survival(name):
    time, event, risk = survival_set(name)
    assert min(len(np.unique(time)), len(np.unique(risk))) < len(time)
    expected = concordance_index_censored(event, time, risk)[0]
    np.testing.assert_allclose(concordance(time, event, risk), expected, **TIGHT)
    np.testing.assert_allclose(concordance(time, event, -risk), 1 - expected, **TIGHT)
    outcome = outcome_of(time, event)
    for share in (0.2, 0.5, 0.8):
        horizon = float(np.quantile(time[event], share, method="nearest"))
        ((expected,), _) = cumulative_dynamic_auc(outcome, outcome, risk, [horizon])
        found = time_dependent_auroc(time, event, risk, horizon)
        np.testing.assert_allclose(found, expected, **TIGHT)


def test_the_weights_of_the_censored_matter():
    time, event, risk = survival_set("gbsg2")
    horizon = float(np.quantile(time[event], 0.8))
    cases, controls = event & (time <= horizon), time > horizon
    above = risk[cases][:, None] > risk[controls][None, :]
    tied = risk[cases][:, None] == risk[controls][None, :]
    unweighted = (above + 0.5 * tied).mean()
    assert abs(time_dependent_auroc(time, event, risk, horizon) - unweighted) > 1e-3


@pytest.mark.parametrize("seed", range(20))
def test_small_sets_with_many_ties(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 40))
    time, event = rng.integers(0, 6, n).astype(float), rng.random(n) < 0.6
    risk = rng.integers(0, 4, n).astype(float)
    pairs = [
        1.0 if risk[i] > risk[j] else 0.5 if risk[i] == risk[j] else 0.0
        for i in range(n)
        for j in range(n)
        if event[i] and (time[i] < time[j] or (time[i] == time[j] and not event[j]))
    ]
    found = concordance(time, event, risk)
    if not pairs:
        assert found == NotDefined(f"no comparable pair, n={n} with {event.sum()} events")
    else:
        np.testing.assert_allclose(found, np.mean(pairs), **TIGHT)


def test_weights_are_copies():
    time, event, risk = (a[:120] for a in survival_set("veterans"))
    weights = np.random.default_rng(0).poisson(1.0, (6, 120)).astype(float)
    weights[4] *= event == 0
    weights[5] *= time < 100
    found = (
        concordance_of_weights(time, event, risk)(weights),
        auroc_of_weights_at(time, event, risk, 100.0)(weights),
    )
    for row, *values in zip(weights.astype(int), *found, strict=True):
        i = np.repeat(np.arange(120), row)
        expected = (
            concordance(time[i], event[i], risk[i]),
            time_dependent_auroc(time[i], event[i], risk[i], 100.0),
        )
        expected = [np.nan if isinstance(v, NotDefined) else v for v in expected]
        np.testing.assert_allclose(values, expected, **TIGHT)
    assert np.isnan(found[0][4]) and np.isnan(found[1][4:]).all()


@pytest.mark.filterwarnings("error")
def test_what_has_no_value_says_why():
    time, event, risk = np.array([1.0, 2, 3]), np.array([1, 0, 1]), np.array([3.0, 2, 1])
    assert time_dependent_auroc(time, event, risk, 0.5).reason == (
        "no event up to 0.5, n=3 with 2 events"
    )
    assert time_dependent_auroc(time, event, risk, 3).reason == (
        "nobody followed beyond 3, n=3 with 2 events"
    )
    assert concordance(time, 0 * event, risk).reason == "no comparable pair, n=3 with 0 events"
    assert concordance(np.ones(3), np.ones(3), risk).reason.startswith("no comparable pair")
    nobody = np.zeros(0)
    assert concordance(nobody, nobody, nobody).reason == "no known labels"
    assert time_dependent_auroc(nobody, nobody, nobody, 1).reason == "no known labels"


def test_kaplan_meier_is_that_of_scikit_survival():
    time, event, _ = survival_set("gbsg2")
    for found, expected in zip(
        kaplan_meier(time, event), kaplan_meier_estimator(event, time), strict=True
    ):
        np.testing.assert_allclose(found, expected, **TIGHT)


def draw_table(seed=0, n=150, horizon=2.0):
    """Two cases of most patients; one whose time nobody knows."""
    rng = np.random.default_rng(seed)
    patient = rng.integers(90, size=n)
    hazard = rng.normal(size=90)
    event_time, censored = rng.exponential(3 * np.exp(-hazard)), rng.uniform(0.5, 6, 90)
    y = np.stack([np.minimum(event_time, censored), event_time <= censored], axis=1)[patient]
    y[7] = np.nan
    risk = np.round(hazard[patient] + rng.normal(size=n), 1) - 3
    names = [f"case{i}" for i in range(n)]
    return predictions_table(
        "survival", ("risk",), names, risk[:, None], y, groups=patient.astype(str), horizon=horizon
    )


@pytest.fixture
def predictions():
    return Predictions.from_table(draw_table())


def test_a_table_is_written_and_read_with_the_same_bits(tmp_path):
    table = draw_table()
    write_predictions(tmp_path / "p.csv", table)
    header = (tmp_path / "p.csv").read_text().partition("\n")[0]
    assert header == "image,group,site,split,time,event,horizon,risk"
    again = read_predictions(tmp_path / "p.csv")
    assert unlabelled(again).sum() == 1
    a, b = Predictions.from_table(table), Predictions.from_table(again)
    assert (b.kind, b.classes, b.horizon, len(b.images)) == ("survival", ("risk",), 2.0, 149)
    np.testing.assert_array_equal(a.y, b.y)
    np.testing.assert_array_equal(a.p, b.p)
    assert a.p.min() < 0


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a,a,,,1,1,5,nan", "'risk' is blank or NaN"),
        ("a,a,,,1,1,5,inf", "'risk' is inf"),
        ("a,a,,,-1,1,5,0.1", "'time' is -1"),
        ("a,a,,,inf,1,5,0.1", "'time' is inf"),
        ("a,a,,,,1,5,0.1", "'time' is nan and 'event' is '1'"),
        ("a,a,,,1,,5,0.1", "'time' is 1.0 and 'event' is 'blank'"),
        ("a,a,,,1,2,5,0.1", "'event' is '2'"),
        ("a,a,,,1,1,0,0.1", "'horizon' is 0"),
        ("a,a,,,1,1,4,0.1\nb,b,,,1,1,5,0.1", "'horizon' is 5, and 4 in the first row"),
        ("a,a,,,late,1,5,0.1", "'time' is 'late', not a number"),
    ],
)
def test_rows_that_cannot_be(tmp_path, row, said):
    path = tmp_path / "p.csv"
    path.write_text(f"image,group,site,split,time,event,horizon,risk\n{row}\n")
    with pytest.raises(UserError, match="line [23]: ") as error:
        read_predictions(path)
    assert said in str(error.value)


def test_a_column_that_is_missing_is_named(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("image,group,site,split,time,event,risk\na,a,,,1,1,0\n")
    with pytest.raises(UserError, match="no column 'horizon'"):
        read_predictions(path)


def test_further_columns_of_these_names_make_no_survival(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("image,group,site,split,label,p_a,p_b,risk,time,event\na,a,,,a,0.5,0.5,x,y,z\n")
    assert Predictions.from_table(read_predictions(path)).kind == "softmax"


def test_score_and_bootstrap_by_case_and_by_patient(predictions):
    (time, event), risk = predictions.y.T, predictions.p[:, 0]
    values = score(predictions)
    assert list(values) == list(metrics_of("survival")) == ["auroc", "concordance"]
    assert values["concordance"] == concordance_index_censored(event == 1, time, risk)[0]
    by_patient = aggregate(predictions)
    assert score(predictions, "group") == score(by_patient)
    groups, index = np.unique(predictions.groups, return_inverse=True)
    counts = np.random.default_rng(1).poisson(1.0, (5, len(groups))).astype(float)
    for metric in values:
        found = resampler(predictions, metric)(counts)
        copied = [
            value_of(predictions.select(np.repeat(np.arange(len(index)), row[index])), metric)
            for row in counts.astype(int)
        ]
        np.testing.assert_allclose(found, copied, **TIGHT)
    interval = bootstrap(predictions, values, 200)["concordance"]
    assert interval.low < interval.value < interval.high
    noise = dataclasses.replace(predictions, p=predictions.p[::-1].copy())
    assert paired_difference(predictions, noise, "concordance", 200).low > 0
    other = dataclasses.replace(predictions, horizon=3.0)
    with pytest.raises(UserError, match="horizons 2 and 3"):
        paired_difference(predictions, other, "auroc", 10)


def test_two_thousand_resamples_of_five_hundred_cases_are_seconds(predictions):
    import time as clock

    time, event, risk = survival_set("whas500")
    table = predictions_table(
        "survival", ("risk",), [str(i) for i in range(500)], risk[:, None],
        np.stack([time, event], 1), horizon=1000,
    )  # fmt: skip
    start = clock.perf_counter()
    found = bootstrap(Predictions.from_table(table), metrics_of("survival"), 2000)
    assert clock.perf_counter() - start < 30
    assert all(interval.resamples == 2000 for interval in found.values())


@pytest.mark.parametrize(("how", "best"), [("mean", -2.0), ("max", -1.0)])
def test_a_patient_has_one_risk_and_one_time(how, best):
    table = predictions_table(
        "survival", ("risk",), list("abcd"), np.array([[-1.0], [-3.0], [-5.0], [-6.0]]),
        np.array([[1.0, 1], [1, 1], [2, 0], [2, 1]]), groups=list("xxyy"), horizon=1.0,
    )  # fmt: skip
    predictions = Predictions.from_table(table)
    assert disagreeing(predictions).tolist() == ["y"]
    merged = aggregate(predictions, how)
    assert merged.images.tolist() == ["x"]
    assert merged.y.tolist() == [[1, 1]] and merged.p.tolist() == [[best]]
    with pytest.raises(UserError, match="1 patients have images with different times or events: y"):
        aggregate(predictions, how, strict=True)
    with pytest.raises(UserError, match="noisy-or puts probabilities together"):
        aggregate(predictions, "noisy-or")


def test_metrics_of_another_kind_are_refused(predictions, draw):
    with pytest.raises(UserError, match="'accuracy' is no metric of survival"):
        value_of(predictions, "accuracy")
    with pytest.raises(UserError, match="'auprc' is no metric of survival"):
        bootstrap(predictions, ["auprc"], 10)
    with pytest.raises(UserError, match="'concordance' is no metric of softmax"):
        value_of(draw("softmax", 2), "concordance")


def test_top3_accuracy_is_of_more_than_three_classes(draw):
    four = draw("softmax", 4)
    four = dataclasses.replace(four, y=four.y[::-1].copy())
    p = np.round(four.p, 1)
    p = np.where(p.sum(axis=1, keepdims=True) > 0, p, four.p)  # ties
    four = dataclasses.replace(four, p=p)
    expected = top_k_accuracy_score(four.y, p, k=3, labels=range(4))
    assert score(four)["top3_accuracy"] == expected < 1
    ones = np.ones((1, len(np.unique(four.groups))))
    np.testing.assert_allclose(resampler(four, "top3_accuracy")(ones), expected, **TIGHT)
    for other in (draw("softmax", 2), draw("softmax", 3), draw("sigmoid", 4)):
        assert "top3_accuracy" not in score(other)
        assert value_of(other, "top3_accuracy").reason.startswith("needs more than 3 classes")
        counts = np.ones((2, len(np.unique(other.groups))))
        assert np.isnan(resampler(other, "top3_accuracy")(counts)).all()


SURVIVAL = LabelSpec("survival", ("risk",), ("days", "died"))
BINARY = LabelSpec("softmax", ("no", "yes"), ("label",))
FINDINGS = LabelSpec("sigmoid", ("a", "b"), ("a", "b"))
NAN = float("nan")


@pytest.mark.parametrize(
    ("spec", "labels", "said"),
    [
        (BINARY, [1, 1, -1], "only positives, n=2 (images: 'no' 0, 'yes' 2; 1 of 3 images"),
        (BINARY, [-1, -1, -1], "no known labels"),
        (FINDINGS, [[1, NAN], [1, 0], [NAN, 0]], "'a' 2+/0-, 'b' 0+/2-; 0 of 3 images"),
        (FINDINGS, [[NAN, NAN], [1, 0]], "1 of 2 images without a label"),
        (SURVIVAL, [[9, 1], [3, 0], [8, 1]], "no event up to 5, n=3 with 2 events"),
        (SURVIVAL, [[1, 1], [3, 0], [5, 1]], "nobody followed beyond 5"),
        (SURVIVAL, [[1, 1], [3, 0], [5, 1]], "2 of them up to 5; 0 followed beyond it, the last"),
        (SURVIVAL, [[NAN, NAN]], "1 of 1 images without a label"),
    ],
)
def test_labels_that_cannot_be_scored_are_refused_before(spec, labels, said):
    labels = np.array(labels, np.int32 if spec.kind == "softmax" else np.float32)
    with pytest.raises(UserError) as error:
        require_scorable(labels, spec, "the validation rows", horizon=5.0)
    assert error.value.problem.startswith("the validation rows: auroc cannot be computed")
    assert said in error.value.problem and error.value.remedy


def test_labels_that_can_be_scored_pass_by_image_and_not_by_patient():
    labels = np.array([1, 0, 1], np.int32)
    require_scorable(labels, BINARY, "rows")
    require_scorable(labels, BINARY, "rows", groups=["x", "y", "x"])
    require_scorable(np.array([1, 1], np.int32), BINARY, "rows", metric="accuracy")
    with pytest.raises(UserError, match="only positives, n=2 .patients: 'no' 0, 'yes' 2"):
        require_scorable(labels, BINARY, "rows", groups=["x", "x", "y"])
    alive = np.array([[9, 0], [2, 1], [9, 1]], np.float32)
    require_scorable(alive, SURVIVAL, "rows", horizon=5.0)
    require_scorable(alive, SURVIVAL, "rows", metric="concordance")
    with pytest.raises(UserError, match="1 patients whose images do not agree"):
        require_scorable(alive, SURVIVAL, "rows", horizon=5.0, groups=["x", "x", "y"])
