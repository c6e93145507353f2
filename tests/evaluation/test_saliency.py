"""Maps against closed forms: linear heads, linear models, and one small network."""

import dataclasses

import jax
import numpy as np
import pytest

from remedis_jax.errors import UserError
from remedis_jax.evaluation.model import embedder
from remedis_jax.evaluation.not_defined import NotDefined
from remedis_jax.evaluation.predict import Output
from remedis_jax.evaluation.saliency import (
    GradCam,
    IntegratedGradients,
    Network,
    explainer,
)
from remedis_jax.evaluation.saliency_check import map_correlation, randomised_head
from remedis_jax.models.bit import BiTSpec
from remedis_jax.models.case_head import HeadSpec
from remedis_jax.training.sharding import make_mesh
from remedis_jax.weights.contract import Contract
from tests.weights.conftest import make_card, random_params

# Without the last GroupNorm the pooled map is also what block4 ends with.
TINY = BiTSpec(14, 0.25, stem="cifar_stride2", final_norm=False)
SIZE, CLASSES = 32, 3
CONTRACT = Contract.from_json(make_card(TINY, CLASSES, size=SIZE)["preprocessing"])
NETWORK = Network(
    TINY, CONTRACT, HeadSpec(CLASSES, pooling="mean"), Output("softmax")
)


@dataclasses.dataclass(frozen=True)
class Plain(Network):
    """A network whose map is the image itself."""

    def seen(self, images):
        return images.reshape(-1, *images.shape[2:])

    def feature_map(self, params, seen):
        return seen


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(1)


@pytest.fixture(scope="module")
def params():
    return random_params(TINY, CLASSES) | {"temperature": np.float32(2)}


@pytest.fixture(scope="module")
def batch():
    """A case of two images, and one of one whose other place holds nothing that may count."""
    images = np.random.default_rng(0).integers(0, 256, (2, 2, SIZE, SIZE, 3), dtype=np.uint8)
    mask = np.array([[True, True], [True, False]])
    return {"images": images, "mask": mask, "classes": np.array([-1, 1], np.int32)}


def explain(network, method, mesh, params, batch):
    return jax.device_get(explainer(network, method, mesh)(params, batch))


def test_grad_cam_of_a_linear_head_is_its_column_over_the_places(mesh, params, batch):
    found = explain(NETWORK, GradCam(), mesh, params, batch)
    images = batch["images"].reshape(-1, SIZE, SIZE, 3)
    run = embedder(TINY, CONTRACT, mesh, pool=False)
    maps = np.asarray(run(params["encoder"], images))
    maps = maps.reshape(2, 2, *maps.shape[1:])
    kernel, bias = params["head"]["dense"]["kernel"], params["head"]["dense"]["bias"]
    places = maps.shape[2] * maps.shape[3]
    for case, count in enumerate(batch["mask"].sum(axis=1)):
        features = maps[case, :count].mean(axis=(0, 1, 2))
        scores = features @ kernel + bias
        target = scores.argmax() if case == 0 else 1
        assert found["classes"][case] == target
        np.testing.assert_allclose(found["scores"][case], scores, atol=1e-4, rtol=1e-5)
        expected = maps[case, :count] @ (kernel[:, target] / (places * count))
        np.testing.assert_allclose(
            found["maps"][case, :count], np.maximum(expected, 0), atol=1e-5, rtol=1e-5
        )
        # Before the ReLU it sums to the score less the bias.
        assert expected.sum() == pytest.approx(scores[target] - bias[target], abs=1e-4)
        p = np.exp(scores / 2 - (scores / 2).max())
        np.testing.assert_allclose(found["p"][case], p / p.sum(), atol=1e-5)
    assert (found["maps"][1, 1] == 0).all() and found["maps"][0].any()
    np.testing.assert_allclose(found["seen"], batch["images"] / 255, atol=1e-6)


def test_a_block_is_met_where_it_ends(mesh, params, batch):
    pooled = explain(NETWORK, GradCam(), mesh, params, batch)
    block = explain(NETWORK, GradCam("block4"), mesh, params, batch)
    np.testing.assert_allclose(block["maps"], pooled["maps"], atol=1e-6)


def linear(kind="softmax", head=None):
    head = head or HeadSpec(2)
    return Plain(TINY, CONTRACT, head, Output(kind))


def test_integrated_gradients_of_a_linear_model_are_exact(mesh):
    generator = np.random.default_rng(1)
    images = generator.random((3, 1, 4, 4, 3), dtype=np.float32)
    kernel = generator.normal(size=(3, 2)).astype(np.float32)
    dense = {"kernel": kernel, "bias": np.ones(2, np.float32)}
    given = {"encoder": {}, "head": {"dense": dense}, "temperature": np.float32(1)}
    batch = {
        "images": images, "mask": np.ones((3, 1), bool), "classes": np.array([0, 1, 1], np.int32)
    }  # fmt: skip
    found = explain(linear(), IntegratedGradients(steps=3), mesh, given, batch)
    for row, target in enumerate(batch["classes"]):
        expected = (images[row, 0] + 1) @ kernel[:, target] / 16  # black is -1
        np.testing.assert_allclose(found["maps"][row, 0], expected, atol=1e-6)
    np.testing.assert_allclose(found["gap"], 0, atol=1e-5)


