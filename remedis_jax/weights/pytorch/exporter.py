"""Weights out in a layout that PyTorch users load: timm's or Hugging Face transformers'."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from remedis_jax.errors import UserError
from remedis_jax.models.bit import UNITS, BiTSpec
from remedis_jax.weights.architecture import HEAD_BIAS, HEAD_KERNEL, encoder_spec
from remedis_jax.weights.artifact import Artifact, flatten
from remedis_jax.weights.contract import Contract
from remedis_jax.weights.exports.folder import complete_folder
from remedis_jax.weights.exports.outputs import temperature
from remedis_jax.weights.exports.parity import compare_outputs
from remedis_jax.weights.exports.readme import readme
from remedis_jax.weights.exports.worker_process import run_worker
from remedis_jax.weights.pytorch.importer import (
    CONFIG_NAME,
    OWN_KEY,
    PREPROCESSOR_NAME,
    WEIGHTS_NAME,
    standardisation_note,
    timm_architecture,
)
from remedis_jax.weights.pytorch.layouts import (
    LAYOUTS,
    Layout,
    check_expressible,
    to_torch,
    torch_names,
)
from remedis_jax.weights.pytorch.preprocessing import (
    differences,
    hf_preprocessing,
    timm_preprocessing,
)

PYTHON_VARIABLE = "REMEDIS_TORCH_PYTHON"


def export_torch(
    artifact: Artifact,
    out: Path,
    layout: Layout,
    *,
    images: np.ndarray,
    expected: Mapping[str, np.ndarray],
    tolerance: float,
    python: str | os.PathLike | None = None,
) -> dict[str, Any]:
    """Writes a folder that timm or transformers loads, once PyTorch has shown that it is right.

    The files are `model.safetensors`, `config.json` and `README.md`, for transformers also
    `preprocessor_config.json`. A calibrated head is divided by its temperature, so that softmax
    (or sigmoid) of the logits gives the calibrated probabilities.

    Args:
        artifact: Weights and card.
        out: Folder to make.
        layout: "timm" or "hf".
        images: float32 [N, H, W, 3] in [0, 1] to compare on.
        expected: Our outputs of them, as `outputs.expected_outputs` gives them.
        tolerance: See `parity.compare_outputs`.
        python: Interpreter with PyTorch and the library; by default the one that
            REMEDIS_TORCH_PYTHON names, or this one.

    Returns:
        The parity figures of `compare_outputs`, "versions" of PyTorch and the library, and "notes"
        on what their description of the preprocessing leaves out.

    Raises:
        UserError: The library cannot express the network, or is not installed.
        RunFailed: What it computes is something else; nothing is left behind.
        OSError: The folder cannot be written.
    """
    if layout not in LAYOUTS:
        raise UserError(f"There is no layout {layout!r}.", f"Use {' or '.join(LAYOUTS)}.")
    spec = encoder_spec(artifact.card)
    check_expressible(spec, layout)
    with complete_folder(out) as folder:
        _write_weights(folder / WEIGHTS_NAME, artifact, spec, layout)
        describe(folder, artifact, layout)
        wanted = dict(expected)
        if "logits" in wanted:
            wanted["logits"] = wanted["logits"] / np.float32(temperature(artifact.card["head"]))
        report, found = run_worker(
            "pytorch/worker.py",
            {"folder": str(folder), "layout": layout},
            {"images": images},
            extra="torch",
            variable=PYTHON_VARIABLE,
            python=python,
        )
        hint = f"Nothing was kept. {standardisation_note(artifact.params['encoder'])}."
        parity = compare_outputs(f"{layout} export", found, wanted, tolerance, hint=hint)
    contract = Contract.from_json(artifact.card["preprocessing"])
    return parity | {"versions": report["versions"], "notes": differences(contract, layout)}


def torch_state(artifact: Artifact, spec: BiTSpec, layout: Layout) -> dict[str, np.ndarray]:
    """Their names -> arrays in their axes; a calibrated head divided by its temperature."""
    head = artifact.card["head"]
    names = torch_names(spec, layout, head=head is not None)
    flat = flatten(artifact.params)
    scale = np.float32(temperature(head)) if head else np.float32(1)
    divided = {f"head/{HEAD_KERNEL}", f"head/{HEAD_BIAS}"}
    return {
        theirs: to_torch(flat[ours] / scale if ours in divided else flat[ours], layout)
        for ours, theirs in names.items()
    }


def describe(folder: Path, artifact: Artifact, layout: Layout) -> None:
    """Writes what lies beside the weights: the library's configs and README.md."""
    spec = encoder_spec(artifact.card)
    contract = Contract.from_json(artifact.card["preprocessing"])
    write = _describe_timm if layout == "timm" else _describe_hf
    code = write(folder, artifact, spec, contract)
    notes = differences(contract, layout)
    text = readme(artifact, contract, code, scales=False, notes=notes)
    (folder / "README.md").write_text(text, encoding="utf-8")


