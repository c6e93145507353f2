"""NT-Xent in a ring: the numbers of the gathered form, without a gather."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh

from remedis_jax.objectives.nt_xent import nt_xent
from remedis_jax.training.sharding import batch_sharding, make_mesh
from tests.objectives.test_nt_xent import embeddings, oracle

# Blocks of two rows with N = 8, and all rows at once.
SMALL_BLOCKS = 2 * 2 * 40 / 8 * 4 / 2**20


def in_ring(mesh, temperature=0.1, axis="data", **options):
    def loss(z1, z2):
        return nt_xent(
            z1, z2, temperature=temperature, mesh=mesh, axis=axis, max_gathered_mib=0, **options
        )

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))


@pytest.mark.parametrize("devices", [2, 8])
@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("limit", [SMALL_BLOCKS, 16.0])
def test_value_and_gradient_agree_with_optax(devices, temperature, limit):
    z1, z2 = embeddings(40, 33)
    mesh = make_mesh(devices)
    step = in_ring(mesh, temperature, max_logits_mib=limit)
    (value, _), gradient = step(*jax.device_put((z1, z2), batch_sharding(mesh)))
    expected, wanted = jax.value_and_grad(oracle, argnums=(0, 1))(z1, z2, temperature)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    got, wanted = np.stack(gradient), np.stack(wanted)
    np.testing.assert_allclose(got, wanted, atol=1e-5 * np.abs(wanted).max(), rtol=0)
    assert abs(np.linalg.norm(got) / np.linalg.norm(wanted) - 1) < 1e-5


@pytest.mark.parametrize("kind", ["random", "collapsed", "twins", "perfect"])
def test_metrics_are_those_of_the_gathered_form(kind):
    z1, z2 = embeddings(16, 6)
    if kind == "collapsed":
        z1 = z2 = np.ones_like(z1)
    elif kind == "twins":
        # Every second view exists twice, once on another device: the first of equals wins.
        z1, z2 = (np.concatenate([z[:8], z[:8]]) for z in (z1, z2))
    elif kind == "perfect":
        z1 = z2 = np.eye(16, dtype=np.float32)
    mesh = make_mesh(8)
    views = jax.device_put((z1, z2), batch_sharding(mesh))
    (_, got), _ = in_ring(mesh)(*views)
    _, wanted = nt_xent(*views, temperature=0.1, mesh=mesh)
    assert set(got) == set(wanted)
    for name, value in wanted.items():
        np.testing.assert_allclose(got[name], value, rtol=2e-6, atol=2e-6, err_msg=name)


def test_two_mesh_axes():
    mesh = Mesh(
        np.array(jax.devices()[:8]).reshape(2, 4), ("a", "b"), axis_types=(AxisType.Auto,) * 2
    )
    z1, z2 = embeddings(16, 6)
    (value, _), gradient = in_ring(mesh, axis=("a", "b"))(z1, z2)
    expected, wanted = jax.value_and_grad(oracle, argnums=(0, 1))(z1, z2, 0.1)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for a, b in zip(gradient, wanted, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * float(jnp.abs(b).max()), rtol=0)


def test_messages_to_neighbours_only_and_chosen_by_memory():
    mesh = make_mesh(8)
    views = jax.device_put(embeddings(16, 8), batch_sharding(mesh))

    def collectives(max_gathered_mib):
        step = jax.jit(
            jax.value_and_grad(
                lambda a, b: nt_xent(
                    a, b, temperature=0.1, mesh=mesh, max_gathered_mib=max_gathered_mib
                )[0],
                (0, 1),
            )
        )
        text = step.lower(*views).compile().as_text()
        names = ("all-gather", "reduce-scatter", "all-reduce", "collective-permute")
        return {name: text.count(f" {name}(") for name in names}

    # 2 x 2N x d x 4 bytes.
    needed = 2 * 2 * 16 * 8 * 4 / 2**20
    gathered = {
        "all-gather": 1, "reduce-scatter": 1, "all-reduce": 1, "collective-permute": 0
    }  # fmt: skip
    assert collectives(needed) == gathered
    # One in the loop that finds the normalisers, one in the loop that makes the gradient.
    ring = {"all-gather": 0, "reduce-scatter": 0, "all-reduce": 1, "collective-permute": 2}
    assert collectives(needed * 0.99) == ring
