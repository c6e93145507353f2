"""RELIC and MoCo v3, which no library tests, against their formulas in float64 with scipy."""

import itertools

import jax
import numpy as np
import pytest
from scipy.special import log_softmax, rel_entr

from remedis_jax.objectives.moco_v3 import moco_v3_loss
from remedis_jax.objectives.relic import KL_DIRECTIONS, KL_STOP_GRADIENTS, relic_loss
from remedis_jax.training.sharding import batch_sharding, make_mesh
from tests.golden.make_objectives_golden import four_embeddings

TEMPERATURE = 0.2


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def log_p(rows, columns):
    return log_softmax(unit(rows) @ unit(columns).T / TEMPERATURE, axis=1)


def relic(x, fixed, alpha, direction, stop_gradient):
    """The loss at x = (o1, o2, t1, t2); what is a constant is taken from `fixed` = x."""
    p12, p21 = log_p(x[0], x[3]), log_p(x[1], x[2])
    const12, const21 = log_p(fixed[0], fixed[3]), log_p(fixed[1], fixed[2])

    def kl(p, q, const_p, const_q):
        p = const_p if stop_gradient == "first" else p
        q = const_q if stop_gradient == "second" else q
        return rel_entr(np.exp(p), np.exp(q)).sum(axis=1).mean()

    forward = kl(p12, p21, const12, const21)
    reverse = kl(p21, p12, const21, const12)
    penalty = {"forward": forward, "reverse": reverse, "symmetric": (forward + reverse) / 2}
    return -np.diag(p12).mean() - np.diag(p21).mean() + alpha * penalty[direction]


def moco_v3(x, fixed):
    """The loss at x = (q1, q2, k1, k2)."""
    forward = -np.diag(log_p(x[0], x[3])).mean()
    backward = -np.diag(log_p(x[1], x[2])).mean()
    return 2 * TEMPERATURE * (forward + backward)


def gradients(loss, x, which, step=1e-5):
    """Central differences in float64, of the inputs in `which`."""
    x = [array.astype(np.float64) for array in x]
    found = []
    for index in which:
        gradient = np.zeros_like(x[index])
        for place in np.ndindex(*gradient.shape):
            moved = [[array.copy() for array in x] for _ in range(2)]
            moved[0][index][place] += step
            moved[1][index][place] -= step
            gradient[place] = (loss(moved[0], x) - loss(moved[1], x)) / (2 * step)
        found.append(gradient)
    return found


def ours(loss, arrays, which, devices):
    mesh = make_mesh(devices)
    split = batch_sharding(mesh)
    compiled = jax.jit(
        jax.value_and_grad(lambda *z: loss(mesh, *z)[0], argnums=(0, 1, 2, 3)), in_shardings=split
    )
    value, found = compiled(*jax.device_put(arrays, split))
    for index in {0, 1, 2, 3} - set(which):
        assert not np.asarray(found[index]).any(), "a constant has a gradient"
    return value, [found[index] for index in which]


def assert_close(got, want):
    np.testing.assert_allclose(got[0], want[0], rtol=1e-6)
    for mine, other in zip(got[1], want[1], strict=True):
        assert np.linalg.norm(mine - other) < 1e-6 * np.linalg.norm(other)
        assert abs(np.linalg.norm(mine) / np.linalg.norm(other) - 1) < 1e-5


CASES = [
    (direction, stop, 1.0, 8)
    for direction, stop in itertools.product(KL_DIRECTIONS, KL_STOP_GRADIENTS)
]
# No penalty; another weight on other numbers of devices.
CASES += [("symmetric", "second", 0.0, 1), ("symmetric", "second", 2.5, 2)]


@pytest.mark.parametrize(("direction", "stop", "alpha", "devices"), CASES)
@pytest.mark.parametrize("target_gradient", [False, True])
def test_relic_is_its_formula(direction, stop, alpha, devices, target_gradient):
    arrays = four_embeddings(8, 5)
    which = (0, 1, 2, 3) if target_gradient else (0, 1)

    def loss(mesh, *z):
        return relic_loss(
            *z, temperature=TEMPERATURE, alpha=alpha, kl_direction=direction,
            kl_stop_gradient=stop, target_gradient=target_gradient, mesh=mesh,
        )  # fmt: skip

    def formula(x, fixed):
        return relic(x, fixed, alpha, direction, stop)

    exact = [array.astype(np.float64) for array in arrays]
    want = (formula(exact, exact), gradients(formula, arrays, which))
    assert_close(ours(loss, arrays, which, devices), want)


@pytest.mark.parametrize("devices", [1, 2, 8])
@pytest.mark.parametrize("shape", [(8, 5), (24, 3)])
@pytest.mark.parametrize("mib", [64, 2**-12], ids=["dense", "blockwise"])
def test_moco_v3_is_its_formula(shape, devices, mib):
    arrays = four_embeddings(*shape)

    def loss(mesh, *z):
        return moco_v3_loss(*z, temperature=TEMPERATURE, mesh=mesh, max_logits_mib=mib)

    exact = [array.astype(np.float64) for array in arrays]
    want = (moco_v3(exact, exact), gradients(moco_v3, arrays, (0, 1)))
    assert_close(ours(loss, arrays, (0, 1), devices), want)


def test_relic_metrics_of_views_that_agree():
    """Equal views: no invariance to enforce, and every example finds itself."""
    z = np.eye(8, 16, dtype=np.float32)
    _, metrics = relic_loss(z, z, z, z, temperature=0.05, alpha=1.0, mesh=make_mesh(8))
    assert float(metrics["invariance"]) == pytest.approx(0, abs=1e-6)
    assert float(metrics["contrastive_accuracy"]) == 1
    # Every one of the 8 candidates equally likely: the loss of chance.
    loss, metrics = relic_loss(*[z * 0 + 1] * 4, temperature=0.05, alpha=1.0, mesh=make_mesh(8))
    assert float(loss) == pytest.approx(2 * np.log(8), rel=1e-6)
    assert float(metrics["contrastive_accuracy"]) == pytest.approx(1 / 8)
