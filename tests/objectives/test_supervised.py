"""Supervised losses against scikit-learn, and what masked labels must not do."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.metrics import log_loss

from remedis_jax.augment import get_recipe
from remedis_jax.errors import UserError
from remedis_jax.models import bit
from remedis_jax.models.case_head import HeadSpec
from remedis_jax.objectives.classification import sigmoid_cross_entropy, softmax_cross_entropy
from remedis_jax.objectives.mixup import mixing_share
from remedis_jax.objectives.supervised import Supervised
from remedis_jax.objectives.views import Views
from remedis_jax.training.sharding import batch_sharding, make_mesh, replicated


def test_softmax_agrees_with_scikit_learn():
    generator = np.random.default_rng(0)
    logits = generator.standard_normal((13, 5)).astype(np.float32)
    labels = generator.integers(0, 5, 13)
    expected = log_loss(labels, jax.nn.softmax(logits.astype(np.float64)), labels=range(5))
    np.testing.assert_allclose(softmax_cross_entropy(logits, labels), expected, rtol=1e-6)


def test_sigmoid_agrees_with_scikit_learn_over_known_labels():
    generator = np.random.default_rng(0)
    logits = generator.standard_normal((11, 3)).astype(np.float32)
    labels = generator.integers(0, 2, (11, 3)).astype(np.float32)
    labels[generator.random((11, 3)) < 0.4] = np.nan
    known = ~np.isnan(labels)
    p = 1 / (1 + np.exp(-logits[known].astype(np.float64)))
    expected = log_loss(labels[known], p)
    np.testing.assert_allclose(sigmoid_cross_entropy(logits, labels), expected, rtol=1e-6)


def test_unknown_labels_have_exactly_zero_gradient():
    logits = jnp.array([[0.3, -2.0], [1.0, 4.0]])
    labels = jnp.array([[1.0, jnp.nan], [jnp.nan, 0.0]])
    gradient = jax.grad(sigmoid_cross_entropy)(logits, labels)
    assert float(gradient[0, 1]) == 0.0 and float(gradient[1, 0]) == 0.0
    assert jnp.isfinite(gradient).all() and float(jnp.abs(gradient[0, 0])) > 0


def test_a_soft_label_pulls_towards_its_value():
    logits = jnp.array([[0.3, -2.0], [1.0, 4.0]])
    labels = jnp.array([[0.5, jnp.nan], [0.7, 1.0]])
    gradient = jax.grad(sigmoid_cross_entropy)(logits, labels)
    # d/dz of the cross-entropy is sigmoid(z) - y, here meaned over three known labels.
    expected = (jax.nn.sigmoid(logits) - jnp.nan_to_num(labels)) / 3
    np.testing.assert_allclose(gradient, expected.at[0, 1].set(0.0), rtol=0, atol=1e-7)
    at_value = jax.grad(sigmoid_cross_entropy)(jnp.zeros((1, 1)), jnp.full((1, 1), 0.5))
    assert float(at_value[0, 0]) == 0.0


def test_shares_of_classes_agree_with_whole_ones_and_with_the_formula():
    generator = np.random.default_rng(0)
    logits = jnp.asarray(generator.standard_normal((7, 4)), jnp.float32)
    classes = generator.integers(0, 4, 7)
    np.testing.assert_allclose(
        softmax_cross_entropy(logits, jax.nn.one_hot(classes, 4)),
        softmax_cross_entropy(logits, jnp.asarray(classes)),
        rtol=1e-6,
    )
    shares = jnp.asarray(generator.dirichlet(np.ones(4), 7), jnp.float32)
    value, gradient = jax.value_and_grad(softmax_cross_entropy)(logits, shares)
    np.testing.assert_allclose(
        value, -(shares * jax.nn.log_softmax(logits)).sum(axis=1).mean(), rtol=1e-6
    )
    np.testing.assert_allclose(gradient, (jax.nn.softmax(logits) - shares) / 7, atol=1e-7)


class Pooled:
    """In place of a network: its features are the image's first pixels."""

    def features(self, encoder, images, keys):
        return images[:, None, 0, 0, :], {}


