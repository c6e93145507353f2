"""The training state and the pure step that advances it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from remedis_jax.objectives.interface import Batch, Metrics, Objective
from remedis_jax.training.rng import stream_key
from remedis_jax.training.schedules import Schedule


@struct.dataclass
class TrainState:
    """Everything that a step changes.

    Attributes:
        step: int32 scalar, number of updates made.
        params: Trained parameters; the encoder is under "encoder".
        model_state: What the objective carries along untrained (batch statistics, queues).
        opt_state: Of the optimiser.
        ema_params: Exponential moving average of `params`, or None.
    """

    step: jax.Array
    params: Any
    model_state: Any
    opt_state: Any
    ema_params: Any


def create_state(
    params: Any, model_state: Any, optimizer: optax.GradientTransformation, *, ema: bool
) -> TrainState:
    """State before the first step. Pure, so that it can be built straight into its sharding."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        model_state=model_state,
        opt_state=optimizer.init(params),
        ema_params=jax.tree.map(jnp.copy, params) if ema else None,
    )


def make_train_step(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    schedule: Schedule,
    *,
    ema_decay: float | None = None,
    accumulate: Callable[[Any], Any] | None = None,
) -> Callable[[TrainState, Batch, jax.Array, jax.Array], tuple[TrainState, Metrics]]:
    """The pure function (state, batch, root key, peak rate) -> (state, metrics).

    `schedule` and `optimizer` are those of a peak learning rate of 1, and the update is multiplied
    by the peak rate. Every optimiser here is linear in the rate (LARS and SGD through their
    momentum too), so this is the same update, and runs that differ in the rate alone, such as a
    grid's, share one compiled step.

    Every example gets its own random keys by its place in the global batch, so neither the number
    of devices nor the way the batch is cut changes what becomes of it.

    `accumulate` cuts a batch and its keys into parts ([B, ...] -> [parts, B / parts, ...]): the
    gradient is then the mean of the parts' gradients, taken one after the other. That is the
    batch's gradient only for an objective that `decomposes`.

    Order: loss and gradient, optimiser, EMA of the new parameters
    (ema <- decay ema + (1 - decay) params), then the objective's `after_step`.

    Metrics are those of the objective and `loss`, `grad_norm` (global L2 norm), `learning_rate`.
    """

    value_and_grad = jax.value_and_grad(objective.loss, has_aux=True)

    def mean_over_parts(params, model_state, batch, keys):
        """Value and gradient part by part; the state does not change (see `decomposes`)."""

        def add(total, part):
            (loss, (_, metrics)), gradients = value_and_grad(params, model_state, *part)
            return jax.tree.map(jnp.add, total, (loss, metrics, gradients)), None

        parts = accumulate((batch, keys))
        first = jax.tree.map(lambda x: x[0], parts)
        shapes = jax.eval_shape(lambda part: value_and_grad(params, model_state, *part), first)
        (loss, (_, metrics)), gradients = shapes
        start = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (loss, metrics, gradients))
        total, _ = jax.lax.scan(add, start, parts)
        count = jax.tree.leaves(parts)[0].shape[0]
        loss, metrics, gradients = jax.tree.map(lambda x: x / count, total)
        return (loss, (model_state, metrics)), gradients

    differentiated = mean_over_parts if accumulate is not None else value_and_grad

    def train_step(state, batch, root_key, peak_rate):
        key = stream_key(root_key, "augment", state.step)
        keys = jax.random.split(key, (batch["image"].shape[0], objective.keys_per_example))
        (loss, (model_state, metrics)), gradients = differentiated(
            state.params, state.model_state, batch, keys
        )
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(
            state.params, jax.tree.map(lambda update: peak_rate * update, updates)
        )
        ema_params = state.ema_params
        if ema_decay is not None:
            ema_params = jax.tree.map(
                lambda average, new: ema_decay * average + (1 - ema_decay) * new,
                ema_params,
                params,
            )
        new_state = TrainState(
            step=state.step + 1,
            params=params,
            model_state=objective.after_step(params, model_state),
            opt_state=opt_state,
            ema_params=ema_params,
        )
        metrics = metrics | {
            "loss": loss,
            "grad_norm": optax.tree.norm(gradients),
            "learning_rate": peak_rate * schedule(state.step),
        }
        return new_state, metrics

    return train_step
