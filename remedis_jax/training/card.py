"""The card of a run's weights: what they are, what they were made from, under which terms."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from remedis_jax import versions
from remedis_jax.data.dataset import Dataset, reading_of
from remedis_jax.objectives.supervised import label_kind
from remedis_jax.training.build import encoder_of, head_of, takes_cases
from remedis_jax.training.config import to_json
from remedis_jax.weights.architecture import encoder_card
from remedis_jax.weights.artifact import Artifact
from remedis_jax.weights.contract import recipe_contract


def make_card(
    config: ConfigDict, dataset: Dataset, parent: Artifact | None, steps: int
) -> dict[str, Any]:
    """The artefact's card: architecture, preprocessing contract, lineage."""
    data = config.data
    spec = encoder_of(config)
    supervised = config.stage == "supervised"
    return {
        "stage": config.stage,
        "encoder": encoder_card(spec),
        "head": head_card(config, dataset.classes) if supervised else None,
        "preprocessing": recipe_contract(
            reading=reading_of(data, dataset.manifest),
            working_size=data.size,
            fit=data.fit,
            options=config.augment.evaluation.to_dict(),
            size=config.augment.size,
            spec=spec,
        ).to_json(),
        "columns": {name: data[name] for name in ("image", "group", "site", "split")}
        | {"labels": list(data.labels), "case": data.case or data.group, "view": data.view},
        "lineage": {
            "init": None if parent is None else ancestry(parent),
            "manifest_sha256": dataset.manifest.sha256,
            "images": len(dataset),
            "groups": dataset.patients,
            "sites": sites_of(dataset),
        },
        "licence": licence(config.licence, parent),
        "labels_seen_while_training": labels_of_monitor(config),
        "steps": steps,
        "config": to_json(config),
        "versions": versions.versions(),
        "use": "research only, not for clinical use",
    }


def head_card(config: ConfigDict, classes: Sequence[str]) -> dict[str, Any]:
    """The card's description of a classifier, which `models.case_head.head_spec` reads."""
    objective = config.objective
    head: dict[str, Any] = {"kind": label_kind(objective.kind), "classes": list(classes)}
    spec = head_of(config, classes)
    if not spec.is_plain or head["kind"] == "survival":
        head["architecture"] = spec.to_json()
    if takes_cases(config):
        head["case"] = {"images": config.data.case_images, "views": list(config.data.views)}
    if head["kind"] == "survival":
        head["survival"] = {
            "model": objective.kind,
            "horizon": float(objective.horizon),
            "intervals": [float(end) for end in objective.intervals],
        }
    return head


def sites_of(dataset: Dataset) -> list[str] | None:
    """The sites of the training rows; None where no column names them."""
    column = dataset.manifest.columns.site
    return None if column is None else sorted(set(dataset.manifest.column(column)))


def ancestry(parent: Artifact) -> dict[str, Any]:
    """What a card says of the weights that a run started from, and of theirs."""
    card = parent.card
    return {
        "sha256": parent.sha256,
        "stage": card["stage"],
        "licence": card["licence"],
        "parent": card["lineage"]["init"],
    }


def licence(own: str, parent: Artifact | None) -> dict[str, Any]:
    """Under which terms weights stand: those that their maker states, and those of the parent."""
    return {
        "name": own or "not stated by those who trained the weights",
        "inherited": None if parent is None else parent.card["licence"],
    }


def labels_of_monitor(config: ConfigDict) -> dict[str, Any] | None:
    """Which labels the monitor of a self-supervised run reads; None for none."""
    settings = config.monitor
    if config.stage == "supervised" or not (settings.images and settings.manifest):
        return None
    return {
        "manifest": Path(settings.manifest).name,
        "labels": list(settings.labels),
        "where": settings.where.to_dict(),
        "use": "k-NN and linear probe while training; no gradient comes from them",
    }
