"""Survival losses against scikit-survival, scikit-learn and finite differences."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss
from sksurv.datasets import load_gbsg2, load_veterans_lung_cancer, load_whas500
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.linear_model.coxph import CoxPHOptimizer
from sksurv.nonparametric import kaplan_meier_estimator

from remedis_jax.errors import UserError
from remedis_jax.objectives.survival import (
    cox_partial_likelihood,
    discrete_time_likelihood,
    risk_at,
    survival_curve,
)
from remedis_jax.training.sharding import batch_sharding, make_mesh

TIES = ("efron", "breslow")
SETS = {
    "veterans": load_veterans_lung_cancer,
    "whas500": load_whas500,
    "gbsg2": load_gbsg2,
}


@functools.cache
def survival_set(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Standardised features, times (with ties) and events."""
    table, outcome = SETS[name]()
    event, time = (outcome[field] for field in outcome.dtype.names)
    features = pd.get_dummies(table, drop_first=True).to_numpy(float)
    assert len(np.unique(time[event])) < event.sum()
    return (features - features.mean(0)) / features.std(0), time.astype(float), event


@functools.partial(jax.jit, static_argnames="ties")
def cox_value_and_gradient(log_hazard, time, event, ties="efron", strata=None, valid=None):
    return jax.value_and_grad(cox_partial_likelihood)(
        log_hazard, time, event, ties=ties, strata=strata, valid=valid
    )


def sksurv_cox(features, time, event, ties, weights):
    """Value and gradient for the weights, divided by the events in place of the examples."""
    optimizer = CoxPHOptimizer(features, event, time, np.zeros(features.shape[1]), ties)
    optimizer.update(weights)
    scale = len(time) / event.sum()
    return optimizer.nlog_likelihood(weights) * scale, optimizer.gradient * scale


@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("name", SETS)
def test_cox_agrees_with_scikit_survival(name, ties):
    features, time, event = survival_set(name)
    weights = np.random.default_rng(0).normal(size=features.shape[1]) * 0.5
    fitted = CoxPHSurvivalAnalysis(ties=ties).fit(
        features, np.array(list(zip(event, time, strict=True)), [("e", bool), ("t", float)])
    )
    for w in (weights, fitted.coef_):
        value, gradient = cox_value_and_gradient(
            (features @ w).astype(np.float32), time, event, ties=ties
        )
        expected, expected_gradient = sksurv_cox(features, time, event, ties, w)
        np.testing.assert_allclose(value, expected, rtol=1e-5)
        np.testing.assert_allclose(features.T @ gradient, expected_gradient, atol=1e-5)
    np.testing.assert_allclose(features.T @ gradient, 0, atol=1e-5)


def test_efron_and_breslow_differ_only_by_ties():
    features, time, event = survival_set("whas500")
    h = features[:, 0].astype(np.float32)
    efron, breslow = (cox_value_and_gradient(h, time, event, ties=t)[0] for t in TIES)
    assert abs(float(efron - breslow)) > 1e-3
    distinct = np.arange(len(time)).astype(float)
    efron, breslow = (cox_value_and_gradient(h, distinct, event, ties=t)[0] for t in TIES)
    np.testing.assert_allclose(efron, breslow, rtol=1e-6)


def reference(h, time, event, ties, strata):
    """The formula as it is written, in float64, one event after the other."""
    total, events = 0.0, 0
    for stratum in set(strata):
        mine = strata == stratum
        for t in set(time[mine & event]):
            tied = mine & event & (time == t)
            risk = np.exp(h[mine & (time >= t)]).sum()
            for place in range(tied.sum()):
                share = place / tied.sum() if ties == "efron" else 0.0
                total += np.log(risk - share * np.exp(h[tied]).sum())
            total -= h[tied].sum()
            events += tied.sum()
    return total / max(events, 1)


@pytest.mark.parametrize("ties", TIES)
def test_cox_with_strata_filled_rows_and_finite_differences(ties):
    rng = np.random.default_rng(1)
    h, time = rng.normal(size=20), rng.integers(1, 5, 20).astype(float)
    event, strata = rng.random(20) < 0.6, rng.integers(0, 3, 20)
    filler = np.full(4, np.nan)
    value, gradient = cox_value_and_gradient(
        np.r_[h, filler].astype(np.float32), np.r_[time, filler], np.r_[event, np.ones(4, bool)],
        ties=ties, strata=np.r_[strata, np.zeros(4, int)], valid=np.arange(24) < 20,
    )  # fmt: skip
    np.testing.assert_allclose(value, reference(h, time, event, ties, strata), rtol=1e-5)
    step = 1e-5 * np.eye(20)
    differences = [
        (reference(h + s, time, event, ties, strata) - reference(h - s, time, event, ties, strata))
        / 2e-5
        for s in step
    ]
    np.testing.assert_allclose(gradient[:20], differences, atol=1e-5)
    assert (gradient[20:] == 0).all()


