"""State dicts of timm's and transformers' BiT networks, as safetensors, in."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from remedis_jax.errors import UserError
from remedis_jax.models.bit import UNITS, BiTSpec
from remedis_jax.weights.architecture import encoder_card
from remedis_jax.weights.artifact import flatten, unflatten
from remedis_jax.weights.contract import Contract
from remedis_jax.weights.file_kinds import file_kind, refuse_other_kinds
from remedis_jax.weights.pytorch.layouts import Layout, from_torch, layout_of, match_state
from remedis_jax.weights.pytorch.preprocessing import contract_of_hf, contract_of_timm

WEIGHTS_NAME, CONFIG_NAME = "model.safetensors", "config.json"
PREPROCESSOR_NAME = "preprocessor_config.json"
# Key of config.json under which our own exports keep what the library has no field for.
OWN_KEY = "remedis_jax"
# ours 1e-10 (bit), timm's resnetv2_*_bit and transformers 1e-8.
_OUR_EPS, _THEIR_EPS = 1e-10, 1e-8
# bit: the sizes of ImageNet-21k heads, which were trained with one sigmoid a class.
_IMAGENET_21K = (21841, 21843)
_MAX_JSON = 16 * 2**20

# What our network computes; a config that says otherwise is another network.
_HF_FIXED = {
    "model_type": "bit",
    "layer_type": "preactivation",
    "num_channels": 3,
    "hidden_act": "relu",
    "global_padding": None,
    "num_groups": 32,
    "embedding_dynamic_padding": False,
    "output_stride": 32,
}


def import_torch(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads a BiT state dict of timm or transformers.

    Args:
        path: A .safetensors file, or a folder with `model.safetensors` and `config.json` as
            `timm` and `save_pretrained` write it.

    Returns:
        Nested float32 parameters ("encoder" and perhaps "head"), and what the files say of them:
        "layout" ("timm" or "hf"), "encoder" and "head" as in a card, "preprocessing" (a contract
        as JSON, None where unknown), "licence" (a name or None) and "notes" (sentences).

    Raises:
        UserError: It is of another kind, of another network, or tensors are missing, left over, or
            not float32.
    """
    path = Path(path)
    weights = _weights_file(path)
    with_config = path.is_dir() or weights.name == WEIGHTS_NAME
    config = _read_json(weights.parent / CONFIG_NAME) if with_config else None
    state, layout, spec = _read_state(weights)
    params = unflatten(state)
    source = str(weights.parent / CONFIG_NAME)
    notes = []
    if config is None:
        notes.append(
            f"no {CONFIG_NAME} beside the weights: padding and groups are taken to be BiT's, the "
            "preprocessing is unknown"
        )
        contract, config = None, {}
    elif layout == "hf":
        _check_hf_config(config, spec, source)
        contract = _hf_contract(weights.parent / PREPROCESSOR_NAME, spec, notes)
    else:
        _check_timm_config(config, spec, source)
        described = config.get("pretrained_cfg", config)
        contract = contract_of_timm(described, spec.output_dim, source)
        if contract is None:
            notes.append("timm pads images with their mean: no contract can say that")
    contract = _own_contract(config, contract, notes)
    notes.append(standardisation_note(params["encoder"]))
    return params, {
        "layout": layout,
        "encoder": encoder_card(spec),
        "head": _head(params, config, layout, notes),
        "preprocessing": contract and contract.to_json(),
        "licence": config.get("license") or config.get("pretrained_cfg", {}).get("license"),
        "notes": notes,
    }


def _weights_file(path: Path) -> Path:
    if not path.is_dir():
        if not path.is_file():
            raise UserError(f"{path} does not exist.", "Give a safetensors file or a folder.")
        refuse_other_kinds(path)
        return path
    weights = path / WEIGHTS_NAME
    if weights.is_file():
        refuse_other_kinds(weights)
        return weights
    pickles = sorted(
        file.name
        for file in path.iterdir()
        if file.is_file() and file_kind(file) in ("pickle", "torch")
    )
    what = f"only {pickles[0]}, a pickle, which can run any program" if pickles else "no weights"
    raise UserError(
        f"{path} holds no {WEIGHTS_NAME} but {what}."
        if pickles
        else f"{path} holds no {WEIGHTS_NAME}.",
        "Ask for the weights as safetensors, in one file.",
    )


def _read_state(path: Path) -> tuple[dict[str, np.ndarray], Layout, BiTSpec]:
    """Every tensor by our name and in our axes, one at a time."""
    try:
        with safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}
            layout = layout_of(slices, str(path))
            shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
            spec, names = match_state(shapes, layout, str(path))
            for name, part in slices.items():
                if part.get_dtype() != "F32":
                    raise UserError(
                        f"{path}: {name} is stored as {part.get_dtype()} and not as F32.",
                        "Save the model in float32 (model.float()) if that is meant.",
                    )
            state = {
                ours: from_torch(file.get_tensor(theirs), ours) for ours, theirs in names.items()
            }
    except SafetensorError as error:
        raise UserError(
            f"{path} is not a readable safetensors file ({error}).", "Copy or download it again."
        ) from error
    return state, layout, spec


