"""The order of events in MoCo v2, its queue, and why nothing is shuffled between devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from remedis_jax.objectives.moco_v2 import enqueue, moco_loss
from remedis_jax.objectives.nt_xent import l2_normalise
from remedis_jax.training.sharding import make_mesh


def rows(count, dim, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal((count, dim)), jnp.float32)


def test_enqueue_overwrites_the_oldest_and_wraps_around():
    queue, pointer = jnp.zeros((6, 4)), jnp.int32(0)
    batches = [rows(2, 4, seed) for seed in range(4)]
    for index, batch in enumerate(batches):
        assert int(pointer) == 2 * index % 6
        queue, pointer = jax.jit(enqueue)(queue, pointer, batch)
    expected = l2_normalise(jnp.concatenate([batches[3], batches[1], batches[2]]))
    np.testing.assert_allclose(queue, expected, rtol=1e-6)


def test_a_queue_that_batches_do_not_fill_evenly_is_refused():
    with pytest.raises(ValueError, match="multiple"):
        enqueue(jnp.zeros((5, 4)), jnp.int32(0), rows(2, 4))


def test_keys_and_queue_get_no_gradient():
    gradients = jax.grad(lambda *a: moco_loss(*a, temperature=0.2)[0], argnums=(0, 1, 2))(
        rows(4, 3, 0), rows(4, 3, 1), l2_normalise(rows(8, 3, 2))
    )
    assert float(jnp.abs(gradients[0]).max()) > 0
    assert not jnp.abs(gradients[1]).any() and not jnp.abs(gradients[2]).any()


def test_momentum_moves_before_the_keys_and_the_queue_after_the_loss(
    make_objective, images, image_keys
):
    objective = make_objective("moco_v2", make_mesh(1), momentum=0.75)
    start = objective.init_params(0, (16, 16, 3))
    state = objective.init_state(0, start)
    # Trained parameters that have gone elsewhere than the momentum network.
    params = jax.tree.map(lambda x: x * 1.5, start)
    batch = {"image": jnp.asarray(images("moco_v2"))}
    loss, (after, metrics) = jax.jit(objective.loss)(params, state, batch, image_keys)

    target = jax.tree.map(lambda t, p: 0.75 * t + 0.25 * p, state["target"], params)
    for mine, theirs in zip(
        jax.tree.leaves(after["target"]), jax.tree.leaves(target), strict=True
    ):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6)

    def embed(weights, view):
        features, _ = objective.views.features(
            weights["encoder"], batch["image"], image_keys, take=(view,)
        )
        head = {"params": weights["projection_head"]}
        return objective.projection_head.apply(head, features[:, 0], train=True)

    queries, keys = embed(params, 0), embed(target, 1)
    expected, _ = moco_loss(queries, keys, state["queue"], temperature=0.2)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(after["queue"][:16], l2_normalise(keys), atol=1e-5)
    np.testing.assert_array_equal(after["queue"][16:], state["queue"][16:])
    assert int(after["pointer"]) == 16
    # The queue as it stood before: with this step's keys in it the loss would be another.
    other, _ = moco_loss(queries, keys, after["queue"], temperature=0.2)
    assert abs(float(other - expected)) > 1e-3


def test_a_key_depends_on_its_own_image_alone(make_objective, images, image_keys):
    """What shuffle-BN hides does not exist: no batch statistics in encoder or head."""
    objective = make_objective("moco_v2", make_mesh(1))
    params = objective.init_params(0, (16, 16, 3))
    state = objective.init_state(0, params)
    assert "batch_stats" not in state
    first = images("moco_v2")
    second = first.copy()
    second[1:] = 255 - second[1:]
    step = jax.jit(objective.loss)
    queues = [
        step(params, state, {"image": jnp.asarray(batch)}, image_keys)[1][0]["queue"]
        for batch in (first, second)
    ]
    np.testing.assert_allclose(queues[0][0], queues[1][0], atol=1e-6)
    assert float(jnp.abs(queues[0][1] - queues[1][1]).max()) > 1e-3
