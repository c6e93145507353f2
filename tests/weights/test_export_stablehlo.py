"""The StableHLO export: what it computes, for whom it runs, and that a wrong one is not kept."""

import re
import subprocess
import sys

import jax
import jax.export
import numpy as np
import pytest

from remedis_jax.errors import RunFailed, UserError
from remedis_jax.models.bit import BiT, BiTSpec
from remedis_jax.weights.artifact import Artifact, flatten, load_artifact
from remedis_jax.weights.exports import stablehlo_export as export_module
from remedis_jax.weights.exports.export import export
from remedis_jax.weights.exports.outputs import expected_outputs
from remedis_jax.weights.exports.parity import compare_outputs
from remedis_jax.weights.exports.stablehlo_export import export_stablehlo, program
from remedis_jax.weights.probe import probe_images
from tests.weights.conftest import make_card, random_params

IMAGES = probe_images(32)
# Reads images from, and writes outputs to, npz files around the lines that the README gives.
WRAPPER = """
import numpy as np, sys
images = np.load("images.npy")
{}
np.savez("outputs.npz", **outputs)
assert not any(name.split(".")[0] in ("remedis_jax", "flax") for name in sys.modules)
"""


@pytest.fixture(scope="module")
def exported(small_artifact, tmp_path_factory):
    """(artefact, folder, what the export returned, our own outputs)."""
    artifact = load_artifact(small_artifact)
    expected = expected_outputs(artifact, IMAGES)
    folder = tmp_path_factory.mktemp("stablehlo") / "made" / "out"
    parity = export_stablehlo(
        artifact,
        folder,
        images=IMAGES,
        expected=expected,
        tolerance=1e-5,
    )
    return artifact, folder, parity, expected


def test_runs_elsewhere_by_the_lines_of_its_readme(exported):
    artifact, folder, parity, expected = exported
    assert parity["images"] == 8 and parity["relative"] <= 1e-5
    assert parity["versions"] == {"jax": jax.__version__}
    assert parity["bytes"] == (folder / "network.stablehlo").stat().st_size < 200_000
    assert load_artifact(folder).sha256 == artifact.sha256
    text = (folder / "README.md").read_text()
    assert artifact.sha256 in text and "squashed to a square" in text
    # Another batch size than that of the export's own check.
    np.save(folder / "images.npy", IMAGES[:3])
    code = WRAPPER.format(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1])
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)
    with np.load(folder / "outputs.npz") as outputs:
        compare_outputs("export", outputs, {k: v[:3] for k, v in expected.items()}, 1e-5)
    assert {path.name for path in folder.parent.iterdir()} == {"out"}


def test_is_for_every_platform_and_batch(exported):
    artifact, folder, _, _ = exported
    network = jax.export.deserialize(bytearray((folder / "network.stablehlo").read_bytes()))
    assert network.platforms == ("cpu", "cuda", "tpu")
    shape = network.in_avals[-1].shape
    assert not isinstance(shape[0], int) and shape[1:] == (32, 32, 3)
    # Parameters are arguments: none of their 200,000 numbers is in the program.
    assert len(network.in_avals) == len(flatten(artifact.params)) + 1


def test_outputs_are_those_of_the_card():
    # Everything that a card can say otherwise: range, last norm, stem, sigmoid, temperature.
    spec = BiTSpec(14, 0.25, "cifar_stride2", "bfloat16", final_norm=False, value_range=(0.0, 1.0))
    params, card = random_params(spec, 2), make_card(spec, 2, 16)
    card["head"] |= {"kind": "sigmoid", "temperature": 0.5}
    images = probe_images(16, count=2)
    artifact = Artifact(params, card, "", "")
    network = jax.export.deserialize(program(artifact, (16, 16)))
    found = jax.jit(network.call)(flatten(params), images)
    full = BiTSpec(14, 0.25, "cifar_stride2", final_norm=False, value_range=(0.0, 1.0))
    features = np.asarray(jax.jit(BiT(full).apply)({"params": params["encoder"]}, images))
    dense = params["head"]["dense"]
    logits = features @ dense["kernel"] + dense["bias"]
    np.testing.assert_allclose(found["features"], features, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["logits"], logits, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found["probabilities"], 1 / (1 + np.exp(-2 * logits)), atol=1e-3)
    card["head"]["kind"] = "ordinal"
    with pytest.raises(UserError, match="'ordinal'"):
        program(artifact, (16, 16))
    card["head"] = None
    assert list(expected_outputs(artifact, images)) == ["features"]


def test_a_wrong_export_is_not_kept(exported, tmp_path, monkeypatch):
    artifact, _, _, expected = exported
    features = expected["features"]
    for wrong, message in (
        ({"features": features + 1e-3}, "features of 8 images differ"),
        ({"features": features[:, :5]}, "features are of shape"),
        ({"attention": features}, "attention are absent"),
        ({"features": np.full_like(features, np.nan)}, "differ from ours by up to nan"),
    ):
        with pytest.raises(RunFailed, match=message):
            compare_outputs("export", expected, wrong, 1e-4)
    # The two slow steps: another test runs them.
    monkeypatch.setattr(export_module, "program", lambda *_: b"program")
    monkeypatch.setattr(export_module, "run_worker", lambda *_, **__: ({"versions": {}}, expected))
    options = {"images": IMAGES, "tolerance": 1e-4}
    with pytest.raises(RunFailed, match="StableHLO export is not the same network"):
        export_stablehlo(
            artifact, tmp_path / "out", expected={"features": features + 1e-3}, **options
        )
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is no folder"):
        export_stablehlo(artifact, tmp_path / "file" / "x", expected=expected, **options)
    with pytest.raises(UserError, match="exists already"):
        export_stablehlo(artifact, tmp_path / "file", expected=expected, **options)


def test_nothing_in_the_current_folder_is_run(tmp_path, monkeypatch, small_artifact):
    """Somebody who exports inside a downloaded folder must not run what lies there."""
    canary = tmp_path / "canary"
    for name in ("runpy", "numpy", "json", "jax"):
        code = f"open({str(canary)!r}, 'w').close()\nraise SystemExit(0)\n"
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    parity = export(load_artifact(small_artifact), "stablehlo", "out")
    assert parity["images"] == 8 and (tmp_path / "out" / "network.stablehlo").is_file()
    assert not canary.exists()
