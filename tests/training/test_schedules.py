"""Learning rates by hand at the first step, at every boundary and at the end; durations."""

import numpy as np
import pytest

from remedis_jax.errors import UserError
from remedis_jax.training.durations import to_steps
from remedis_jax.training.schedules import (
    bit_hyperrule_steps,
    bit_steps,
    scaled_learning_rate,
    warmup_constant,
    warmup_cosine,
)


def test_warmup_cosine_by_hand():
    rate = warmup_cosine(2.0, 10, 110)
    got = [float(rate(step)) for step in (0, 5, 9, 10, 60, 110)]
    np.testing.assert_allclose(got, [0.0, 1.0, 1.8, 2.0, 1.0, 0.0], atol=1e-6)


def test_without_warmup_the_first_rate_is_the_peak():
    assert float(warmup_cosine(2.0, 0, 100)(0)) == 2.0
    assert float(warmup_constant(2.0, 0)(0)) == 2.0
    assert float(warmup_constant(2.0, 4)(1)) == 0.5


def test_bit_schedule_drops_one_step_after_each_boundary():
    *boundaries, total = bit_hyperrule_steps(10_000)
    assert (boundaries, total) == ([100, 200, 300, 400], 500)
    rate = bit_steps(0.003, tuple(boundaries))
    got = [float(rate(step)) for step in (0, 50, 100, 200, 201, 300, 301, 400, 401)]
    want = np.array([0, 0.5, 1, 1, 0.1, 0.1, 0.01, 0.01, 0.001]) * 0.003
    np.testing.assert_allclose(got, want, rtol=1e-5)


@pytest.mark.parametrize(
    ("examples", "total"),
    [(1, 500), (19_999, 500), (20_000, 10_000), (499_999, 10_000), (500_000, 20_000)],
)
def test_hyperrule_sizes(examples, total):
    assert bit_hyperrule_steps(examples)[-1] == total


def test_scaling_rules():
    assert scaled_learning_rate(0.3, "linear", 4096) == pytest.approx(4.8)
    assert scaled_learning_rate(0.075, "sqrt", 4096) == pytest.approx(4.8)
    assert scaled_learning_rate(0.3, "none", 4096) == 0.3
    with pytest.raises(UserError, match="cubic"):
        scaled_learning_rate(0.3, "cubic", 4096)


@pytest.mark.parametrize(
    ("config", "steps"),
    [
        ({"total_steps": 7}, 7),
        ({"total_epochs": 2}, 20),
        ({"total_epochs": 0.01}, 1),
        ({"total_examples": 250}, 2),
        ({"total_steps": None, "total_epochs": 1}, 10),
    ],
)
def test_durations(config, steps):
    assert to_steps(config, "total", batch_size=100, num_examples=1000) == steps


def test_percent_is_of_the_total():
    sizes = {"batch_size": 10, "num_examples": 100, "total_steps": 200}
    assert to_steps({"warmup_percent": 5}, "warmup", **sizes) == 10
    assert to_steps({}, "warmup", default=3, **sizes) == 3


@pytest.mark.parametrize(
    "config",
    [{}, {"total_steps": 1, "total_epochs": 1}, {"total_steps": -1}, {"total_percent": 5}],
)
def test_wrong_durations_are_refused(config):
    with pytest.raises(UserError, match="total_"):
        to_steps(config, "total", batch_size=10, num_examples=100)
