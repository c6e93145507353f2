"""How many messages each loss needs on eight devices, value and gradient together.

The table of docs/methods.md holds these numbers.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from remedis_jax.objectives.barlow_twins import barlow_twins_loss
from remedis_jax.objectives.byol import byol_loss
from remedis_jax.objectives.moco_v2 import enqueue, moco_loss
from remedis_jax.objectives.moco_v3 import moco_v3_loss
from remedis_jax.objectives.nt_xent import nt_xent
from remedis_jax.objectives.relic import relic_loss
from remedis_jax.objectives.vicreg import vicreg_loss
from remedis_jax.training.sharding import batch_sharding, make_mesh, replicated

NAMES = ("all-gather", "reduce-scatter", "all-reduce", "collective-permute", "all-to-all")


def moco(a, b, queue, mesh):
    loss, _ = moco_loss(a, b, queue, temperature=0.2)
    return loss, enqueue(queue, jnp.int32(0), b)


def relic(a, b, mesh, **options):
    # Targets are other arrays than what is trained, or the same ones with their gradient.
    targets = (a, b) if options else (jax.lax.stop_gradient(a * 2), jax.lax.stop_gradient(b * 2))
    return relic_loss(a, b, *targets, temperature=0.1, alpha=1.0, mesh=mesh, **options)


LOSSES = {
    "simclr": (
        lambda a, b, queue, mesh: nt_xent(a, b, temperature=0.1, mesh=mesh),
        {"all-gather": 1, "reduce-scatter": 1, "all-reduce": 1},
    ),
    "moco_v2": (moco, {"all-gather": 1, "all-reduce": 1}),
    "moco_v3": (
        lambda a, b, queue, mesh: moco_v3_loss(a, b, b * 2, a * 2, temperature=1.0, mesh=mesh),
        {"all-gather": 2, "all-reduce": 1},
    ),
    "relic": (
        lambda a, b, queue, mesh: relic(a, b, mesh),
        {"all-gather": 1, "all-reduce": 1},
    ),
    "relic without target network": (
        lambda a, b, queue, mesh: relic(a, b, mesh, target_gradient=True),
        {"all-gather": 1, "reduce-scatter": 1, "all-reduce": 1},
    ),
    "barlow_twins": (
        lambda a, b, queue, mesh: barlow_twins_loss(a, b),
        {"all-reduce": 7},
    ),
    "byol": (lambda a, b, queue, mesh: (byol_loss(a, b, b * 2, a * 2), {}), {"all-reduce": 1}),
    "vicreg": (lambda a, b, queue, mesh: vicreg_loss(a, b), {"all-reduce": 4}),
}


@pytest.mark.parametrize("name", LOSSES)
def test_collectives(name):
    loss, wanted = LOSSES[name]
    mesh = make_mesh(8)
    views = np.random.default_rng(0).standard_normal((3, 16, 8)).astype(np.float32)
    whole, split = replicated(mesh), batch_sharding(mesh)
    a, b = jax.device_put((views[0], views[1]), split)
    queue = jax.device_put(views[2], whole)
    step = jax.jit(
        jax.value_and_grad(lambda a, b, q: loss(a, b, q, mesh), (0, 1), has_aux=True),
        in_shardings=(split, split, whole),
        out_shardings=((whole, whole), split),
    )
    text = step.lower(a, b, queue).compile().as_text()
    counts = {n: text.count(f" {n}(") + text.count(f" {n}-start(") for n in NAMES}
    assert {n: count for n, count in counts.items() if count} == wanted
