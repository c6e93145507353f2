"""What `remedis models` prints: the list, and all about one model."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from remedis_jax.errors import UserError
from remedis_jax.report.card_facts import ancestors, licence_names
from remedis_jax.report.tables import print_tables
from remedis_jax.weights.artifact import artifact_path, read_card
from remedis_jax.weights.contract import Contract
from remedis_jax.weights.registry.addresses import location_of, path_of, scheme_of, split_hash
from remedis_jax.weights.registry.checksums import read_record
from remedis_jax.weights.registry.folders import (
    VARIABLE,
    Found,
    find_artifact,
    find_published,
    find_savedmodel,
    models_folders,
)
from remedis_jax.weights.registry.https import shown
from remedis_jax.weights.registry.locate import cached, locate
from remedis_jax.weights.registry.published import MODELS, KnownModel, known_model

_TRUST = "not known here; that of the first download is recorded and compared from then on"


def clean(text: object) -> str:
    """Text from a file for the terminal: what would steer it is shown as '?'."""
    return "".join(c if c.isprintable() else "?" for c in str(text))


def megabytes(size: int) -> str:
    """273_123_456 -> '273 MB'."""
    return f"{size / 1e6:,.{0 if size >= 10e6 else 2}f} MB"


def print_listing(found: Sequence[Found], folders: Sequence[Path]) -> None:
    """Prints the published models and those in the folders."""
    tables = {
        "Published models": pd.DataFrame(
            [
                {
                    "Name": model.name,
                    "Network": model.encoder,
                    "Pixels": f"{model.input_size}",
                    "Size": megabytes(model.size),
                    "Terms": "credentialed" if model.terms.credentialed else model.terms.name,
                    "Here": _presence(model)[0],
                }
                for model in MODELS.values()
            ],
            dtype=str,
        )
    }
    ours = [entry for entry in found if entry.card is not None]
    if ours:
        tables["Models in the folders"] = pd.DataFrame(map(_row, ours), dtype=str)
    print_tables(tables)
    others = [entry for entry in found if entry.card is None]
    if others:
        print(f"{len(others)} other .safetensors in the folders, none of them an artefact:")
    for entry in others:
        print(clean(f"  {entry.problem}"))
    print(f"Folders ({VARIABLE}): {', '.join(clean(folder) for folder in folders)}")
    print("remedis models show NAME tells all about one, and how to get it.")


def as_json(found: Iterable[Found]) -> str:
    """The same for other programs."""
    found = list(found)
    return json.dumps(
        {
            "published": [_published_json(model) for model in MODELS.values()],
            "artefacts": [
                {"name": e.name, **_artifact_json(e.path, e.card, e.sha256)}
                for e in found
                if e.card is not None
            ],
            "other_files": [
                {"path": str(e.path), "problem": e.problem} for e in found if e.card is None
            ],
        },
        indent=1,
    )


def description(reference: str) -> str:
    """All about what a reference means, for people.

    Raises:
        UserError: It means nothing, or its card cannot be read.
    """
    model, path, lines = _resolve(reference)
    blocks = [_lines_of_model(model)] if model else [lines] if lines else []
    if path is not None:
        blocks.append(_lines_of_file(path))
    return "\n\n".join("\n".join(clean(line) for line in block) for block in blocks)


def describe_as_json(reference: str) -> str:
    """All about what a reference means, for other programs; see `description`."""
    model, path, lines = _resolve(reference)
    content: dict[str, Any] = _published_json(model) if model else {}
    if lines:
        content["address"] = shown(split_hash(reference)[0])
    content["path"] = None if path is None else str(path)
    if path is not None and path.suffix == ".safetensors":
        card, sha256 = read_card(path)
        content["artefact"] = _artifact_json(path, card, sha256) | {"card": card}
    return json.dumps(content, indent=1)


def next_step(path: Path) -> str:
    """What to say when a file has been got: where it is, and what it wants before use."""
    if path.suffix == ".npz":
        return f"the file is {path}; import it: remedis import bit {path}"
    try:
        card, sha256 = read_card(artifact_path(path))
    except UserError as error:
        return clean(f"the file is {path}, but no artefact: {error}")
    return clean(f"weights in {path}: {_network(card)}, from {card['stage']}, artefact {sha256}")


def _resolve(reference: str) -> tuple[KnownModel | None, Path | None, list[str]]:
    """A published model, a file that is here, and what is to be said of an address."""
    text, sha256 = split_hash(reference)
    scheme = scheme_of(text)
    if scheme == "file":
        return None, artifact_path(path_of(text)), []
    if scheme is not None:
        location = location_of(text)
        path = cached(location)
        place = models_folders()[0] / location.folder / location.file_name
        return None, path, [
            f"address      {shown(text)}",
            f"asked for    {shown(location.url)}",
            f"SHA-256      {sha256 or _TRUST}",
            f"here         {path or f'no; it would go to {place}'}",
        ]  # fmt: skip
    model = known_model(text)
    if model is None or Path(text).exists():
        path = locate(reference, offline=True)
        return None, artifact_path(path) if path.is_dir() else path, []
    return model, find_artifact(model.name) or find_published(model), []


def _presence(model: KnownModel) -> tuple[str, Path | None]:
    if path := find_artifact(model.name):
        return "yes", path
    if path := find_published(model):
        return "as .npz", path
    if path := find_savedmodel(model):
        return "as SavedModel", path
    return "no", None


def _row(entry: Found) -> dict[str, str]:
    card = entry.card
    return {
        "Name": clean(entry.name),
        "Network": clean(_network(card)),
        "Pixels": clean(_input_size(card)),
        "From": clean(card.get("stage", "not recorded")),
        "Size": megabytes(entry.size),
        "Artefact": entry.sha256[:12],
    }


def _network(card: Mapping[str, Any]) -> str:
    return (card.get("encoder") or {}).get("name", "not recorded")


def _input_size(card: Mapping[str, Any]) -> str:
    return str((card.get("preprocessing") or {}).get("size", "?"))


def _published_json(model: KnownModel) -> dict[str, Any]:
    here, path = _presence(model)
    return {
        "name": model.name,
        "network": model.encoder,
        "input_size": model.input_size,
        "output_dim": model.spec.output_dim,
        "parameters": model.parameters,
        "about_bytes": model.size,
        "classes": model.classes,
        "trained_on": model.trained_on,
        "terms": model.terms.name,
        "credentialed": model.terms.credentialed,
        "url": model.url,
        "doi": model.doi or None,
        "sha256": model.sha256,
        "access": list(model.access()),
        "here": here,
        "path": None if path is None else str(path),
    }


def _artifact_json(path: Path, card: Mapping[str, Any], sha256: str) -> dict[str, Any]:
    return {
        "path": str(path),
        "network": _network(card),
        "input_size": (card.get("preprocessing") or {}).get("size"),
        "stage": card.get("stage"),
        "bytes": path.stat().st_size,
        "sha256": sha256,
        "licence": licence_names([card.get("licence")]),
    }


def _lines_of_model(model: KnownModel) -> list[str]:
    here, path = _presence(model)
    steps = model.access()
    return [
        f"name         {model.name}",
        f"network      {model.encoder} (BiT ResNet-v2), {model.spec.output_dim:,} features",
        f"input        {model.input_size} x {model.input_size} pixels",
        f"trained on   {model.trained_on}",
        f"classifier   {f'{model.classes:,} classes' if model.classes else 'none'}",
        f"size         about {megabytes(model.size)} ({model.parameters:,} parameters)",
        f"terms        {model.terms.name}: {model.terms.text}",
        f"             {model.terms.link}",
        *([f"DOI          {model.doi}"] if model.doi else []),
        *([f"address      {model.url}", f"SHA-256      {model.sha256 or _TRUST}"] if model.url
          else []),
        *([f"note         {model.note}"] if model.note else []),
        f"here         {here}{f', {path}' if path else ''}",
        *_listed("to have it", [f"{n}. {step}" for n, step in enumerate(steps, 1)]
                 if len(steps) > 1 else steps),
    ]  # fmt: skip


def _lines_of_file(path: Path) -> list[str]:
    record = read_record(path)
    lines = [f"file         {path}", f"size         {megabytes(path.stat().st_size)}"]
    if record is not None:
        origin = "named" if record.given else "as at its first download"
        lines.append(f"SHA-256      {record.sha256} ({origin})")
        if record.source:
            lines.append(f"from         {record.source}")
    if path.suffix != ".safetensors":
        return [*lines, f"to use it    remedis import bit {path}"]
    card, sha256 = read_card(path)
    lines += [f"artefact     {sha256}", f"stage        {card.get('stage', 'not recorded')}"]
    encoder, head = card.get("encoder") or {}, card.get("head")
    options = ", ".join(f"{k} {v}" for k, v in encoder.items() if k != "name")
    lines.append(f"network      {_network(card)} ({options})")
    if head:
        classes = ", ".join(map(str, head["classes"][:20]))
        more = f" and {len(head['classes']) - 20:,} more" if len(head["classes"]) > 20 else ""
        lines.append(f"classifier   {head['kind']}: {classes}{more}")
        lines.append(f"calibration  {_calibration(head)}")
    else:
        lines.append("classifier   none")
    contract = Contract.from_json(card.get("preprocessing") or {})
    lines += _listed("contract", contract.sentences())
    lineage = card.get("lineage") or {}
    source = lineage.get("source") or {}
    lines += _listed(
        "imported",
        [f"{word} {source[name]}" for name, word in (
            ("file", "from the file"),
            ("folder", "from the folder"),
            ("sha256", "SHA-256"),
            ("trained_on", "trained on"),
        ) if source.get(name)],
    )  # fmt: skip
    chain = [f"{p.get('stage')}, artefact {p.get('sha256')}" for p in ancestors(card)]
    lines += _listed("comes from", chain)
    lines += _listed(
        "trained on",
        [text.format(lineage[name]) for name, text in (
            ("manifest_sha256", "a manifest with the SHA-256 {}"),
            ("images", "{} images"),
            ("groups", "{} groups"),
        ) if lineage.get(name) is not None],
    )  # fmt: skip
    lines += _listed("licences", list(dict.fromkeys(licence_names([card.get("licence")]))))
    versions = [f"{name} {version}" for name, version in (card.get("versions") or {}).items()]
    return [*lines, *_listed("versions", [", ".join(versions)] if versions else [])]


def _calibration(head: Mapping[str, Any]) -> str:
    temperature = head.get("temperature")
    return "none" if temperature is None else f"temperature {temperature:.4g}"


def _listed(name: str, values: Sequence[str]) -> list[str]:
    return [f"{name if n == 0 else '':13}{value}" for n, value in enumerate(values)]
