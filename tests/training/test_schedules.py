"""Learning rates by hand at the first step, at every boundary and at the end; durations."""

import numpy as np
import pytest

from remedis_jax.errors import UserError
from remedis_jax.training.build import make_plan
from remedis_jax.training.config import load_config
from remedis_jax.training.durations import to_steps
from remedis_jax.training.schedules import (
    bit_hyperrule_mixup,
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


# big_transfer's bit_hyperrule.get_schedule, by the size of the training set: examples that it
# holds for (first, last), then end of warm-up, three drops, end.
HYPERRULE_TABLE = [
    ((1, 19_999), (100, 200, 300, 400, 500)),
    ((20_000, 499_999), (500, 3_000, 6_000, 9_000, 10_000)),
    ((500_000, 10**9), (500, 6_000, 12_000, 18_000, 20_000)),
]


def official_rate(step, base, supports):
    """get_lr as its code reads: a support counts as passed where it is smaller than the step."""
    if step < supports[0]:
        return base * step / supports[0]
    for support in supports[1:-1]:
        if support < step:
            base /= 10
    return base


@pytest.mark.parametrize("examples, supports", HYPERRULE_TABLE)
def test_hyperrule_at_every_boundary_is_that_of_big_transfer(examples, supports):
    for size in examples:
        assert bit_hyperrule_steps(size) == supports
    warmup, *drops, end = supports
    rate = bit_steps(0.003, supports[:-1])
    around = [s + offset for s in (0, *supports) for offset in (-1, 0, 1) if 0 <= s + offset < end]
    got = np.array([float(rate(step)) for step in around])
    np.testing.assert_allclose(got, [official_rate(s, 0.003, supports) for s in around], rtol=1e-5)
    # By hand: nothing at first, all of it where the warm-up ends, and each drop one step late.
    assert float(rate(0)) == 0.0
    assert float(rate(warmup - 1)) == pytest.approx(0.003 * (warmup - 1) / warmup)
    assert float(rate(warmup)) == pytest.approx(0.003)
    for passed, drop in enumerate(drops):
        assert float(rate(drop)) == pytest.approx(0.003 * 10**-passed)
        assert float(rate(drop + 1)) == pytest.approx(0.003 * 10 ** -(passed + 1))
    assert float(rate(end - 1)) == pytest.approx(3e-6)


@pytest.mark.parametrize(
    ("examples", "alpha"), [(1, 0.0), (19_999, 0.0), (20_000, 0.1), (500_000, 0.1)]
)
def test_hyperrule_mixes_from_twenty_thousand_examples_on(examples, alpha):
    assert bit_hyperrule_mixup(examples) == alpha


def test_a_plan_follows_the_hyperrule_unless_the_config_says_otherwise():
    def plan(*overrides, examples=20_000):
        return make_plan(load_config("experiments/finetune/t4.py", overrides), examples)

    assert (plan().total_steps, plan().boundaries) == (10_000, (500, 3_000, 6_000, 9_000))
    assert plan().mixup == 0.1 and plan(examples=19_999).mixup == 0.0
    assert plan("objective.mixup=0.0").mixup == 0.0
    assert plan("objective.mixup=0.3", examples=10).mixup == 0.3
    # Another schedule has no mixup by itself, nor have cases and survival.
    assert plan("schedule=cosine", "total_steps=5").mixup == 0.0
    for name in ("t1", "t5", "t6"):
        config = load_config(f"experiments/finetune/{name}.py")
        assert make_plan(config, 20_000).mixup == 0.0
        assert make_plan(config, 20_000).total_steps == 10_000


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
