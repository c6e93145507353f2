"""BiT against the `transformers` implementation, its own arithmetic, and its traps."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from remedis_jax.errors import UserError
from remedis_jax.models import bit
from remedis_jax.models.bit import (
    REMATS,
    BiT,
    BiTSpec,
    GroupNorm,
    Root,
    group_count,
    standardise,
    to_bit_input,
)
from remedis_jax.models.case_head import CaseHead, HeadSpec
from remedis_jax.models.conv import conv2d
from remedis_jax.models.parameters import initialise
from remedis_jax.weights.artifact import flatten, unflatten
from tests.golden import bit_case

GOLDEN = Path(__file__).parents[1] / "golden" / "bit.npz"
HEAD = CaseHead(HeadSpec(bit_case.CLASSES))


def golden_params(spec: BiTSpec) -> dict:
    """The golden case's parameters in our tree."""
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    encoder = jax.eval_shape(lambda x: BiT(spec).init(jax.random.key(0), x), image)["params"]
    feature = jax.ShapeDtypeStruct((1, spec.output_dim), jnp.float32)
    head = jax.eval_shape(
        lambda x: HEAD.init(jax.random.key(0), x[:, None], jnp.ones((1, 1), bool)), feature
    )["params"]
    shapes = {"encoder": encoder, "head": head}
    leaves = jax.tree_util.tree_leaves_with_path(shapes)
    names = {"/".join(k.key for k in path): leaf.shape for path, leaf in leaves}
    return unflatten({name: bit_case.draw(name, shape) for name, shape in names.items()})


@pytest.fixture(scope="module")
def r50x1():
    spec = BiTSpec.from_name("r50x1")
    params = golden_params(spec)

    @jax.jit
    def logits(images):
        with jax.default_matmul_precision("highest"):
            features = BiT(spec).apply({"params": params["encoder"]}, images)
            mask = jnp.ones_like(features[:, :1], bool)
            return HEAD.apply({"params": params["head"]}, features[:, None], mask)

    return logits