@pytest.mark.parametrize(
    ("labels", "accuracy"),
    [([0, 1, 1], 2 / 3), ([[0.6, 0.4], [0.3, 0.7], [0.5, 0.5]], 1.0)],
    ids=["classes", "shares"],
)
def test_accuracy_counts_the_class_with_most_votes(labels, accuracy):
    objective = Supervised(Pooled(), HeadSpec(2))
    head = {"dense": {"kernel": jnp.eye(2), "bias": jnp.zeros(2)}}
    image = jnp.array([[2.0, 1.0], [1.0, 2.0], [2.0, 1.0]])[:, None, None, :]
    batch = {"image": image, "label": jnp.asarray(labels)}
    _, (_, metrics) = objective.loss({"encoder": {}, "head": head}, {}, batch, None)
    np.testing.assert_allclose(metrics["train_accuracy"], accuracy, rtol=1e-6)


def test_a_batch_without_any_known_label_is_zero_and_not_nan():
    value, gradient = jax.value_and_grad(sigmoid_cross_entropy)(
        jnp.ones((2, 2)), jnp.full((2, 2), jnp.nan)
    )
    assert float(value) == 0.0
    np.testing.assert_array_equal(gradient, np.zeros((2, 2)))


def test_supervised_refuses_unknown_kinds():
    with pytest.raises(UserError, match="hinge"):
        Supervised(None, HeadSpec(2), kind="hinge")


def test_class_weights_agree_with_scikit_learn():
    generator = np.random.default_rng(0)
    logits = generator.standard_normal((13, 5)).astype(np.float32)
    labels, weights = generator.integers(0, 5, 13), generator.uniform(0.2, 4, 5)
    p = jax.nn.softmax(logits.astype(np.float64))
    summed = log_loss(labels, p, labels=range(5), sample_weight=weights[labels], normalize=False)
    got = softmax_cross_entropy(logits, labels, class_weights=jnp.asarray(weights, jnp.float32))
    np.testing.assert_allclose(got, summed / 13, rtol=1e-6)
    shares = jax.nn.one_hot(labels, 5)
    np.testing.assert_allclose(
        softmax_cross_entropy(logits, shares, class_weights=jnp.asarray(weights, jnp.float32)),
        got, rtol=1e-6,
    )  # fmt: skip


def test_weights_of_positives_agree_with_scikit_learn():
    generator = np.random.default_rng(0)
    logits = generator.standard_normal((11, 3)).astype(np.float32)
    labels = generator.integers(0, 2, (11, 3)).astype(np.float32)
    labels[generator.random((11, 3)) < 0.4] = np.nan
    weights = np.array([0.5, 3.0, 7.0], np.float32)
    known = ~np.isnan(labels)
    p = 1 / (1 + np.exp(-logits[known].astype(np.float64)))
    each = np.broadcast_to(weights[None], labels.shape)[known]
    of_label = np.where(labels[known] == 1, each, 1.0)
    summed = log_loss(labels[known], p, sample_weight=of_label, normalize=False)
    got = sigmoid_cross_entropy(logits, labels, class_weights=jnp.asarray(weights))
    np.testing.assert_allclose(got, summed / known.sum(), rtol=1e-6)


