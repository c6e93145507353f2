"""What we write as a SavedModel is whole, computes what we compute, and is not there otherwise."""

import json
import subprocess

import jax
import numpy as np
import pytest
import tensorflow as tf

from remedis_jax.errors import RunFailed, UserError
from remedis_jax.models.bit import BiT, BiTSpec
from remedis_jax.weights.artifact import flatten
from remedis_jax.weights.savedmodel import process, worker
from remedis_jax.weights.savedmodel.exporter import CARD_PATH, export_savedmodel
from remedis_jax.weights.savedmodel.importer import import_savedmodel

SPEC = BiTSpec.from_name("r14x0.25")
SIDE = 40


def forward(params, images):
    return BiT(SPEC).apply({"params": params}, images * 2 - 1)


@pytest.fixture(scope="module")
def case():
    images = np.random.default_rng(1).random((8, SIDE, SIDE, 3)).astype(np.float32)
    params = jax.jit(BiT(SPEC).init)(jax.random.key(0), images[:1])["params"]
    return params, images, np.asarray(jax.jit(forward)(params, images))


@pytest.fixture
def here(monkeypatch):
    """The worker's work without a new process."""

    def run(command, **options):
        worker.main(command[-1])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(process.subprocess, "run", run)


def test_a_written_model_computes_the_same(tmp_path, case):
    params, images, expected = case
    out = tmp_path / "deep" / "model"
    report = export_savedmodel(
        forward, params, images, out, expected=expected, tolerance=1e-5, card={"é": [1, None]}
    )
    assert report["largest"] <= 1e-5 and report["images"] == 8
    assert report["versions"]["tensorflow"] == tf.__version__ and len(report["sha256"]) == 64
    assert [path.name for path in out.parent.iterdir()] == ["model"]
    assert json.loads((out / CARD_PATH).read_text(encoding="utf-8")) == {"é": [1, None]}

    loaded = tf.saved_model.load(str(out))
    for batch in (1, 3):
        np.testing.assert_allclose(loaded(images[:batch]), expected[:batch], atol=1e-5)
        served = loaded.signatures["serving_default"](images=tf.constant(images[:batch]))
        np.testing.assert_allclose(served["output"], expected[:batch], atol=1e-5)
    with pytest.raises((ValueError, TypeError)):
        loaded(np.zeros([1, SIDE + 1, SIDE, 3], np.float32))
    # Parameters are variables: a graph with constants could not hold the larger networks.
    values = {v.name.removesuffix(":0"): v.numpy() for v in loaded.parameters}
    assert values.keys() == flatten(params).keys()
    for name, value in flatten(params).items():
        np.testing.assert_array_equal(values[name], value)
    size = sum(value.nbytes for value in flatten(params).values())
    assert (out / "saved_model.pb").stat().st_size < size / 4

    # It is a compiled program, which reading does not accept from anyone.
    with pytest.raises(UserError, match="reaches .*XlaCallModule"):
        import_savedmodel(out)


def test_nothing_is_left_of_what_differs(tmp_path, case, here):
    params, images, expected = case
    out = tmp_path / "model"

    def export(expected, tolerance=1e-5):
        export_savedmodel(forward, params, images, out, expected=expected, tolerance=tolerance)

    for wrong, message in (
        (expected + np.float32(1e-3), "its features of 8 images differ from ours by up to 0.001"),
        (expected * np.float32(np.nan), "differ"),
        (expected[:, :5], r"of shape \(8, 512\), ours are of shape \(8, 5\)"),
    ):
        with pytest.raises(RunFailed, match=message):
            export(wrong)
        assert not list(tmp_path.iterdir())
    out.mkdir()
    with pytest.raises(UserError, match="model exists"):
        export(expected)
    assert not list(out.iterdir())
