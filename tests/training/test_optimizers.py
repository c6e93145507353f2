"""LARS against the published test vector, and what the masks cover."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from remedis_jax.errors import UserError
from remedis_jax.training.optimizers import make_optimizer, regex_mask

# Google's LARS class under a changing learning rate (lr 0.5 t at t = 1, 2, 3).
EXPECTED = {
    False: ([1.0270925, 2.0162532, 3.005414, 3.994575, 4.9837356, 5.9728966], 0.5245),
    True: ([1.0414618, None, None, None, None, 5.958522], 0.27205),
}


@pytest.mark.parametrize("nesterov", [False, True])
def test_lars_reproduces_the_test_vector(nesterov):
    params = {"kernel": jnp.array([[1.0, 2, 3], [4, 5, 6]]), "bias": jnp.ones(3)}
    optimizer = make_optimizer(
        "lars", lambda step: 0.5 * (step + 1.0), weight_decay=1e-4, nesterov=nesterov
    )
    state = optimizer.init(params)
    for t in (1, 2, 3):
        gradient = {
            "kernel": t * jnp.linspace(-1.0, 1.0, 6).reshape(2, 3),
            "bias": jnp.full(3, 0.1),
        }
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    kernel, bias = EXPECTED[nesterov]
    for got, want in zip(params["kernel"].ravel(), kernel, strict=True):
        if want is not None:
            np.testing.assert_allclose(got, want, rtol=1e-6)
    np.testing.assert_allclose(params["bias"], bias, rtol=1e-5)


def test_lars_after_momentum_reproduces_the_test_vector():
    """The PyTorch family (moco-v3's optimizer.py), which differs once the rate changes."""
    params = {"kernel": jnp.array([[1.0, 2, 3], [4, 5, 6]]), "bias": jnp.ones(3)}
    optimizer = make_optimizer(
        "lars_after_momentum", lambda step: 0.5 * (step + 1.0), weight_decay=1e-4
    )
    state = optimizer.init(params)
    for t in (1, 2, 3):
        gradient = {
            "kernel": t * jnp.linspace(-1.0, 1.0, 6).reshape(2, 3),
            "bias": jnp.full(3, 0.1),
        }
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    expected = [1.0368358, 2.022098, 3.0073602, 3.9926226, 4.977885, 5.963147]
    np.testing.assert_allclose(params["kernel"].ravel(), expected, rtol=1e-6)
    np.testing.assert_allclose(params["bias"], 0.3535, rtol=1e-5)


def test_excluded_parameters_have_a_rate_of_their_own():
    gradients = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    updates = {}
    for factor in (1.0, 0.024):
        optimizer = make_optimizer(
            "lars_after_momentum", lambda step: 0.2, weight_decay=0.0, excluded_rate=factor
        )
        updates[factor], _ = optimizer.update(gradients, optimizer.init(gradients), gradients)
    np.testing.assert_array_equal(updates[1.0]["kernel"], updates[0.024]["kernel"])
    np.testing.assert_allclose(updates[0.024]["bias"], -0.0048, rtol=1e-6)


def tree():
    leaf = jnp.ones((2,))
    unit = {"group_norm": {"gamma": leaf}, "standardized_conv2d": {"kernel": leaf}}
    return {
        "encoder": {"block1": unit},
        "projection_head": {
            "dense_0": {"kernel": leaf, "bias": leaf},
            "batch_normalization_0": {"gamma": leaf},
        },
        "head": {"dense": {"kernel": leaf}},
    }


@pytest.mark.parametrize(("group_norm", "decayed"), [("as_official", True), ("exclude", False)])
def test_what_weight_decay_and_adaptation_leave_out(group_norm, decayed):
    optimizer = make_optimizer(
        "sgd", lambda step: 1.0, weight_decay=0.5, momentum=0.0, group_norm=group_norm
    )
    params = tree()
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(zeros, optimizer.init(params), params)
    shrunk = jax.tree.map(lambda u: bool((u != 0).all()), updates)
    assert shrunk["encoder"]["block1"]["standardized_conv2d"]["kernel"]
    assert shrunk["encoder"]["block1"]["group_norm"]["gamma"] is decayed
    assert shrunk["projection_head"]["dense_0"]["kernel"]
    assert not shrunk["projection_head"]["dense_0"]["bias"]
    assert not shrunk["projection_head"]["batch_normalization_0"]["gamma"]
    assert not shrunk["head"]["dense"]["kernel"]


def test_adamw_and_clipping():
    params = {"kernel": jnp.array([3.0, 4.0])}
    optimizer = make_optimizer(
        "sgd", lambda step: 1.0, weight_decay=0.0, momentum=0.0, clip_norm=1.0
    )
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    np.testing.assert_allclose(updates["kernel"], [-0.6, -0.8], rtol=1e-6)
    adam = make_optimizer("adamw", lambda step: 0.1, weight_decay=0.0)
    updates, _ = adam.update(params, adam.init(params), params)
    np.testing.assert_allclose(updates["kernel"], [-0.1, -0.1], rtol=1e-4)


def test_unknown_names_are_refused():
    with pytest.raises(UserError, match="adamx"):
        make_optimizer("adamx", lambda step: 1.0, weight_decay=0.0)
    with pytest.raises(UserError, match="group_norm"):
        make_optimizer("lars", lambda step: 1.0, weight_decay=0.0, group_norm="maybe")


def test_regex_mask_reads_whole_paths():
    mask = regex_mask(tree(), r"^head/|encoder/block1/group_norm")
    assert mask["projection_head"]["dense_0"]["kernel"] is True
    assert mask["head"]["dense"]["kernel"] is False
    assert mask["encoder"]["block1"]["group_norm"]["gamma"] is False