def test_focal_factor_agrees_with_optax():
    generator = np.random.default_rng(0)
    logits = jnp.asarray(generator.standard_normal((11, 3)) * 3, jnp.float32)
    labels = jnp.asarray(generator.integers(0, 2, (11, 3)), jnp.float32)

    def theirs(logits):
        return optax.losses.sigmoid_focal_loss(logits, labels, gamma=2.0).mean()

    def ours(logits):
        return sigmoid_cross_entropy(logits, labels, focal_gamma=2.0)

    # Two classes of a softmax are one finding: logit of their difference.
    def as_softmax(logits):
        pairs = jnp.stack([jnp.zeros(33), logits.ravel()], axis=1)
        whole = labels.ravel().astype(jnp.int32)
        return softmax_cross_entropy(pairs, whole, focal_gamma=2.0)

    value, gradient = jax.value_and_grad(theirs)(logits)
    for function in (ours, as_softmax):
        found, slope = jax.value_and_grad(function)(logits)
        np.testing.assert_allclose(found, value, rtol=1e-5)
        np.testing.assert_allclose(slope, gradient, rtol=1e-4, atol=1e-7)


SIZE, PLACES, BATCH = 16, 3, 8
PLAIN = HeadSpec(2)


@pytest.fixture
def make(monkeypatch):
    """(mesh, head, **options) -> objective on a network of one stage, and its parameters."""
    monkeypatch.setitem(bit.UNITS, 5, (1,))

    def objective(mesh, head=PLAIN, micro_batch=0, recipe="finetune", **options):
        encoder = bit.BiTSpec(5, 0.5, "cifar_stride2")
        views = Views(encoder, (get_recipe(recipe),), SIZE, mesh, micro_batch)
        made = Supervised(views, head, **options)
        params = made.init_params(0, (SIZE, SIZE, 3))
        generator = np.random.default_rng(5)
        # A head that starts at zero would hide its input.
        params["head"] = jax.tree.map(
            lambda x: generator.standard_normal(x.shape).astype(np.float32), params["head"]
        )
        return made, params

    return objective