@pytest.mark.parametrize("ties", TIES)
def test_cox_at_its_edges_is_never_nan(ties):
    h = np.array([100.0, -100.0, 100.0, -100.0, 3.0, 0.0], np.float32)
    time = np.array([1.0, 2, 2, 3, 2, 1])
    some = np.array([1, 1, 1, 0, 1, 0], bool)
    cases = {
        "extreme": (h, time, some),
        "all tied": (h, np.ones(6), np.ones(6, bool)),
        "no event": (h, time, np.zeros(6, bool)),
        "one event, last of all": (h, time, np.array([0, 0, 0, 1, 0, 0], bool)),
    }
    found = {k: cox_value_and_gradient(*v, ties=ties) for k, v in cases.items()}
    for value, gradient in found.values():
        assert np.isfinite(value) and np.isfinite(gradient).all()
    np.testing.assert_allclose(
        found["extreme"][0], reference(h.astype(float), time, some, ties, np.zeros(6)), rtol=1e-5
    )
    for name in ("no event", "one event, last of all"):
        value, gradient = found[name]
        assert value == 0 and (gradient == 0).all()
    one = cox_partial_likelihood(jnp.array([2.0]), jnp.array([1.0]), jnp.array([1.0]))
    assert float(one) == 0


def test_cox_of_batches_is_that_of_each():
    features, time, event = survival_set("veterans")
    h = (features[:120] @ np.linspace(-1, 1, features.shape[1])).astype(np.float32)
    batches = [a.reshape(3, 40) for a in (h, time[:120], event[:120])]
    found = jax.jit(jax.vmap(cox_partial_likelihood))(*batches)
    alone = [reference(*(a[i].astype(float) for a in batches[:2]), batches[2][i], "efron",
                       np.zeros(40)) for i in range(3)]  # fmt: skip
    np.testing.assert_allclose(found, alone, rtol=1e-5)


def test_an_unknown_rule_for_ties_is_refused():
    with pytest.raises(ValueError, match="exact"):
        cox_partial_likelihood(jnp.zeros(2), jnp.ones(2), jnp.ones(2), ties="exact")


@pytest.mark.parametrize("devices", [1, 8])
def test_devices_do_not_change_the_losses(devices):
    features, time, event = survival_set("veterans")
    h, time, event = features[:128, 0].astype(np.float32), time[:128], event[:128]
    logits = features[:128, :3].astype(np.float32)
    edges = (30.0, 100.0, 400.0)

    def losses(h, logits, time, event):
        cox = cox_partial_likelihood(h, time, event)
        return cox + 10 * discrete_time_likelihood(logits, time, event, edges)

    expected = jax.jit(jax.value_and_grad(losses, (0, 1)))(h, logits, time, event)
    arrays = jax.device_put((h, logits, time, event), batch_sharding(make_mesh(devices)))
    found = jax.jit(jax.value_and_grad(losses, (0, 1)))(*arrays)
    for got, want in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-7)


def person_periods(time, event, edges):
    """One row for every example and interval it says something of: (example, interval, died)."""
    rows = []
    for i, (t, e) in enumerate(zip(time, event, strict=True)):
        for k, (start, end) in enumerate(itertools.pairwise([-np.inf, *edges])):
            if e and start < t <= end:
                rows.append((i, k, 1))
            elif (e and end < t) or (not e and end <= t):
                rows.append((i, k, 0))
    return np.array(rows)


