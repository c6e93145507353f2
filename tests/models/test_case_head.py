"""Heads on cases: what pooling computes, and that what is masked does not exist."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from remedis_jax.errors import UserError
from remedis_jax.models.case_head import CaseHead, HeadSpec, case_head_shapes, head_spec
from remedis_jax.models.parameters import initialise

WIDTH, PLACES, OUTPUTS = 6, 4, 3
POOLINGS = ("mean", "max", "attention", "concat")


def spec_of(pooling, layers="linear"):
    places = PLACES if pooling == "concat" else 0
    return HeadSpec(OUTPUTS, layers, 5, pooling, 7, places)


@pytest.fixture
def bags():
    """Features [5, 4, 6], of which 4, 1, 2, 3 and 2 are there, and random parameters for a spec."""
    generator = np.random.default_rng(0)
    features = generator.standard_normal((5, PLACES, WIDTH)).astype(np.float32)
    mask = np.array([[1, 1, 1, 1], [0, 0, 1, 0], [1, 0, 0, 1], [1, 1, 1, 0], [0, 1, 1, 0]], bool)
    return features, mask


def params_of(spec):
    shapes = case_head_shapes(spec, WIDTH)
    generator = np.random.default_rng(1)
    tree = {}
    for name, shape in shapes.items():
        *path, last = name.split("/")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[last] = generator.standard_normal(shape).astype(np.float32)
    return tree


def by_hand(spec, params, bag):
    """The head on the images that are there, [n, F], in float64."""
    bag = bag.astype(np.float64)
    if spec.pooling == "mean":
        x = bag.mean(axis=0)
    elif spec.pooling == "max":
        x = bag.max(axis=0)
    elif spec.pooling == "attention":
        part = params["attention"]
        signal = np.tanh(bag @ part["tanh"]["kernel"] + part["tanh"]["bias"])
        gate = 1 / (1 + np.exp(-(bag @ part["sigmoid"]["kernel"] + part["sigmoid"]["bias"])))
        logit = (signal * gate) @ part["weight"]["kernel"][:, 0] + part["weight"]["bias"]
        weights = np.exp(logit - logit.max())
        x = (weights / weights.sum()) @ bag
    if spec.layers == "mlp":
        x = np.maximum(x @ params["hidden"]["kernel"] + params["hidden"]["bias"], 0)
    return x @ params["dense"]["kernel"] + params["dense"]["bias"]


@pytest.mark.parametrize("layers", ["linear", "mlp"])
@pytest.mark.parametrize("pooling", ["mean", "max", "attention"])
def test_pooling_is_that_of_the_images_that_are_there(pooling, layers, bags):
    features, mask = bags
    spec = spec_of(pooling, layers)
    params = params_of(spec)
    got = CaseHead(spec).apply({"params": params}, features, mask)
    expected = [by_hand(spec, params, bag[there]) for bag, there in zip(features, mask)]
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-5)


def test_views_keep_their_places_and_absent_ones_are_zero(bags):
    features, mask = bags
    spec = spec_of("concat")
    params = params_of(spec)
    got = CaseHead(spec).apply({"params": params}, features, mask)
    flat = np.where(mask[..., None], features, 0).reshape(5, -1)
    expected = flat @ params["dense"]["kernel"] + params["dense"]["bias"]
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-5)
    swapped = CaseHead(spec).apply({"params": params}, features[:, ::-1], mask[:, ::-1])
    assert float(jnp.abs(swapped[0] - got[0]).max()) > 0.1


@pytest.mark.parametrize("pooling", POOLINGS)
def test_what_is_masked_has_no_value_and_exactly_zero_gradient(pooling, bags):
    features, mask = bags
    spec = spec_of(pooling, "mlp")
    params = params_of(spec)

    def loss(features):
        return jnp.square(CaseHead(spec).apply({"params": params}, features, mask)).sum()

    spoiled = np.where(mask[..., None], features, np.nan)
    assert float(loss(spoiled)) == float(loss(features))
    gradient = jax.grad(loss)(spoiled)
    assert (np.asarray(gradient)[~mask] == 0).all()
    assert (np.abs(np.asarray(gradient)[mask]).max(axis=-1) > 0).sum() > len(mask)


@pytest.mark.parametrize("pooling", ["mean", "max", "attention"])
def test_the_order_of_images_and_empty_places_change_nothing(pooling, bags):
    features, mask = bags
    spec = spec_of(pooling)
    variables = {"params": params_of(spec)}
    got = CaseHead(spec).apply(variables, features, mask)
    order = np.array([2, 0, 3, 1])
    shuffled = CaseHead(spec).apply(variables, features[:, order], mask[:, order])
    np.testing.assert_allclose(got, shuffled, rtol=1e-5, atol=1e-6)
    wider = np.concatenate([features, np.ones_like(features)], axis=1)
    padded = CaseHead(spec).apply(variables, wider, np.concatenate([mask, mask & False], axis=1))
    np.testing.assert_allclose(got, padded, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pooling", ("none", *POOLINGS))
def test_a_new_head_has_the_named_shapes_and_says_nothing(pooling, bags):
    features, mask = bags
    spec = spec_of(pooling, "mlp")
    if pooling == "none":
        features, mask = features[:, :1], np.ones((5, 1), bool)
    shape = jax.ShapeDtypeStruct(features.shape, "float32")
    params = initialise(CaseHead(spec), 0, shape, jax.ShapeDtypeStruct(mask.shape, "bool"))
    flat = jax.tree_util.tree_flatten_with_path(params["params"])[0]
    found = {"/".join(key.key for key in path): leaf.shape for path, leaf in flat}
    assert found == case_head_shapes(spec, WIDTH)
    # Zero-initialised, as BiT's.
    assert not np.asarray(CaseHead(spec).apply(params, features, mask)).any()


def test_a_card_tells_the_head():
    spec = spec_of("attention", "mlp")
    assert head_spec({"classes": ["a", "b", "c"], "architecture": spec.to_json()}) == spec
    assert head_spec({"classes": ["a", "b"]}) == HeadSpec(2)
    with pytest.raises(UserError, match="not understood"):
        head_spec({"classes": ["a"], "architecture": {"outputs": 1, "colour": "red"}})


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"layers": "deep"}, "objective.head"),
        ({"pooling": "sum"}, "objective.pooling"),
        ({"pooling": "concat"}, "data.views"),
        ({"hidden": 0}, "objective.hidden"),
    ],
)
def test_a_head_that_does_not_exist_is_named(changes, named):
    with pytest.raises(UserError, match=named):
        HeadSpec(2, **changes)