@pytest.fixture
def cases():
    """A batch of cases of 1 to 3 images, and keys."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (BATCH, PLACES, SIZE, SIZE, 3), dtype=np.uint8)
    index = np.arange(BATCH * PLACES, dtype=np.int32).reshape(BATCH, PLACES)
    for row in range(BATCH):
        index[row, 1 + row % PLACES :] = -1
    labels = generator.integers(0, 2, BATCH).astype(np.int32)
    batch = {"image": images, "index": index, "label": labels}
    return batch, jax.random.split(jax.random.key(3), (BATCH, 1))


def value_and_gradient(objective, params, batch, keys, mesh):
    def loss(params, batch, keys):
        return objective.loss(params, {}, batch, keys)[0]

    whole, split = replicated(mesh), batch_sharding(mesh)
    step = jax.jit(
        jax.value_and_grad(loss), in_shardings=(whole, split, split), out_shardings=whole
    )
    compiled = step.lower(params, batch, keys).compile()
    memory = compiled.memory_analysis().temp_size_in_bytes
    return *jax.device_get(compiled(params, batch, keys)), memory


def assert_same(one, other):
    np.testing.assert_allclose(one[0], other[0], rtol=1e-5)
    scale = float(optax.tree.norm(one[1]))
    difference = jax.tree.map(lambda a, b: a - b, one[1], other[1])
    assert float(optax.tree.norm(difference)) < 2e-5 * scale and scale > 0


def test_cases_on_several_devices_and_in_parts_are_those_of_one(make, cases):
    batch, keys = cases
    head = HeadSpec(2, pooling="attention", attention_dim=4)
    results = []
    for devices, part in ((1, 0), (1, 6), (4, 12)):
        mesh = make_mesh(devices)
        objective, params = make(mesh, head, micro_batch=part)
        results.append(value_and_gradient(objective, params, batch, keys, mesh))
    for other in results[1:]:
        assert_same(results[0], other)
    # What is kept for the way back is a quarter of the images and the features of all.
    assert results[1][2] < 0.45 * results[0][2]


def test_places_without_an_image_do_not_count(make, cases):
    batch, keys = cases
    mesh = make_mesh(1)
    objective, params = make(mesh, HeadSpec(2, pooling="mean"))
    loss = jax.jit(lambda batch: objective.loss(params, {}, batch, keys)[0])
    other = batch["image"].copy()
    other[batch["index"] < 0] = 255 - other[batch["index"] < 0]
    assert float(loss(batch | {"image": other})) == float(loss(batch))


def test_features_stand_for_images(make, cases):
    """What a frozen encoder gives for images, given instead of them, is the same loss."""
    batch, keys = cases
    mesh = make_mesh(1)
    objective, params = make(
        mesh, HeadSpec(2, "mlp", 8, "mean"), recipe="eval", freeze="encoder"
    )
    flat = batch["image"].reshape(BATCH * PLACES, SIZE, SIZE, 3)
    some_keys = jax.random.split(jax.random.key(9), (BATCH * PLACES, 1))
    features = objective.views.features(params["encoder"], flat, some_keys)[0]
    given = batch | {"image": features.reshape(BATCH, PLACES, 1, 1, -1)}
    by_images = value_and_gradient(objective, params, batch, keys, mesh)
    by_features = value_and_gradient(objective, params, given, keys, mesh)
    assert_same(by_images, by_features)
    assert float(optax.tree.norm(by_images[1]["encoder"])) == 0.0


def test_mixup_mixes_each_image_with_its_mirror_in_the_batch(make):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (6, SIZE, SIZE, 3), dtype=np.uint8)
    labels = jnp.asarray([0, 1, 1, 0, 0, 1])
    keys = jax.random.split(jax.random.key(3), (6, 1))
    batch = {"image": images, "label": labels, "index": jnp.arange(6)}
    results = []
    for devices in (1, 2):
        mesh = make_mesh(devices)
        objective, params = make(mesh, mixup=0.4, recipe="eval")
        results.append(value_and_gradient(objective, params, batch, keys, mesh))
    assert_same(*results)

    share = float(mixing_share(keys[0, 0], 0.4))
    assert 0.01 < share < 0.99
    # By hand: images before the network, labels as shares.
    views = jax.jit(objective.views._make)(images, keys)
    mixed = share * views + (1 - share) * views[::-1]
    encode = jax.jit(lambda views: objective.views._encode(params["encoder"], views, (0,)))
    features = encode(mixed)[:, 0]
    logits = features @ params["head"]["dense"]["kernel"] + params["head"]["dense"]["bias"][None]
    soft = share * jax.nn.one_hot(labels, 2) + (1 - share) * jax.nn.one_hot(labels[::-1], 2)
    np.testing.assert_allclose(results[0][0], softmax_cross_entropy(logits, soft), rtol=1e-5)


def test_mixing_shares_of_small_alphas_are_numbers_at_both_ends():
    shares = np.array([mixing_share(key, 0.1) for key in jax.random.split(jax.random.key(0), 200)])
    assert np.isfinite(shares).all() and 0 <= shares.min() < 0.01 and 0.99 < shares.max() <= 1


@pytest.mark.parametrize(
    "options, named",
    [
        ({"kind": "cox", "mixup": 0.1}, "mixup"),
        ({"kind": "cox", "class_weights": (1.0,)}, "class weights"),
        ({"mixup": 0.1, "head": HeadSpec(2, pooling="mean")}, "mixup of cases"),
        ({"mixup": 0.1, "micro_batch": 2}, "mixup"),
        ({"focal_gamma": -1.0}, "focal_gamma"),
    ],
)
def test_settings_that_exclude_one_another_are_refused(options, named, make):
    with pytest.raises(UserError, match=named):
        make(make_mesh(1), **options)


def test_a_new_network_of_cases_has_a_head_for_them(make):
    objective, _ = make(make_mesh(1), HeadSpec(2, pooling="concat", places=3))
    head = objective.init_params(0, (SIZE, SIZE, 3))["head"]
    assert head["dense"]["kernel"].shape == (3 * objective.views.encoder.output_dim, 2)
