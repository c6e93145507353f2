"""Batches in parts: exact where it is allowed, refused with the remedy where it is not."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from remedis_jax.errors import UserError
from remedis_jax.models import bit
from remedis_jax.objectives.methods import METHODS
from remedis_jax.objectives.views import from_chunks, in_chunks
from remedis_jax.training.build import build, make_plan
from remedis_jax.training.config import load_config
from remedis_jax.training.sharding import (
    batch_sharding,
    make_mesh,
    put_batch,
    put_replicated,
    put_replicated_key,
)
from remedis_jax.training.state import create_state

PLAIN = ("augment.options={'crop': 'resize'}", "model.name=r5x0.5", "optimizer.clip_norm=0")


@pytest.fixture(autouse=True)
def one_stage(monkeypatch):
    monkeypatch.setitem(bit.UNITS, 5, (1,))


def one_step(*overrides, config="experiments/finetune/classify.py:task=phantom,tiny"):
    """Loss, gradient norm and parameters after one real step on fixed images."""
    settings = load_config(config, (*PLAIN, "warmup_steps=0", *overrides))
    mesh = make_mesh(settings.devices or 1)
    built = build(settings, make_plan(settings, 64), mesh, ("no", "yes"))
    params = built.objective.init_params(0, (20, 20, 1))
    state = created = create_state(
        params, built.objective.init_state(0, params), built.optimizer, ema=False
    )
    state = put_replicated(created, mesh)
    generator = np.random.default_rng(0)
    batch = {
        "image": generator.integers(0, 256, (8, 20, 20, 1), dtype=np.uint8),
        "label": np.arange(8, dtype=np.int32) % 2,
        "index": np.arange(8, dtype=np.int32),
    }
    key = put_replicated_key(jax.random.key(0), mesh)
    state, metrics = built.step(state, put_batch(batch, mesh), key, jnp.float32(1e-3))
    return float(metrics["loss"]), float(metrics["grad_norm"]), jax.device_get(state.params)


@pytest.fixture(scope="module")
def whole():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(bit.UNITS, 5, (1,))
        return one_step()


@pytest.mark.parametrize("kind", ["gradients", "embeddings"])
@pytest.mark.parametrize("devices", [1, 2])
def test_parts_give_the_step_of_the_whole_batch(whole, kind, devices):
    got = one_step(f"accumulation={kind}", "micro_batch=4", f"devices={devices}")
    np.testing.assert_allclose(got[:2], whole[:2], rtol=1e-5)
    difference = optax.tree.norm(optax.tree.sub(got[2], whole[2]))
    assert float(difference) < 1e-6 * float(optax.tree.norm(whole[2]))


def test_parts_take_less_memory():
    """What the parts are for: the activations of one part at a time."""
    sizes = {}
    for overrides in ((), ("accumulation=embeddings", "micro_batch=2")):
        config = load_config(
            "experiments/contrastive/simclr.py:task=phantom,tiny",
            (*PLAIN, "batch_size=64", "augment.size=32", *overrides),
        )
        mesh = make_mesh(1)
        built = build(config, make_plan(config, 64), mesh, ())
        params = built.objective.init_params(0, (32, 32, 1))
        state = create_state(
            params, built.objective.init_state(0, params), built.optimizer, ema=False
        )
        batch = {
            "image": jax.ShapeDtypeStruct((64, 32, 32, 1), jnp.uint8),
            "index": jax.ShapeDtypeStruct((64,), jnp.int32),
        }
        lowered = built.step.lower(state, batch, jax.random.key(0), jnp.float32(1))
        sizes[overrides] = lowered.compile().memory_analysis().temp_size_in_bytes
    whole, parts = sizes.values()
    assert parts < whole / 8


@pytest.mark.parametrize("method", METHODS)
def test_gradient_accumulation_is_refused_where_examples_meet(method):
    with pytest.raises(UserError, match="accumulation='embeddings'"):
        one_step(
            "accumulation=gradients", "micro_batch=4",
            config=f"experiments/contrastive/{method}.py:task=phantom,tiny",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("accumulation=embedings",), "embedings"),
        (("micro_batch=4",), "accumulation is 'none'"),
        (("accumulation=embeddings",), "micro_batch 0"),
        (("accumulation=embeddings", "micro_batch=3"), "micro_batch 3"),
        (("accumulation=embeddings", "micro_batch=1", "devices=2"), "multiple of 2"),
    ],
)
def test_parts_that_do_not_work_out_are_refused(overrides, message):
    with pytest.raises(UserError, match=message):
        one_step(*overrides)


def test_sigmoid_labels_are_not_accumulated_plainly():
    with pytest.raises(UserError, match="embeddings"):
        one_step("objective.kind=sigmoid", "accumulation=gradients", "micro_batch=4")


@pytest.mark.parametrize("devices", [1, 2, 8])
def test_chunks_keep_examples_on_their_device_and_come_back_in_order(devices):
    mesh = make_mesh(devices)
    x = jax.device_put(jnp.arange(48).reshape(48, 1), batch_sharding(mesh))
    chunks = jax.jit(lambda x: in_chunks(x, 8, mesh))(x)
    assert chunks.shape == (6, 8, 1)
    assert sorted(np.asarray(chunks).ravel().tolist()) == list(range(48))
    np.testing.assert_array_equal(jax.jit(lambda c: from_chunks(c, mesh))(chunks), x)
    text = jax.jit(lambda x: in_chunks(x, 8, mesh)).lower(x).compile().as_text()
    for collective in ("all-to-all", "all-gather", "collective-permute"):
        assert f" {collective}(" not in text


def test_a_queue_that_batches_do_not_fill_evenly_is_refused():
    with pytest.raises(UserError, match="queue_size 20 is no multiple of batch_size 8"):
        one_step(
            "objective.queue_size=20",
            config="experiments/contrastive/moco_v2.py:task=phantom,tiny",
        )
