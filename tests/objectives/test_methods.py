"""Every method as a whole: value, gradient and state on one device and on several, in parts too."""

import dataclasses

import jax
import numpy as np
import optax
import pytest

from remedis_jax.augment import get_recipe
from remedis_jax.objectives.methods import METHODS
from remedis_jax.training.sharding import (
    batch_sharding,
    make_mesh,
    put_batch,
    put_replicated,
    replicated,
)


def step_of(objective, images, keys):
    """Loss, gradient, new state and metrics of one step, jitted as training does it."""
    mesh = objective.views.mesh

    def step(params, state, batch, keys):
        value_and_grad = jax.value_and_grad(objective.loss, has_aux=True)
        (loss, (state, metrics)), gradient = value_and_grad(params, state, batch, keys)
        return loss, gradient, objective.after_step(params, state), metrics

    whole, split = replicated(mesh), batch_sharding(mesh)
    params = objective.init_params(0, images.shape[1:])
    state = objective.init_state(0, params)
    compiled = jax.jit(step, in_shardings=(whole, whole, split, split), out_shardings=whole)
    return jax.device_get(
        compiled(
            *put_replicated((params, state), mesh),
            put_batch({"image": images}, mesh),
            jax.device_put(keys, split),
        )
    )


def assert_same_step(got, want, loss_tolerance=1e-6):
    np.testing.assert_allclose(got[0], want[0], rtol=loss_tolerance)
    ratio = optax.tree.norm(got[1]) / optax.tree.norm(want[1])
    assert abs(float(ratio) - 1) < 1e-5
    difference = optax.tree.norm(optax.tree.sub(got[1], want[1]))
    assert float(difference) < 1e-5 * float(optax.tree.norm(want[1]))
    for mine, other in zip(jax.tree.leaves(got[2:]), jax.tree.leaves(want[2:]), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def single_steps():
    """name -> the step of the whole batch on one device, once it was computed."""
    return {}


@pytest.fixture
def single(make_objective, images, image_keys, single_steps):
    """(name) -> the step of the whole batch on one device."""

    def compute(name):
        if name not in single_steps:
            objective = make_objective(name, make_mesh(1))
            single_steps[name] = step_of(objective, images(name), image_keys)
        return single_steps[name]

    return compute


@pytest.mark.parametrize("name", METHODS)
def test_devices_and_parts_change_nothing(name, single, make_objective, images, image_keys):
    """8 devices; 2 devices that see the batch four examples at a time, by cached embeddings."""
    want = single(name)
    on_eight = step_of(make_objective(name, make_mesh(8)), images(name), image_keys)
    assert_same_step(on_eight, want)
    in_parts = make_objective(name, make_mesh(2), micro_batch=4)
    assert_same_step(step_of(in_parts, images(name), image_keys), want)


def test_views_share_a_recipe_but_not_the_sigma_of_a_batch(make_objective):
    """blur_sigma='per_batch' (official-code) draws one sigma for each view of a batch."""
    views = make_objective("simclr", make_mesh(1)).views
    blur = get_recipe("eval", blur_probability=1.0, blur_sigma="per_batch")
    # Of images below 40 pixels the official kernel is one pixel wide.
    views = dataclasses.replace(views, recipes=(blur, blur), size=64)
    noise = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    made = views._make(noise, jax.random.split(jax.random.key(0), (4, 2)))
    assert float(abs(made[:, 0] - made[:, 1]).max()) > 0.01


@pytest.mark.parametrize("name", ["simclr", "moco_v3", "relic"])
def test_small_blocks_change_nothing(name, single, make_objective, images, image_keys):
    """Blockwise logits inside the whole method: a kibibyte at a time."""
    objective = make_objective(name, make_mesh(2), max_logits_mib=2**-10)
    assert_same_step(step_of(objective, images(name), image_keys), single(name))


@pytest.mark.parametrize("name", METHODS)
def test_targets_start_as_what_training_starts_from(name, make_objective, images):
    """A run that starts from given weights gives them to its target network too."""
    objective = make_objective(name, make_mesh(1))
    params = objective.init_params(0, images(name).shape[1:])
    params["encoder"] = jax.tree.map(lambda x: x + 1, params["encoder"])
    state = objective.init_state(0, params)
    if "target" not in state:
        pytest.skip("has no target network")
    for mine, theirs in zip(
        jax.tree.leaves(params["encoder"]), jax.tree.leaves(state["target"]["encoder"]), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)
        assert mine is not theirs