def _read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object, or None where there is no such file."""
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > _MAX_JSON:
            raise ValueError(f"{path.stat().st_size:,} bytes")
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("no object")
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is no JSON description ({error}).", "Restore it.") from error
    return values


def _check_hf_config(config: Mapping[str, Any], spec: BiTSpec, source: str) -> None:
    wanted = dict(_HF_FIXED) | {"depths": list(UNITS[spec.depth])}
    defaults = {"depths": [3, 4, 6, 3]} | _HF_FIXED
    for key, value in wanted.items():
        found = config.get(key, defaults[key])
        if found != value:
            raise UserError(
                f"{source}: {key} is {found!r}, where the network of this project and of its "
                f"tensors has {value!r}.",
                "Only BiT's own pre-activation networks come in.",
            )


def _hf_contract(path: Path, spec: BiTSpec, notes: list[str]) -> Contract | None:
    config = _read_json(path)
    contract = None
    if config is not None:
        contract = contract_of_hf(config, spec.output_dim, str(path))
    if contract is None:
        notes.append(f"no {PREPROCESSOR_NAME} that resizes: the preprocessing is unknown")
    return contract


def _check_timm_config(config: Mapping[str, Any], spec: BiTSpec, source: str) -> None:
    name = config.get("architecture")
    wanted = timm_architecture(spec)
    if name is not None and name != wanted:
        raise UserError(
            f"{source}: the architecture is {name!r}, but the tensors are those of "
            f"{wanted or spec.name!r}.",
            "Only timm's resnetv2_*_bit networks come in.",
        )
    changed = {k: v for k, v in (config.get("model_args") or {}).items() if k != "num_classes"}
    if changed:
        raise UserError(
            f"{source}: model_args {sorted(changed)} change the network.",
            "Only timm's resnetv2_*_bit networks as they are come in.",
        )


def timm_architecture(spec: BiTSpec) -> str | None:
    """The name under which timm registers a network, None where it does not."""
    published = {(50, 1), (50, 3), (101, 1), (101, 3), (152, 2), (152, 4)}
    if (spec.depth, spec.width) not in published:
        return None
    return f"resnetv2_{spec.depth}x{spec.width:g}_bit"


def _own_contract(
    config: Mapping[str, Any], described: Contract | None, notes: list[str]
) -> Contract | None:
    """The contract that our own export left in config.json, where nothing contradicts it."""
    own = config.get(OWN_KEY)
    if not isinstance(own, Mapping) or "preprocessing" not in own:
        return described
    contract = Contract.from_json(own["preprocessing"])
    if described is None or described.value_range == contract.value_range:
        notes.append("the preprocessing contract is the one that this project exported")
        return contract
    notes.append(
        f"the contract under {OWN_KEY!r} has another value range than the library's own "
        "description, which counts"
    )
    return described


def _head(
    params: Mapping[str, Any], config: Mapping[str, Any], layout: Layout, notes: list[str]
) -> dict[str, Any] | None:
    if "head" not in params:
        return None
    count = len(params["head"]["dense"]["bias"])
    if layout == "hf":
        labels = config.get("id2label") or {}
        classes = [labels.get(str(index)) for index in range(count)]
    else:
        described = config.get("pretrained_cfg", {})
        classes = list(config.get("label_names") or described.get("label_names") or ())
    if len(classes) != count or not all(isinstance(name, str) for name in classes):
        classes = [str(index) for index in range(count)]
        notes.append("the classes have no names: they are called by their numbers")
    own = config.get(OWN_KEY)
    own = own if isinstance(own, Mapping) else {}
    kinds = {"multi_label_classification": "sigmoid", "single_label_classification": "softmax"}
    kind = own.get("kind") or kinds.get(config.get("problem_type"))
    if kind not in ("softmax", "sigmoid"):
        kind = "sigmoid" if count in _IMAGENET_21K else "softmax"
        notes.append(f"whether classes exclude each other is not stated: taken to be {kind}")
    # Our exports divide the head by the temperature, as the libraries have no field for it.
    calibrated = own.get("calibrated") is True
    return {"kind": kind, "classes": classes, "temperature": 1.0 if calibrated else None}


def standardisation_note(encoder: Mapping[str, Any]) -> str:
    """How much the other epsilon of weight standardisation changes an encoder, in words.

    It matters for kernels whose standard deviation is below about 0.01: at 0.001 logits of order
    one differ by 0.01 in an R50x1.
    """
    largest = 0.0
    for name, kernel in flatten(encoder).items():
        if name.endswith("kernel"):
            variance = kernel.reshape(-1, kernel.shape[-1]).var(axis=0, dtype=np.float64)
            ours, theirs = (np.sqrt(variance / (variance + e)) for e in (_OUR_EPS, _THEIR_EPS))
            largest = max(largest, float(np.max(ours - theirs)))
    return (
        f"weights are standardised with eps {_OUR_EPS:g} (bit) where PyTorch's networks have "
        f"{_THEIR_EPS:g}: kernels of these weights differ by up to {largest:.1g} of their size"
    )