@pytest.mark.parametrize("name", SETS)
def test_discrete_time_agrees_with_the_person_period_table(name):
    _, time, event = survival_set(name)
    # Edges on which events and censored times lie.
    later = np.sort(time[time > time[~event].min()])
    picks = [later[0], *np.quantile(time[~event], [0.4, 0.8], method="nearest")]
    edges = tuple(np.unique(np.r_[picks, np.quantile(time[event], [0.7, 0.9], method="nearest")]))
    assert np.isin(time[event], edges).any() and np.isin(time[~event], edges).any()
    logits = np.random.default_rng(0).normal(size=(len(time), len(edges))).astype(np.float32) * 3
    rows = person_periods(time, event, edges)
    p = 1 / (1 + np.exp(-logits.astype(float)))[rows[:, 0], rows[:, 1]]
    total = log_loss(rows[:, 2], p, labels=[0, 1], normalize=False)
    said = len(set(rows[:, 0]))
    assert said < len(time)
    value, gradient = jax.jit(
        lambda z, t, e: jax.value_and_grad(discrete_time_likelihood)(z, t, e, edges)
    )(logits, time, event)
    np.testing.assert_allclose(value, total / said, rtol=1e-5)
    expected = np.zeros(logits.shape)
    expected[rows[:, 0], rows[:, 1]] = (p - rows[:, 2]) / said
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_kaplan_meier_is_where_discrete_time_is_stationary():
    _, time, event = survival_set("veterans")
    edges, curve = kaplan_meier_estimator(event, time)
    # Where nobody dies, or everybody left does, the logit of the hazard is infinite.
    hazards = 1 - curve / np.r_[1.0, curve[:-1]]
    inside = (hazards > 1e-12) & (hazards < 1 - 1e-12)
    edges, curve, hazards = edges[inside], curve[inside], hazards[inside]
    alive = np.ones((len(time), 1), np.float32)

    def loss(z):
        return discrete_time_likelihood(alive * z[None, :], time, event, tuple(edges))

    logits = np.log(hazards / (1 - hazards)).astype(np.float32)
    gradient = jax.jit(jax.grad(loss))
    np.testing.assert_allclose(gradient(logits), 0, atol=1e-6)
    assert np.abs(gradient(logits + 0.1)).max() > 1e-4
    np.testing.assert_allclose(survival_curve(logits[None])[0], curve, rtol=1e-5)


def test_discrete_time_by_finite_differences():
    rng = np.random.default_rng(2)
    logits, time, event = rng.normal(size=(12, 3)), rng.random(12) * 4, rng.random(12) < 0.5
    rows = person_periods(time, event, (1, 2, 3))

    def reference_loss(z):
        z = z[rows[:, 0], rows[:, 1]]
        losses = np.logaddexp(0, np.where(rows[:, 2] == 1, -z, z))
        return losses.sum() / len(set(rows[:, 0]))

    differences = np.zeros((12, 3))
    for place in np.ndindex(12, 3):
        step = np.zeros((12, 3))
        step[place] = 1e-5
        differences[place] = (reference_loss(logits + step) - reference_loss(logits - step)) / 2e-5
    gradient = jax.jit(jax.grad(lambda z: discrete_time_likelihood(z, time, event, (1, 2, 3))))
    np.testing.assert_allclose(gradient(logits.astype(np.float32)), differences, atol=1e-6)


def test_discrete_time_at_its_edges():
    logits = np.array([[100.0, -100.0], [-100.0, 100.0], [0.0, 0.0], [np.nan, np.nan]], np.float32)
    value_and_gradient = jax.jit(
        lambda t, e, v: jax.value_and_grad(discrete_time_likelihood)(logits, t, e, (1, 2), valid=v)
    )
    everybody = np.array([True, True, True, False])
    value, gradient = value_and_gradient(
        np.array([1.5, 9.0, 0.0, np.nan]), np.array([1.0, 1, 1, 1]), everybody
    )
    # Died in the second interval against both logits; survived one; died at once.
    np.testing.assert_allclose(value, (200 + 100 + np.log(2)) / 3, rtol=1e-6)
    assert np.isfinite(gradient).all() and (gradient[3] == 0).all()
    value, gradient = value_and_gradient(np.full(4, 0.5), np.zeros(4), everybody)
    assert value == 0 and (gradient == 0).all()


def test_risk_at_the_horizon():
    logits = np.array([[0.0, 0.0, 3.0], [-30.0, -30.0, 0.0]], np.float32)
    risk = risk_at(logits, (1, 2, 5), 2)
    np.testing.assert_allclose(risk, [0.75, 2 * np.exp(-30.0)], rtol=1e-6)
    np.testing.assert_allclose(risk[:1], 1 - survival_curve(logits)[:1, 1], rtol=1e-6)


@pytest.mark.parametrize(
    ("edges", "horizon", "said"),
    [
        ((1, 2, 5), 3, "no end of objective.intervals"),
        ((), 1, "one or more times"),
        ((2, 1), 1, "ascending"),
        ((0, 1), 1, "above 0"),
        ((1, float("nan")), 1, "above 0"),
        ((1, float("inf")), 1, "above 0"),
    ],
)
def test_intervals_that_cannot_be(edges, horizon, said):
    with pytest.raises(UserError, match=said):
        risk_at(jnp.zeros((1, len(edges))), edges, horizon)


def test_as_many_logits_as_intervals():
    with pytest.raises(ValueError, match="3 logits for 2"):
        discrete_time_likelihood(jnp.zeros((1, 3)), jnp.ones(1), jnp.ones(1), (1, 2))
