"""timm and transformers compute what we compute, in both directions.

PyTorch runs in a process of its own, with the interpreter that REMEDIS_TORCH_PYTHON names or this
one. timm needs torchvision, which not every build of PyTorch goes with.
"""

import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from remedis_jax.models.bit import BiTSpec
from remedis_jax.weights.architecture import encoder_shapes, head_shapes
from remedis_jax.weights.artifact import Artifact, flatten, load_artifact, save_artifact, unflatten
from remedis_jax.weights.bit_npz import read_bit_npz, write_bit_npz
from remedis_jax.weights.contract import Contract
from remedis_jax.weights.exports.outputs import expected_outputs, network_function
from remedis_jax.weights.exports.parity import compare_outputs
from remedis_jax.weights.exports.worker_process import run_worker
from remedis_jax.weights.probe import probe_images
from remedis_jax.weights.pytorch.exporter import (
    PYTHON_VARIABLE,
    describe,
    export_torch,
    torch_state,
)
from remedis_jax.weights.pytorch.importer import import_torch
from tests.golden.bit_case import CLASSES, draw
from tests.weights.conftest import make_card, random_params

PYTHON = os.environ.get(PYTHON_VARIABLE) or sys.executable


@functools.cache
def _has(library):
    code = f"import {library}"
    return subprocess.run([PYTHON, "-c", code], capture_output=True).returncode == 0


@pytest.fixture(params=["timm", "hf"])
def layout(request):
    library = {"timm": "timm", "hf": "transformers"}[request.param]
    if not _has(library):
        # Where an environment was made for this, a missing library is no reason to pass.
        assert PYTHON_VARIABLE not in os.environ, f"{PYTHON} cannot import {library}"
        pytest.skip(f"{PYTHON} cannot import {library}")
    return request.param


def run_python(code, folder):
    """Runs lines of Python in PyTorch's environment, in a folder."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [PYTHON, "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def published(name, path):
    """Writes a random BiT .npz; gamma and beta are random too."""
    spec = BiTSpec.from_name(name)
    shapes = {f"encoder/{n}": shape for n, shape in encoder_shapes(spec).items()}
    shapes |= {f"head/{n}": shape for n, shape in head_shapes(spec, CLASSES).items()}
    write_bit_npz(path, unflatten({n: draw(n, shape) for n, shape in shapes.items()}))


@pytest.fixture(
    scope="module",
    params=[("r50x1", 1e-4, 8), ("r152x2", 5e-4, 1)],
    ids=lambda parameters: parameters[0],
)
def through_npz(request):
    """(artefact that came out of a BiT .npz, tolerance, images by size, our outputs of them)."""
    name, tolerance, count = request.param
    # Not tmp_path, which pytest keeps: an R152x2 has a gigabyte in each of the formats.
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        published(name, folder / "published.npz")
        params, spec = read_bit_npz(folder / "published.npz")
        save_artifact(folder / "ours.safetensors", params, make_card(spec, CLASSES, 224))
        del params
        artifact = load_artifact(folder / "ours.safetensors")
    images = {size: probe_images(*size, count) for size in ((224, 224), (97, 75))}
    expected = {size: expected_outputs(artifact, batch) for size, batch in images.items()}
    return artifact, tolerance, images, expected


def test_npz_to_ours_to_safetensors_to_pytorch(through_npz, layout):
    artifact, tolerance, images, expected = through_npz
    square, odd = images
    assert np.abs(expected[square]["logits"]).max() > 1
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "out"
        parity = export_torch(
            artifact,
            folder,
            layout,
            python=PYTHON,
            images=images[square],
            expected=expected[square],
            tolerance=tolerance,
        )
        assert parity["images"] == len(images[square]) and parity["notes"] == []
        _, found = run_worker(
            "pytorch/worker.py",
            {"folder": str(folder), "layout": layout},
            {"images": images[odd]},
            extra="torch",
            variable=PYTHON_VARIABLE,
            python=PYTHON,
        )
        at_odd = compare_outputs("export", found, expected[odd], tolerance)
        # Absolute differences, of logits of order one.
        assert max(parity["largest"], at_odd["largest"]) < tolerance
        back, parts = import_torch(folder)
    assert parts["encoder"] == artifact.card["encoder"]
    ours = flatten(artifact.params)
    for name, values in flatten(back).items():
        np.testing.assert_array_equal(values, ours[name], err_msg=name)


@pytest.mark.parametrize(
    "classes, head, value_range",
    [
        (0, {}, (-1.0, 1.0)),
        (3, {"kind": "sigmoid", "temperature": 2.5}, (0.0, 1.0)),
    ],
)
def test_unpublished_sizes_heads_and_ranges(tmp_path, layout, classes, head, value_range):
    spec = BiTSpec(14, 1.5, value_range=value_range)
    card = make_card(spec, classes, 64)
    card["head"] = card["head"] and card["head"] | head
    artifact = Artifact(random_params(spec, classes), card, "ab" * 32, "")
    images = probe_images(64)
    expected = expected_outputs(artifact, images)
    options = {"python": PYTHON, "images": images, "tolerance": 1e-4}
    parity = export_torch(artifact, tmp_path / "out", layout, expected=expected, **options)
    assert parity["relative"] < 1e-4
    readme = (tmp_path / "out" / "README.md").read_text()
    code = readme.split("```python\n")[1].split("```")[0].replace("THIS_FOLDER", ".")
    run_python(code, tmp_path / "out")
    assert import_torch(tmp_path / "out")[1]["preprocessing"]["value_range"] == list(value_range)


def test_preprocessing_is_the_contract(tmp_path, layout):
    spec = BiTSpec(50, 1)
    artifact = Artifact(random_params(spec, 3), make_card(spec, 3, 96), "ab" * 32, "")
    (tmp_path / "out").mkdir()
    weights = tmp_path / "out" / "model.safetensors"
    save_file(torch_state(artifact, spec, layout), weights, metadata={"format": "pt"})
    describe(tmp_path / "out", artifact, layout)
    smooth = probe_images(20, 31, 1)[0] * 255
    picture = Image.fromarray(smooth.astype(np.uint8)).resize((310, 200), Image.Resampling.BICUBIC)
    picture.save(tmp_path / "out" / "picture.png")
    lines = (tmp_path / "out" / "README.md").read_text().split("```python\n")[1].split("```")[0]
    lines = lines.replace("THIS_FOLDER", ".") + (
        "\nimport numpy as np, torch\n"
        "from PIL import Image\n"
        "image = Image.open('picture.png')\n"
        + (
            "read = transform(image)[None]\n"
            if layout == "timm"
            else "read = processor(image, return_tensors='pt')['pixel_values']\n"
        )
        + "np.save('read.npy', read.numpy())\n"
        "logits = model(read)\n"
        "logits = logits if torch.is_tensor(logits) else logits.logits\n"
        "np.save('logits.npy', logits.detach().numpy())\n"
    )
    run_python(lines, tmp_path / "out")
    contract = Contract.from_json(artifact.card["preprocessing"])
    ours = np.asarray(contract.to_network(contract.prepare(tmp_path / "out" / "picture.png")[None]))
    theirs = np.load(tmp_path / "out" / "read.npy").transpose(0, 2, 3, 1)
    # timm resizes with Pillow, transformers with torchvision, which rounds a little differently.
    atol = 1e-6 if layout == "timm" else 2.1 / 127.5
    np.testing.assert_allclose(theirs, ours, atol=atol)
    outputs = jax.jit(network_function(artifact.card))(artifact.params, (theirs + 1) / 2)
    logits = np.load(tmp_path / "out" / "logits.npy")
    np.testing.assert_allclose(outputs["logits"], logits, atol=1e-4)


MADE_THERE = {
    "timm": """
