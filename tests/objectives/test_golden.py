"""Our losses against lightly's, recorded in float64: value, gradients, norms; 1, 2, 8 devices.

`tests/oracles` computes the recording anew where PyTorch and lightly are installed.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from remedis_jax.objectives.barlow_twins import barlow_twins_loss
from remedis_jax.objectives.byol import byol_loss
from remedis_jax.objectives.moco_v2 import enqueue, moco_loss
from remedis_jax.objectives.nt_xent import nt_xent
from remedis_jax.objectives.vicreg import vicreg_loss
from remedis_jax.training.sharding import batch_sharding, make_mesh, replicated
from tests.golden import make_objectives_golden as recording

GOLDEN = np.load(recording.PATH)
DEVICES = (1, 2, 8)


def differentiate(loss, arrays, devices):
    """Value and gradients of a loss of arrays that are sharded over the devices."""
    mesh = make_mesh(devices)
    split = batch_sharding(mesh)
    compiled = jax.jit(
        jax.value_and_grad(lambda *z: loss(mesh, *z), argnums=tuple(range(len(arrays)))),
        in_shardings=split,
    )
    return compiled(*jax.device_put(arrays, split))


def assert_recorded(name, value, gradients):
    np.testing.assert_allclose(value, GOLDEN[f"{name}/value"], rtol=1e-6)
    for index, gradient in enumerate(gradients):
        key = f"{name}/gradient{index}"
        if key not in GOLDEN:
            # A constant there; ours must be one too.
            assert not np.asarray(gradient).any()
            continue
        want = GOLDEN[key]
        # Relative to the gradient as a vector: single entries near zero are sums that cancel.
        error = np.linalg.norm(gradient - want) / np.linalg.norm(want)
        assert error < 1e-6, f"{key}: {error:.2g}"
        ratio = np.linalg.norm(gradient) / np.linalg.norm(want)
        assert abs(ratio - 1) < 1e-5


def sizes():
    return [pytest.param(shape, id="x".join(map(str, shape))) for shape in recording.SHAPES]


@pytest.mark.parametrize("devices", DEVICES)
@pytest.mark.parametrize("shape", sizes())
@pytest.mark.parametrize("mib", [64, 2**-12], ids=["dense", "blockwise"])
@pytest.mark.parametrize("temperature", recording.TEMPERATURES)
def test_nt_xent_is_lightlys(shape, devices, temperature, mib):
    def loss(mesh, z1, z2):
        return nt_xent(
            z1, z2, temperature=temperature, mesh=mesh, convention="mean", max_logits_mib=mib
        )[0]

    value, gradients = differentiate(loss, recording.embeddings(*shape), devices)
    size = "_".join(map(str, shape))
    assert_recorded(f"nt_xent_{temperature}/{size}", value, gradients)


@pytest.mark.parametrize("devices", DEVICES)
@pytest.mark.parametrize("shape", sizes())
@pytest.mark.parametrize("name", ["barlow_twins", "vicreg"])
def test_covariance_losses_are_lightlys(name, shape, devices):
    of_name = {
        "barlow_twins": lambda mesh, *z: barlow_twins_loss(*z, off_diagonal_weight=0.0051)[0],
        "vicreg": lambda mesh, *z: vicreg_loss(*z)[0],
    }
    value, gradients = differentiate(of_name[name], recording.embeddings(*shape), devices)
    assert_recorded(f"{name}/{'_'.join(map(str, shape))}", value, gradients)


@pytest.mark.parametrize("devices", DEVICES)
@pytest.mark.parametrize("shape", sizes())
def test_byol_is_lightlys(shape, devices):
    arrays = recording.four_embeddings(*shape)
    value, gradients = differentiate(lambda mesh, *z: byol_loss(*z), arrays, devices)
    assert_recorded(f"byol/{'_'.join(map(str, shape))}", value, gradients)


@pytest.mark.parametrize("devices", DEVICES)
@pytest.mark.parametrize("shape", sizes())
def test_moco_is_lightlys_memory_bank_over_steps_that_wrap_around(shape, devices):
    mesh = make_mesh(devices)
    split, whole = batch_sharding(mesh), replicated(mesh)

    def step(queue, pointer, queries, keys):
        value_and_grad = jax.value_and_grad(lambda q: moco_loss(q, keys, queue, temperature=0.2)[0])
        return value_and_grad(queries), enqueue(queue, pointer, keys)

    step = jax.jit(step, in_shardings=(whole, whole, split, split), out_shardings=whole)
    size = "_".join(map(str, shape))
    queue, pointer = jnp.asarray(recording.queue(*shape)), jnp.int32(0)
    for index, batch in enumerate(recording.moco_batches(*shape)):
        given = jax.device_put((queue, pointer), whole)
        (value, gradient), (queue, pointer) = step(*given, *jax.device_put(batch, split))
        assert_recorded(f"moco/{size}/{index}", value, [gradient])
    # lightly stores the keys as its loss has normalised them.
    np.testing.assert_allclose(queue, GOLDEN[f"moco/{size}/queue"], rtol=1e-6, atol=1e-7)
    assert int(pointer) == int(GOLDEN[f"moco/{size}/pointer"][0])
