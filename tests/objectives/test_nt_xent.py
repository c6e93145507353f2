"""NT-Xent against optax, on one and on eight devices: value, gradient and gradient norm."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from remedis_jax.objectives.nt_xent import l2_normalise, nt_xent
from remedis_jax.training.sharding import batch_sharding, make_mesh


def embeddings(pairs: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng([pairs, dim])
    z1 = generator.standard_normal((pairs, dim)).astype(np.float32) * 3
    z2 = z1 + generator.standard_normal((pairs, dim)).astype(np.float32)
    return z1, z2


def oracle(z1, z2, temperature):
    """optax takes [2N, d] rows with labels and the mean over rows; the official sum is twice it."""
    with jax.default_matmul_precision("highest"):
        rows = l2_normalise(jnp.concatenate([z1, z2]))
        return 2 * optax.losses.ntxent(rows, jnp.tile(jnp.arange(len(z1)), 2), temperature)


@functools.cache
def oracle_step(shape, temperature):
    """Value and gradient of the oracle, the same for any number of devices."""
    step = jax.value_and_grad(oracle, argnums=(0, 1))
    return jax.device_get(step(*embeddings(*shape), temperature))


@pytest.mark.parametrize("devices", [1, 2, 8])
@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(8, 5), (40, 33)])
def test_value_and_gradient_agree_with_optax(devices, temperature, shape):
    z1, z2 = embeddings(*shape)
    mesh = make_mesh(devices)
    expected, expected_gradient = oracle_step(shape, temperature)

    @jax.jit
    def ours(z1, z2):
        return jax.value_and_grad(
            lambda *z: nt_xent(*z, temperature=temperature, mesh=mesh)[0], argnums=(0, 1)
        )(z1, z2)

    sharded = jax.device_put((z1, z2), batch_sharding(mesh))
    value, gradient = ours(*sharded)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for got, want in zip(gradient, expected_gradient, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5 * float(np.abs(want).max()), rtol=0)
    ratio = optax.tree.norm(gradient) / optax.tree.norm(expected_gradient)
    assert abs(float(ratio) - 1) < 1e-5


@pytest.mark.parametrize("devices", [1, 8])
def test_gradient_of_shared_parameters(devices):
    """The defect of the field: right loss, gradient of replicated parameters off by the devices."""
    z1, z2 = embeddings(16, 12)
    weights = np.random.default_rng(1).standard_normal((12, 7)).astype(np.float32)
    mesh = make_mesh(devices)

    def loss(weights, z1, z2, f):
        with jax.default_matmul_precision("highest"):
            return f(z1 @ weights, z2 @ weights)

    expected = jax.grad(loss)(weights, z1, z2, lambda a, b: oracle(a, b, 0.2))
    got = jax.jit(
        lambda w, z1, z2: jax.grad(loss)(
            w, z1, z2, lambda a, b: nt_xent(a, b, temperature=0.2, mesh=mesh)[0]
        )
    )(weights, *jax.device_put((z1, z2), batch_sharding(mesh)))
    np.testing.assert_allclose(got, expected, atol=1e-5 * float(jnp.abs(expected).max()), rtol=0)
    ratio = jnp.linalg.norm(got) / jnp.linalg.norm(expected)
    assert abs(float(ratio) - 1) < 1e-5


def test_mean_convention_is_half_the_sum():
    z1, z2 = embeddings(8, 4)
    mesh = make_mesh(8)
    total, mean = (
        jax.jit(
            lambda a, b, c=convention: nt_xent(a, b, temperature=0.1, mesh=mesh, convention=c)[0]
        )(z1, z2)
        for convention in ("sum", "mean")
    )
    np.testing.assert_allclose(total, 2 * mean, rtol=1e-6)


def test_metrics_of_perfect_and_of_uninformative_embeddings():
    mesh = make_mesh(8)
    perfect = jnp.eye(8, 16)
    loss_of = jax.jit(
        lambda z, temperature: nt_xent(z, z, temperature=temperature, mesh=mesh), static_argnums=1
    )
    metrics = loss_of(perfect, 0.01)[1]
    assert float(metrics["contrastive_accuracy"]) == 1.0
    assert float(metrics["contrastive_entropy"]) < 1e-6
    same = jnp.ones((8, 16))
    loss, metrics = loss_of(same, 0.5)
    np.testing.assert_allclose(metrics["contrastive_entropy"], np.log(8), rtol=1e-6)
    # Every one of the 2N - 1 candidates is equally likely.
    np.testing.assert_allclose(loss, 2 * np.log(15), rtol=1e-6)


def test_bfloat16_embeddings_give_float32_logits():
    z1, z2 = (jnp.asarray(z, jnp.bfloat16) for z in embeddings(16, 8))
    mesh = make_mesh(1)
    rounded = nt_xent(z1, z2, temperature=0.1, mesh=mesh)[0]
    exact = oracle(z1.astype(jnp.float32), z2.astype(jnp.float32), 0.1)
    assert rounded.dtype == jnp.float32
    np.testing.assert_allclose(rounded, exact, rtol=1e-5)


def test_collectives_are_one_gather_one_scatter_and_one_sum():
    mesh = make_mesh(8)
    z1, z2 = jax.device_put(embeddings(16, 8), batch_sharding(mesh))
    step = jax.jit(
        jax.value_and_grad(lambda a, b: nt_xent(a, b, temperature=0.1, mesh=mesh)[0], (0, 1))
    )
    text = step.lower(z1, z2).compile().as_text()
    counts = {
        name: text.count(f" {name}(") for name in ("all-gather", "reduce-scatter", "all-reduce")
    }
    assert counts == {"all-gather": 1, "reduce-scatter": 1, "all-reduce": 1}


def test_normalisation_floors_the_norm_as_tensorflow_does():
    tiny = jnp.array([[3e-7, 4e-7], [3.0, 4.0]])
    np.testing.assert_allclose(l2_normalise(tiny), [[0.3, 0.4], [0.6, 0.8]], rtol=1e-6)


@pytest.mark.parametrize(
    "arguments",
    [{"temperature": 0.0}, {"temperature": 0.1, "convention": "both"}],
)
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises(ValueError):
        nt_xent(jnp.ones((8, 2)), jnp.ones((8, 2)), mesh=make_mesh(1), **arguments)
    with pytest.raises(ValueError):
        nt_xent(jnp.ones((8, 2)), jnp.ones((4, 2)), mesh=make_mesh(1), temperature=0.1)