def test_grad_cam_goes_through_a_hidden_layer_and_of_survival_explains_the_risk(mesh):
    generator = np.random.default_rng(2)
    images = generator.random((1, 1, 2, 2, 3), dtype=np.float32)
    layers = {"hidden": (3, 5), "dense": (5, 1)}
    head = {
        name: {"kernel": generator.normal(size=shape).astype(np.float32),
               "bias": np.zeros(shape[1], np.float32)}
        for name, shape in layers.items()
    }  # fmt: skip
    given = {"encoder": {}, "head": head, "temperature": np.float32(1)}
    batch = {"images": images, "mask": np.ones((1, 1), bool), "classes": np.zeros(1, np.int32)}
    spec = HeadSpec(1, layers="mlp", hidden=5)
    hidden = images[0, 0].mean(axis=(0, 1)) @ head["hidden"]["kernel"]
    gradient = head["hidden"]["kernel"] @ ((hidden > 0) * head["dense"]["kernel"][:, 0]) / 4
    logit = np.maximum(hidden, 0) @ head["dense"]["kernel"][:, 0]
    found = explain(linear("sigmoid", spec), GradCam(), mesh, given, batch)
    expected = np.maximum(images[0, 0] @ gradient, 0)
    np.testing.assert_allclose(found["maps"][0, 0], expected, atol=1e-6)
    # One interval: the risk is sigmoid(logit), and its slope p (1 - p).
    network = Plain(TINY, CONTRACT, spec, Output("discrete_time", (1.0,), 1.0))
    found = explain(network, GradCam(), mesh, given, batch)
    risk = 1 / (1 + np.exp(-logit))
    np.testing.assert_allclose(found["scores"][0, 0], risk, atol=1e-6)
    np.testing.assert_allclose(found["maps"][0, 0], expected * risk * (1 - risk), atol=1e-6)


def test_integrated_gradients_are_complete_up_to_the_gap_they_report(mesh):
    generator = np.random.default_rng(4)
    head = {
        name: {"kernel": generator.normal(size=shape).astype(np.float32),
               "bias": generator.normal(size=shape[1]).astype(np.float32)}
        for name, shape in {"hidden": (3, 6), "dense": (6, 2)}.items()
    }  # fmt: skip
    given = {"encoder": {}, "head": head, "temperature": np.float32(1)}
    network = linear(head=HeadSpec(2, "mlp", hidden=6, pooling="mean"))
    images = (3 * generator.normal(size=(2, 2, 4, 4, 3))).astype(np.float32)
    mask = np.array([[True, True], [True, False]])
    batch = {"images": images, "mask": mask, "classes": np.array([0, 1], np.int32)}

    def score(case, target):
        hidden = case.mean(axis=(0, 1, 2)) @ head["hidden"]["kernel"] + head["hidden"]["bias"]
        dense = head["dense"]
        return np.maximum(hidden, 0) @ dense["kernel"][:, target] + dense["bias"][target]

    gaps = []
    for steps in (2, 512):
        found = explain(network, IntegratedGradients(steps=steps), mesh, given, batch)
        for row, count in enumerate((2, 1)):
            case = images[row, :count]
            difference = score(case, row) - score(np.full_like(case, -1), row)
            assert found["difference"][row] == pytest.approx(difference, abs=1e-4)
            total = found["maps"][row].sum()
            assert total == pytest.approx(difference + found["gap"][row], abs=1e-4)
        assert (found["maps"][1, 1] == 0).all()
        gaps.append(np.abs(found["gap"]).max())
    assert gaps[0] > 0.1 > 0.02 > gaps[1]


def test_blurred_baseline_keeps_an_even_image():
    even = np.full((1, 20, 20, 3), 0.3, np.float32)
    blurred = IntegratedGradients("blurred").starts(even, -1.0)
    np.testing.assert_allclose(blurred, even, atol=1e-6)


def test_randomised_heads_hold_the_same_numbers_elsewhere(params):
    head = randomised_head(params["head"], 0)
    before, after = params["head"]["dense"]["kernel"], head["dense"]["kernel"]
    np.testing.assert_array_equal(np.sort(before, axis=None), np.sort(after, axis=None))
    assert not np.array_equal(before, after)
    first = np.arange(6.0).reshape(2, 3)
    assert map_correlation(first, -(first**3)) == pytest.approx(-1)
    assert isinstance(map_correlation(first, np.zeros((2, 3))), NotDefined)


@pytest.mark.parametrize(
    "make", [lambda: GradCam("block5"), lambda: IntegratedGradients("white"),
             lambda: IntegratedGradients(steps=0)]
)  # fmt: skip
def test_settings_that_are_refused(make):
    with pytest.raises(UserError):
        make()
