"""Published weights as artefacts: each reader's parameters with the card that belongs to them.

The card says what cannot be read off the tensors: preprocessing, licence, where the weights come
from and how that was established. Choices that the publication leaves open are marked "ours".
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from remedis_jax import versions
from remedis_jax.data.dataset import file_sha256
from remedis_jax.data.resample import Resampling
from remedis_jax.errors import UserError
from remedis_jax.models.bit import BiTSpec
from remedis_jax.weights.architecture import encoder_card
from remedis_jax.weights.artifact import flatten
from remedis_jax.weights.bit_npz import read_bit_npz
from remedis_jax.weights.contract import Contract
from remedis_jax.weights.pytorch.importer import import_torch
from remedis_jax.weights.registry.published import (
    APACHE,
    CREDENTIALED,
    MODELS,
    KnownModel,
    Terms,
    known_model,
)
from remedis_jax.weights.savedmodel.importer import import_savedmodel

Imported = tuple[dict[str, Any], dict[str, Any]]

# bit: the upstream networks were trained at 224 pixels.
BIT_SIZE = 224
# official-code: the central 0.875 of the central square, TF2's bicubic without antialias.
REMEDIS_CROP = 0.875
# bit: ImageNet-21k was trained with one sigmoid a class, everything else with a softmax.
IMAGENET_21K = 21843


def import_bit(path: Path, *, size: int | None = None) -> Imported:
    """A BiT .npz as parameters and card.

    The preprocessing is that of big_transfer's evaluation: the image is squashed to the square of
    the network, bilinear, and scaled to [-1, 1].

    Args:
        path: The file; a published name says more about it.
        size: Side of the network's input; that of the published model, or 224, if None.

    Returns:
        Parameters and card.

    Raises:
        UserError: It is no BiT .npz, or not the one that its name says.
    """
    path = Path(path)
    params, spec = read_bit_npz(path)
    known = _published(path)
    side = size or (known.input_size if known else BIT_SIZE)
    classes = params["head"]["dense"]["bias"].size if "head" in params else 0
    if known and known.classes not in (0, classes):
        raise UserError(
            f"{path} has a head of {classes:,} classes where {known.file_name} has "
            f"{known.classes:,}.",
            "The file was renamed or changed; download it again.",
        )
    card = _card(
        "import:bit",
        spec,
        Resampling(side, "squash", kernel="bilinear"),
        head=_head(classes, "sigmoid" if classes == IMAGENET_21K else "softmax"),
        terms=APACHE if known else None,
        source=_file_source(path, known),
    )
    return params, card


def published_name(path: Path) -> str:
    """What a .npz is called here: as in `remedis models` if it was published, else by its file."""
    known = _published(path)
    return known.name if known else path.stem.lower()


def _published(path: Path) -> KnownModel | None:
    return next((model for model in MODELS.values() if model.file_name == path.name), None)


def import_remedis(
    folder: Path,
    *,
    size: int | None = None,
    progress: Callable[[str], None] | None = None,
    **choices: Any,
) -> Imported:
    """A released REMEDIS SavedModel as parameters and card, its reading decided by running it.

    The preprocessing is that of the published notebook: the central 0.875 of the central square,
    bicubic without antialias, values in [0, 1]; grey images are repeated to three channels.

    Args:
        folder: With saved_model.pb; named as published (cxr-50x1-remedis-m, ...), it is known.
        size: Side of the input; that of the published model or of the SavedModel, or 224, if None.
        progress: Called with lines, the parity table among them.
        **choices: `python`, `scaling`, `final_norm`, `output` of `savedmodel.import_savedmodel`.

    Returns:
        Parameters and card.

    Raises:
        UserError: See `savedmodel.import_savedmodel`; or a published name holds another network.
    """
    folder = Path(folder)
    known = known_model(folder.resolve().name)
    imported = import_savedmodel(folder, size=size, progress=progress, **choices)
    spec = imported.spec
    if known and known.encoder != spec.name:
        raise UserError(
            f"{folder} holds a {spec.name}, which its name denies.",
            "The folder was renamed or mixed up; download it again.",
        )
    fixed = imported.decision["input_shape"][1]
    side = size or fixed or (known.input_size if known else BIT_SIZE)
    low, high = imported.decision["value_range"]
    spec = BiTSpec(
        spec.depth, spec.width, final_norm=spec.final_norm, value_range=(float(low), float(high))
    )
    card = _card(
        "import:remedis",
        spec,
        Resampling(side, "crop", REMEDIS_CROP, "bicubic", antialias=False),
        head=None,
        terms=CREDENTIALED if known else None,
        source={
            "folder": folder.resolve().name,
            "sha256": imported.decision["saved_model_sha256"],
            "published": known.name if known else None,
            "trained_on": known.trained_on if known else None,
            "doi": known.doi if known else None,
            "reading": imported.decision,
        },
    )
    return imported.params, card


def import_state_dict(path: Path, *, size: int | None = None) -> Imported:
    """A timm or Hugging Face BiT state dict (safetensors) as parameters and card.

    Args:
        path: The file, or a folder with model.safetensors and config.json.
        size: Side of the network's input, where the files do not say it; 224 if None.

    Raises:
        UserError: See `import_torch.import_torch`; or `size` contradicts the files.
    """
    path = Path(path)
    params, found = import_torch(path)
    if found["preprocessing"] is not None:
        contract = Contract.from_json(found["preprocessing"])
        if size not in (None, contract.size):
            raise UserError(
                f"{path} says that it reads {contract.size} pixels and --size is {size}.",
                "Leave --size out.",
            )
        host, value_range = contract.host, contract.value_range
    else:
        host, value_range = Resampling(size or BIT_SIZE, "squash", kernel="bilinear"), (-1.0, 1.0)
    spec = BiTSpec.from_name(
        found["encoder"]["name"],
        final_norm=found["encoder"]["final_norm"],
        value_range=value_range,
    )
    weights = path / "model.safetensors" if path.is_dir() else path
    card = _card(
        f"import:{found['layout']}",
        spec,
        host,
        head=found["head"],
        terms=None,
        source=_file_source(weights, None) | {"notes": found["notes"]},
    )
    if found["licence"]:
        card["licence"]["name"] = found["licence"]
    return params, card


def describe(params: dict[str, Any], card: dict[str, Any]) -> list[str]:
    """What was imported, in lines for people."""
    count = sum(values.size for values in flatten(params).values())
    head = card["head"]
    classes = f", {len(head['classes']):,} classes ({head['kind']})" if head else ", no classifier"
    lines = [f"network        {card['encoder']['name']}, {count:,} parameters{classes}"]
    if not card["encoder"]["final_norm"]:
        lines.append("features       before the last GroupNorm and ReLU")
    contract = Contract.from_json(card["preprocessing"])
    lines += [
        f"{'preprocessing' if index == 0 else '':<15}{sentence}"
        for index, sentence in enumerate(contract.sentences())
    ]
    return [*lines, f"licence        {card['licence']['name']}"]


def _card(
    stage: str,
    spec: BiTSpec,
    host: Resampling,
    *,
    head: dict[str, Any] | None,
    terms: Terms | None,
    source: dict[str, Any],
) -> dict[str, Any]:
    contract = Contract(
        channels=3,
        to_grey=False,
        host=host,
        device=None,
        size=host.size,
        output_dim=spec.output_dim,
        value_range=spec.value_range,
    )
    licence = {"name": "not known; ask whoever made the file", "inherited": None}
    if terms is not None:
        licence |= {
            "name": terms.name,
            "terms": terms.text,
            "link": terms.link,
            "credentialed": terms.credentialed,
        }
    return {
        "stage": stage,
        "encoder": encoder_card(spec),
        "head": head,
        "preprocessing": contract.to_json(),
        "lineage": {"init": None, "source": source},
        "licence": licence,
        "versions": versions.versions(),
        "use": "research only, not for clinical use",
    }


def _head(classes: int, kind: str) -> dict[str, Any] | None:
    """A published classifier; its files number the classes and do not name them."""
    if not classes:
        return None
    return {"kind": kind, "classes": [str(index) for index in range(classes)], "temperature": None}


def _file_source(path: Path, known: KnownModel | None) -> dict[str, Any]:
    return {
        "file": path.name,
        "sha256": file_sha256(path),
        # No hash was published, so this goes by the file's name, its shapes and its classes.
        "published": known.name if known else None,
        "trained_on": known.trained_on if known else None,
    }
