"""Temperature scaling against scikit-learn's, and from the command to the service's numbers."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.special import softmax
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

import remedis_jax
from remedis_jax.errors import UserError
from remedis_jax.evaluation.calibration import fit_temperature, log_loss
from remedis_jax.weights.artifact import load_artifact, save_artifact
from tests.weights.conftest import SMALL, make_card, random_params


def overconfident(classes: int, n: int = 600):
    """Logits of a model whose true temperature is 2.5."""
    generator = np.random.default_rng(classes)
    logits = 2.5 * generator.standard_normal((n, classes))
    p = softmax(logits / 2.5, axis=1)
    y = (p.cumsum(axis=1) < generator.random((n, 1))).sum(axis=1)
    return logits, y


def test_agrees_with_scikit_learn():
    generator = np.random.default_rng(0)
    x = generator.standard_normal((400, 5))
    y = (x[:, 0] + generator.standard_normal(400) > 0).astype(int)
    # Fitted without regularisation on few rows: overconfident.
    model = LogisticRegression(C=1e6).fit(x[:30], y[:30])
    theirs = CalibratedClassifierCV(FrozenEstimator(model), method="temperature")
    theirs.fit(x[30:], y[30:])
    decision = model.decision_function(x[30:])
    logits = np.stack([np.zeros_like(decision), decision], axis=1)
    ours = fit_temperature(logits, y[30:])
    expected = theirs.predict_proba(x[30:])
    np.testing.assert_allclose(softmax(logits / ours.value, axis=1), expected, atol=2e-4)
    assert ours.log_loss_after < ours.log_loss_before


@pytest.mark.parametrize("classes", [2, 5])
def test_finds_the_temperature_that_the_labels_were_drawn_with(classes):
    fitted = fit_temperature(*overconfident(classes, 20_000))
    assert abs(fitted.value / 2.5 - 1) < 0.05


def test_findings_with_unknown_labels():
    generator = np.random.default_rng(1)
    logits = 3 * generator.standard_normal((5000, 2))
    y = (generator.random(logits.shape) < 1 / (1 + np.exp(-logits / 3))).astype(float)
    whole = fit_temperature(logits, y)
    assert abs(whole.value / 3 - 1) < 0.1
    unknown = generator.random(y.shape) < 0.5
    masked = np.where(unknown, np.nan, y)
    spoilt = np.where(unknown, 100.0, logits)
    assert fit_temperature(spoilt, masked).value == fit_temperature(logits, masked).value
    assert fit_temperature(logits, masked).labels == (~unknown).sum()
    assert log_loss(np.array([[1000.0, 0.0]]), np.array([0])) == 0


def test_nothing_to_calibrate_on():
    with pytest.raises(UserError, match="are the same"):
        fit_temperature(np.zeros((4, 2)), np.zeros(4, int))
    with pytest.raises(UserError, match="perfectly"):
        fit_temperature(np.array([[9.0, 0.0], [0.0, 9.0]]), np.array([0, 1]))


def test_calibrated_weights_predict_calibrated(tmp_path):
    generator = np.random.default_rng(0)
    path, new = tmp_path / "w.safetensors", tmp_path / "calibrated.safetensors"
    save_artifact(path, random_params(SMALL, 3), make_card(SMALL, 3))
    pixels = generator.integers(0, 256, (24, 20, 20, 3), dtype=np.uint8)
    predicted = remedis_jax.load(path).predict(pixels).argmax(axis=1)
    rows = []
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{index}.png")
        # Right three times in four, whatever the confidence.
        label = (predicted[index] + (index % 4 == 0)) % 3
        rows.append({"image": f"{index}.png", "finding": f"class {label}", "split": "val"})
    pd.DataFrame(rows).to_csv(tmp_path / "m.csv", index=False)
    columns = {"label": "finding"}
    fitted = remedis_jax.calibrate(
        tmp_path / "m.csv", path, new, columns=columns, where={"split": "val"}
    )
    assert fitted.value > 1 and fitted.labels == 24
    card = load_artifact(new).card
    assert card["head"]["temperature"] == fitted.value
    assert card["head"]["calibration"]["where"] == {"split": ["val"]}
    assert card["lineage"]["calibrated_from"] == load_artifact(path).sha256
    images = [tmp_path / row["image"] for row in rows]
    before, after = remedis_jax.load(path), remedis_jax.load(new)
    assert after.calibrated and not before.calibrated
    p, q = before.predict(images), after.predict(images)
    powered = p.astype(np.float64) ** (1 / fitted.value)
    np.testing.assert_allclose(q, powered / powered.sum(axis=1, keepdims=True), atol=1e-5)
    with pytest.raises(UserError, match="exists"):
        remedis_jax.calibrate(tmp_path / "m.csv", path, new, columns=columns)