@pytest.mark.parametrize("size", bit_case.SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
def test_logits_agree_with_transformers(r50x1, size):
    expected = np.load(GOLDEN)[f"logits_{size[0]}x{size[1]}"]
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(r50x1(bit_case.images(*size)), expected, atol=1e-4, rtol=0)


def test_the_stem_pool_pads_with_zeros():
    """Each pooled value is the maximum over its window of the conv output padded with zeros."""
    root = Root(64, "bit", jnp.float32)
    images = bit_case.images(17, 15)
    params = initialise(root, 0, images)
    kernel = standardise(params["params"]["standardized_conv2d"]["kernel"])
    convolved = np.pad(
        conv2d(images, kernel, stride=2, padding=3), ((0, 0), (1, 1), (1, 1), (0, 0))
    )
    pooled = np.asarray(root.apply(params, images))
    assert pooled.shape == (2, 5, 4, 64)
    for i in range(5):
        for j in range(4):
            window = convolved[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            np.testing.assert_allclose(pooled[:, i, j], window.max(axis=(1, 2)), atol=1e-5)
    # Minus infinity as padding would let negative maxima through at the corners.
    assert (convolved[:, 1:3, 1:3].max(axis=(1, 2)) < 0).any()


@pytest.mark.parametrize("mean", [0.0, 10.0, 1000.0])
def test_group_norm_keeps_its_digits_at_large_means(mean):
    generator = np.random.default_rng(0)
    x = (generator.standard_normal((2, 5, 7, 64)) + mean).astype(np.float32)
    got = GroupNorm().apply({"params": {"gamma": jnp.ones(64), "beta": jnp.zeros(64)}}, x)
    grouped = x.astype(np.float64).reshape(2, 35, 32, 2)
    centred = grouped - grouped.mean(axis=(1, 3), keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(axis=(1, 3), keepdims=True) + 1e-5)
    # At mean 1000 float32 input itself has only 6e-5 of resolution; a one-pass variance is off by
    # more than 1 there.
    np.testing.assert_allclose(
        got, expected.reshape(x.shape), atol=max(2e-6, 1e-6 * mean), rtol=0
    )


def test_weight_standardisation_in_float64():
    kernel = np.random.default_rng(0).standard_normal((3, 3, 5, 6)) * 1e-3 + 0.2
    centred = kernel - kernel.mean(axis=(0, 1, 2))
    expected = centred / np.sqrt((centred**2).mean(axis=(0, 1, 2)) + 1e-10)
    np.testing.assert_allclose(standardise(jnp.float32(kernel)), expected, atol=2e-4)
    # eps 1e-10 and not 1e-5: at this scale of weights 1e-5 would shrink everything by 3.
    assert abs(float(standardise(jnp.float32(kernel)).std()) - 1) < 1e-3


@pytest.mark.parametrize(
    ("name", "count"), [("r50x1", 23_500_352), ("r152x2", 232_238_208)]
)
def test_parameter_counts(name, count):
    spec = BiTSpec.from_name(name)
    shapes = jax.eval_shape(
        lambda: BiT(spec).init(jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    )
    assert sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) == count


def test_bfloat16_computes_statistics_in_float32():
    images = bit_case.images(32, 32)
    full = BiTSpec.from_name("r14x0.25", stem="cifar")
    half = BiTSpec.from_name("r14x0.25", stem="cifar", compute_dtype="bfloat16")
    params = initialise(BiT(full), 0, images)
    exact, rounded = (BiT(spec).apply(params, images) for spec in (full, half))
    assert rounded.dtype == jnp.float32
    # Rounding of single convolutions, not the 20% that all-bfloat16 statistics give.
    assert float(jnp.abs(exact - rounded).max()) < 0.06 * float(jnp.abs(exact).max())
    assert float(jnp.abs(exact - rounded).max()) > 0


@pytest.mark.parametrize("stem", ["bit", "cifar", "cifar_stride2"])
def test_odd_sizes_and_stems(stem):
    spec = BiTSpec.from_name("r26x0.25", stem=stem)
    images = bit_case.images(41, 33)
    params = initialise(BiT(spec), 0, images)
    assert BiT(spec).apply(params, images).shape == (2, spec.output_dim)


def test_small_networks_keep_channel_means():
    assert [group_count(c) for c in (16, 32, 64, 256, 2048)] == [4, 8, 32, 32, 32]


def test_host_initialisation_draws_the_declared_distribution():
    spec = BiTSpec.from_name("r14x0.5", stem="cifar")
    images = jnp.zeros((1, 32, 32, 3))
    host = flatten(initialise(BiT(spec), 0, images))
    device = flatten(jax.jit(BiT(spec).init)(jax.random.key(1), images))
    assert host.keys() == device.keys()
    for name, values in host.items():
        assert values.shape == device[name].shape and values.dtype == np.float32
        if values.size > 5000:
            np.testing.assert_allclose(values.std(), device[name].std(), rtol=0.05)
            assert abs(values.mean()) < 0.02
        elif name.endswith(("gamma", "beta")):
            np.testing.assert_array_equal(values, device[name])
    again = flatten(initialise(BiT(spec), 0, images))
    assert all(np.array_equal(values, again[name]) for name, values in host.items())
    other = flatten(initialise(BiT(spec), 1, images))
    kernel = "params/block1/unit01/a/standardized_conv2d/kernel"
    assert not np.array_equal(host[kernel], other[kernel])


def test_grey_images_fill_three_channels():
    grey = jnp.full((1, 2, 2, 1), 0.25)
    np.testing.assert_array_equal(to_bit_input(grey), jnp.full((1, 2, 2, 3), -0.5))


def test_rematerialisation_changes_neither_numbers_nor_names(monkeypatch):
    monkeypatch.setitem(bit.UNITS, 5, (1, 1))
    spec = BiTSpec(5, 0.25, "cifar_stride2")
    images = bit_case.images(16, 16)
    params = initialise(BiT(spec), 0, images)
    found, again = {}, {}
    for remat in REMATS:
        network = BiT(spec, remat)

        def loss(params, network=network):
            return jnp.square(network.apply(params, images)).mean()

        shapes = jax.eval_shape(lambda n=network: n.init(jax.random.key(0), images))
        assert jax.tree.map(jnp.shape, params) == jax.tree.map(lambda x: x.shape, shapes)
        again[remat] = str(jax.make_jaxpr(jax.grad(loss))(params)).count("remat2[")
        if remat != "unit":  # which "stage" holds within it
            found[remat] = jax.jit(jax.value_and_grad(loss))(params)
    # Each of the units, and each of the stages around them.
    assert again["none"] == 0 < again["unit"] < again["stage"]
    np.testing.assert_allclose(found["stage"][0], found["none"][0], rtol=1e-6)
    pairs = zip(*(jax.tree.leaves(gradient) for _, gradient in found.values()), strict=True)
    for one, two in pairs:
        np.testing.assert_allclose(two, one, rtol=0, atol=1e-6 * float(jnp.abs(one).max()))


def test_unknown_rematerialisation_is_refused():
    with pytest.raises(UserError, match="none, unit, stage"):
        BiT(BiTSpec(), "block")


@pytest.mark.parametrize("name", ["r51x1", "resnet50", "r50x0.03", "r50x0"])
def test_unknown_networks_are_refused(name):
    with pytest.raises(UserError):
        BiTSpec.from_name(name)
