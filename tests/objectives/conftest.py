"""A network of one stage, so that whole objectives compile in seconds."""

import jax
import numpy as np
import pytest

from remedis_jax.augment import get_recipe
from remedis_jax.models import bit
from remedis_jax.objectives.methods import METHODS
from remedis_jax.objectives.views import Views

# What makes each method small. Batches here are of 16.
SMALL = {
    "simclr": {"head_dim": 16},
    "micle": {"head_dim": 16},
    "moco_v2": {"head_dim": 16, "queue_size": 32},
    "moco_v3": {"hidden_dim": 24, "head_dim": 12, "total_steps": 10},
    "relic": {"hidden_dim": 24, "head_dim": 12, "total_steps": 10},
    "barlow_twins": {"projector": (24, 24, 16)},
    "byol": {"hidden_dim": 24, "head_dim": 12, "total_steps": 10},
    "vicreg": {"projector": (24, 24, 16)},
}
BATCH, SIZE = 16, 16


@pytest.fixture
def make_objective(monkeypatch):
    """(name, mesh, **options) -> objective with a tiny encoder."""
    monkeypatch.setitem(bit.UNITS, 5, (1,))

    def make(name, mesh, *, micro_batch=0, **options):
        recipe = get_recipe("finetune", crop="resize")
        encoder = bit.BiTSpec(5, 0.5, "cifar_stride2")
        views = Views(encoder, (recipe, recipe), SIZE, mesh, micro_batch)
        return METHODS[name](views, **(SMALL[name] | options))

    return make


@pytest.fixture
def images():
    """(name) -> uint8 images as the method's batches hold them."""

    def draw(name):
        shape = (BATCH, 2, SIZE, SIZE, 3) if name == "micle" else (BATCH, SIZE, SIZE, 3)
        return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)

    return draw


@pytest.fixture
def image_keys():
    return jax.random.split(jax.random.key(3), (BATCH, 2))
