"""The pure step on an objective small enough to follow by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from remedis_jax.training.optimizers import make_optimizer
from remedis_jax.training.rng import stream_key
from remedis_jax.training.state import create_state, make_train_step


@dataclasses.dataclass(frozen=True)
class Parabola:
    """loss = (w - mean of the batch)^2 / 2, so that the gradient is w - mean."""

    keys_per_example = 1
    decomposes = True

    def init_params(self, seed, image_shape):
        return {"encoder": {"w": jnp.float32(4.0)}}

    def init_state(self, seed, params):
        return {"seen": jnp.zeros((), jnp.int32)}

    def loss(self, params, model_state, batch, keys):
        distance = params["encoder"]["w"] - batch["image"].mean()
        noise = jax.random.normal(keys[0, 0])
        return distance**2 / 2, (model_state, {"noise": noise})

    def after_step(self, params, model_state):
        return {"seen": model_state["seen"] + 1}


def run(steps, ema_decay=None):
    objective = Parabola()
    optimizer = optax.sgd(1.0)
    params = objective.init_params(0, None)
    model_state = objective.init_state(0, params)
    state = create_state(params, model_state, optimizer, ema=ema_decay is not None)
    step = make_train_step(objective, optimizer, lambda t: 1.0, ema_decay=ema_decay)
    rows = []
    for _ in range(steps):
        state, metrics = step(state, {"image": jnp.zeros(3)}, jax.random.key(7), 0.5)
        rows.append(metrics)
    return state, rows


def test_loss_gradient_and_update_by_hand():
    state, rows = run(3)
    np.testing.assert_allclose([row["loss"] for row in rows], [8.0, 2.0, 0.5])
    np.testing.assert_allclose([row["grad_norm"] for row in rows], [4.0, 2.0, 1.0])
    assert float(state.params["encoder"]["w"]) == 0.5
    assert int(state.step) == 3 and int(state.model_state["seen"]) == 3
    assert state.ema_params is None


def test_moving_average_follows_the_new_parameters():
    state, _ = run(2, ema_decay=0.9)
    # w: 4 -> 2 -> 1; average: 4 -> .9*4 + .1*2 = 3.8 -> .9*3.8 + .1*1 = 3.52.
    assert float(state.ema_params["encoder"]["w"]) == pytest.approx(3.52)


def test_every_step_has_its_own_key():
    _, rows = run(3)
    noise = [float(row["noise"]) for row in rows]
    assert len(set(noise)) == 3
    keys = jax.random.split(stream_key(jax.random.key(7), "augment", 1), (3, 1))
    expected = jax.random.normal(keys[0, 0])
    assert noise[1] == float(expected)
    named = {
        jax.random.key_data(stream_key(jax.random.key(7), name, 1)).tobytes()
        for name in ("augment", "dropout")
    }
    assert len(named) == 2


@pytest.mark.parametrize("name", ["lars", "sgd", "adamw"])
def test_scaling_the_update_is_the_same_as_scaling_the_rate(name):
    """Over steps with a changing schedule: the momentum carries the rates of the past."""
    key = jax.random.key(0)
    start = {"encoder": {"kernel": jax.random.normal(key, (4, 3)), "bias": jnp.ones(3)}}

    def train(peak_inside, peak_outside):
        optimizer = make_optimizer(
            name, lambda t: peak_inside / (t + 1.0), weight_decay=1e-2, clip_norm=1.0
        )
        params, state = start, optimizer.init(start)
        for t in range(4):
            gradient = jax.tree.map(lambda p, t=t: jnp.sin(p + t), params)
            updates, state = optimizer.update(gradient, state, params)
            params = jax.tree.map(lambda p, u: p + peak_outside * u, params, updates)
        return params

    for got, want in zip(jax.tree.leaves(train(1.0, 0.3)), jax.tree.leaves(train(0.3, 1.0))):
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-6)