import json, timm, torch
from safetensors.torch import save_file
model = timm.create_model("resnetv2_50x1_bit", num_classes=5)
save = lambda: save_file(model.state_dict(), "model.safetensors")
logits = lambda x: model(x)
cfg = {k: v for k, v in model.pretrained_cfg.items() if k not in ("state_dict",)}
json.dump({"architecture": "resnetv2_50x1_bit", "num_classes": 5, "pretrained_cfg": cfg},
          open("config.json", "w"))
""",
    "hf": """
from transformers import BitConfig, BitForImageClassification, BitImageProcessor
import torch
config = BitConfig(depths=[3, 4, 6, 3], num_labels=5, id2label={i: "abcde"[i] for i in range(5)})
model = BitForImageClassification(config)
save = lambda: model.save_pretrained(".")
logits = lambda x: model(x).logits
BitImageProcessor(image_mean=[0.5] * 3, image_std=[0.5] * 3).save_pretrained(".")
""",
}
RUN_THERE = """
import numpy as np
torch.manual_seed(0)
with torch.no_grad():
    for parameter in model.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    model.eval()
    save()
    images = torch.from_numpy(np.load("images.npy").transpose(0, 3, 1, 2).copy())
    np.save("logits.npy", logits(images * 2 - 1).numpy())
"""


def test_what_the_libraries_wrote_comes_in(tmp_path, layout):
    images = probe_images(97, 75, 2)
    np.save(tmp_path / "images.npy", images)
    run_python(MADE_THERE[layout] + RUN_THERE, tmp_path)
    params, parts = import_torch(tmp_path)
    assert parts["layout"] == layout and parts["encoder"]["name"] == "r50x1"
    contract = Contract.from_json(parts["preprocessing"])
    assert contract.value_range == (-1.0, 1.0) and contract.size == 224
    assert contract.host.fit == "crop"
    assert contract.host.crop_proportion == {"timm": 0.875, "hf": 1.0}[layout]
    names = {"timm": list("01234"), "hf": list("abcde")}[layout]
    assert parts["head"] == {"kind": "softmax", "classes": names, "temperature": None}
    card = make_card(BiTSpec(50, 1), 5, 224)
    outputs = expected_outputs(Artifact(params, card, "", ""), images)
    np.testing.assert_allclose(outputs["logits"], np.load(tmp_path / "logits.npy"), atol=1e-4)