def _write_weights(path: Path, artifact: Artifact, spec: BiTSpec, layout: Layout) -> None:
    try:
        # transformers asks for this entry.
        save_file(torch_state(artifact, spec, layout), path, metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(str(error)) from error


def _describe_timm(folder: Path, artifact: Artifact, spec: BiTSpec, contract: Contract) -> str:
    """Writes timm's config.json; returns the lines of Python that load the folder."""
    classes = _classes(artifact)
    architecture = timm_architecture(spec)
    build = {"layers": list(UNITS[spec.depth]), "width_factor": spec.width, "stem_type": "fixed"}
    side = contract.size
    for _ in range(5):
        side = (side + 1) // 2
    config = {
        "architecture": architecture,
        "num_classes": len(classes),
        "num_features": spec.output_dim,
        "global_pool": "avg",
        "label_names": classes,
        "pretrained_cfg": {
            **timm_preprocessing(contract),
            "num_classes": len(classes),
            "pool_size": [side, side],
            "first_conv": "stem.conv",
            "classifier": "head.fc",
            "license": _licence(artifact),
        },
        OWN_KEY: _own(artifact) | ({} if architecture else {"timm.models.resnetv2": build}),
    }
    _write_json(folder / CONFIG_NAME, config)
    if architecture:
        return (
            "# pip install timm safetensors\n"
            "import timm\n\n"
            'model = timm.create_model("local-dir:THIS_FOLDER", pretrained=True).eval()\n'
            "# From the weights alone, with timm's default preprocessing:\n"
            f'# timm.create_model("{architecture}", num_classes={len(classes)},\n'
            f'#                   checkpoint_path="{WEIGHTS_NAME}")\n'
            "transform = timm.data.create_transform(\n"
            "    **timm.data.resolve_model_data_config(model))"
        )
    arguments = ", ".join(f"{name}={value!r}" for name, value in build.items())
    return (
        "# pip install timm safetensors\n"
        "from functools import partial\n"
        "from safetensors.torch import load_file\n"
        "from timm.layers import StdConv2d\n"
        "from timm.models.resnetv2 import ResNetV2\n\n"
        f"model = ResNetV2({arguments}, num_classes={len(classes)},\n"
        "                 conv_layer=partial(StdConv2d, eps=1e-8))\n"
        f'model.load_state_dict(load_file("{WEIGHTS_NAME}"), strict=True)\n'
        "model.eval()"
    )


def _describe_hf(folder: Path, artifact: Artifact, spec: BiTSpec, contract: Contract) -> str:
    """Writes transformers' two configs; returns the lines of Python that load the folder."""
    classes, head = _classes(artifact), artifact.card["head"]
    name = "BitForImageClassification" if classes else "BitModel"
    base = int(64 * spec.width)
    config = {
        "architectures": [name],
        "model_type": "bit",
        "dtype": "float32",
        "num_channels": 3,
        # Not width_factor: transformers leaves it out of its last GroupNorm and its classifier.
        "width_factor": 1,
        "embedding_size": base,
        "hidden_sizes": [base * 4 * 2**stage for stage in range(4)],
        "depths": list(UNITS[spec.depth]),
        "layer_type": "preactivation",
        "hidden_act": "relu",
        "global_padding": None,
        "num_groups": 32,
        "embedding_dynamic_padding": False,
        "output_stride": 32,
        "drop_path_rate": 0.0,
        "license": _licence(artifact),
        OWN_KEY: _own(artifact),
    }
    if classes:
        kinds = {"softmax": "single_label_classification", "sigmoid": "multi_label_classification"}
        config["problem_type"] = kinds[head["kind"]]
        config["id2label"] = {str(index): label for index, label in enumerate(classes)}
        config["label2id"] = {label: index for index, label in enumerate(classes)}
    _write_json(folder / CONFIG_NAME, config)
    _write_json(folder / PREPROCESSOR_NAME, hf_preprocessing(contract))
    return (
        "# pip install torch torchvision transformers\n"
        f"from transformers import AutoImageProcessor, {name}\n\n"
        f'model = {name}.from_pretrained("THIS_FOLDER").eval()\n'
        'processor = AutoImageProcessor.from_pretrained("THIS_FOLDER")'
    )


def _own(artifact: Artifact) -> dict[str, Any]:
    """What the libraries have no field for."""
    head = artifact.card["head"]
    own = {"artifact": artifact.sha256, "preprocessing": artifact.card["preprocessing"]}
    if head is not None:
        own |= {"kind": head["kind"], "calibrated": head.get("temperature") is not None}
    return own


def _classes(artifact: Artifact) -> list[str]:
    head = artifact.card["head"]
    return [] if head is None else list(head["classes"])


def _licence(artifact: Artifact) -> str | None:
    return (artifact.card.get("licence") or {}).get("name")


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
