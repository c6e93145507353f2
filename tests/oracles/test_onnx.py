"""ONNX files compute in onnxruntime what we compute."""

import json
import os
import sys

import pytest

from remedis_jax.errors import RunFailed
from remedis_jax.models.bit import BiTSpec
from remedis_jax.weights.architecture import encoder_shapes, head_shapes
from remedis_jax.weights.artifact import Artifact, unflatten
from remedis_jax.weights.exports import onnx_export as export_module
from remedis_jax.weights.exports.onnx_export import PYTHON_VARIABLE, export_onnx
from remedis_jax.weights.exports.outputs import expected_outputs
from remedis_jax.weights.exports.parity import compare_outputs
from remedis_jax.weights.probe import probe_images
from tests.golden.bit_case import CLASSES, draw
from tests.weights.conftest import make_card, random_params

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
PYTHON = os.environ.get(PYTHON_VARIABLE) or sys.executable


def run(folder, images):
    session = onnxruntime.InferenceSession(
        folder / "model.onnx", providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"images": images})))


def random_artifact(name, **card):
    spec = BiTSpec.from_name(name)
    shapes = {f"encoder/{n}": shape for n, shape in encoder_shapes(spec).items()}
    shapes |= {f"head/{n}": shape for n, shape in head_shapes(spec, CLASSES).items()}
    params = unflatten({n: draw(n, shape) for n, shape in shapes.items()})
    return Artifact(params, make_card(spec, CLASSES, 224) | card, "ab" * 32, "")


@pytest.mark.parametrize("name, tolerance, count", [("r50x1", 1e-4, 8), ("r152x2", 5e-4, 1)])
def test_published_sizes(tmp_path, name, tolerance, count):
    artifact = random_artifact(name)
    images = probe_images(224, count=count)
    expected = expected_outputs(artifact, images)
    options = {"images": images, "expected": expected, "tolerance": tolerance}
    out = tmp_path / "out"
    parity = export_onnx(artifact, out, python=PYTHON, **options)
    assert parity["images"] == count and parity["largest"] < tolerance
    assert {path.name for path in out.iterdir()} == {"model.onnx", "README.md"}
    odd = probe_images(97, 75, 3)
    compare_outputs("export", run(out, odd), expected_outputs(artifact, odd), tolerance)
    model = onnx.load(out / "model.onnx", load_external_data=False)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert properties["artifact_sha256"] == artifact.sha256
    assert json.loads(properties["preprocessing"]) == artifact.card["preprocessing"]
    assert json.loads(properties["head"]) == artifact.card["head"]
    onnx.checker.check_model(out / "model.onnx", full_check=True)
    # pytest keeps its folders, and this is a gigabyte.
    (out / "model.onnx").unlink()


SMALL = {
    "narrow": (BiTSpec(14, 0.25), {}),
    "cifar": (BiTSpec(14, 0.5, "cifar"), {"kind": "sigmoid", "temperature": 2.5}),
    "stride": (BiTSpec(26, 0.25, "cifar_stride2", "bfloat16"), {"temperature": 0.5}),
    "remedis": (BiTSpec(14, 1, final_norm=False, value_range=(0.0, 1.0)), None),
}


@pytest.mark.parametrize("spec, head", SMALL.values(), ids=SMALL)
@pytest.mark.parametrize("outside", [False, True])
def test_whatever_a_card_says(tmp_path, monkeypatch, spec, head, outside):
    if outside:
        monkeypatch.setattr(export_module, "LARGEST_IN_ONE_FILE", 0)
    classes = 0 if head is None else 3
    card = make_card(spec, classes, 32)
    card["head"] = card["head"] and card["head"] | head
    artifact = Artifact(random_params(spec, classes), card, "ab" * 32, "")
    images = probe_images(32)
    expected = expected_outputs(artifact, images)
    out = tmp_path / "out"
    options = {"images": images, "tolerance": 1e-4, "python": PYTHON}
    export_onnx(artifact, out, expected=expected, **options)
    assert (out / "model.onnx.data").exists() == outside
    found = run(out, images[:3])
    assert list(found) == list(expected)
    compare_outputs("export", found, {k: v[:3] for k, v in expected.items()}, 1e-4)
    with pytest.raises(RunFailed, match="ONNX export is not the same network"):
        wrong = {"features": expected["features"] * 1.01}
        export_onnx(artifact, tmp_path / "wrong", expected=wrong, **options)
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_its_readme_runs(tmp_path, monkeypatch):
    spec = BiTSpec(14, 0.25)
    artifact = Artifact(random_params(spec, 2), make_card(spec, 2, 32), "ab" * 32, "")
    images = probe_images(32)
    expected = expected_outputs(artifact, images)
    options = {"images": images, "expected": expected, "tolerance": 1e-4, "python": PYTHON}
    export_onnx(artifact, tmp_path / "out", **options)
    monkeypatch.chdir(tmp_path / "out")
    code = (tmp_path / "out" / "README.md").read_text().split("```python\n")[1].split("```")[0]
    names = {"images": images[:5]}
    exec(code, names)
    compare_outputs("export", names["outputs"], {k: v[:5] for k, v in expected.items()}, 1e-4)
