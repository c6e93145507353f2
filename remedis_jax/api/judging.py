"""Judging weights as functions: evaluate, calibrate."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from remedis_jax.errors import UserError

Progress = Callable[[int, int], None]


def evaluate(
    manifest: str | Path,
    weights: str | Path,
    out: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    where: Mapping[str, Any] | None = None,
    aggregate: str | None = None,
    label_policy: str | None = None,
    allow_outside: bool = False,
    progress: Progress | None = None,
    announce: Callable[[str], None] = lambda line: None,
    show: bool = False,
    **rules: Any,
) -> Path:
    """Predicts every image of a manifest and scores the predictions.

    Args:
        manifest: CSV or Parquet, a folder, tfds:NAME:SPLIT, or a cache.
        weights: As for `load`.
        out: Folder for `predictions.csv`, `metrics.json` and the report.
        columns: Other column names than those that the weights were trained with: `image`,
            `group`, `label`, `site`, `split`, `case`, `view`; "" for a column that this manifest
            lacks.
        where: Only rows with these values, e.g. {"site": "B", "split": "test"}.
        aggregate: "patient:mean", "patient:max" or "patient:noisy-or" to score patients as well.
        label_policy: What uncertain and empty labels are, see `data.label_policy.parse_policy`;
            None for what the weights were trained with.
        allow_outside: Accept images outside the manifest's folder.
        progress: Called with (done, total).
        announce: Called with lines for the user.
        show: Also print the tables of the report.
        **rules: Fields of `remedis_jax.evaluation.guard.Rules`: namespace, near_duplicates,
            allow_leakage, redact, on_bad_image, max_bad.

    Returns:
        The predictions file.

    Raises:
        UserError: The manifest or the weights cannot be used, or the weights have seen the images.
    """
    from remedis_jax.data.checking import BAD_IMAGES
    from remedis_jax.data.dataset import labelled_once, open_rows, without
    from remedis_jax.data.label_counts import treatment_counts, write_counts
    from remedis_jax.data.label_policy import LabelPolicy
    from remedis_jax.evaluation.aggregate import parse_aggregate, require_possible
    from remedis_jax.evaluation.guard import Rules, guard
    from remedis_jax.evaluation.predict import predictions_of
    from remedis_jax.evaluation.predictions import write_predictions
    from remedis_jax.report.model_card import write_model_card
    from remedis_jax.report.page import report_from_predictions
    from remedis_jax.training.sharding import make_mesh
    from remedis_jax.weights.open import open_weights

    artifact = open_weights(weights)
    head = artifact.card["head"]
    if head is None:
        raise UserError(
            f"{artifact.path} comes from {artifact.card['stage']} and has no classifier.",
            "Fine-tune it first, with config.init set to it.",
        )
    data = data_config(artifact.card, manifest, columns or {}, label_policy)
    data.allow_outside = allow_outside
    if aggregate:
        require_possible(parse_aggregate(aggregate), head["kind"])
        if not data.group:
            raise UserError(
                "No column names the patients whose images are to be taken together.",
                "Name it with --group.",
            )
    rows = open_rows(data, where)
    guarded = guard(artifact, rows, Rules(**rules))
    if guarded.findings.stamp():
        announce(guarded.findings.stamp())
    if guarded.bad:
        announce(f"{len(guarded.bad):,} image(s) are left out; {BAD_IMAGES} lists them")
    dataset = _as_trained(artifact.card, data, without(rows, guarded.skip))
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "predictions.csv"
    write_predictions(path, predictions_of(artifact, dataset, make_mesh(), progress=progress))
    guarded.write(out)
    (out / "weights.json").write_text(
        json.dumps({"path": str(artifact.path), "sha256": artifact.sha256}) + "\n"
    )
    if dataset.spec is not None:
        policy = LabelPolicy.of(data)
        counted = labelled_once(data, dataset.manifest)
        write_counts(out, treatment_counts(counted, dataset.spec, policy))
        report_from_predictions([path], out, aggregate=aggregate, show=show)
        write_model_card(artifact.path, out / "model_card.md", metrics=out / "metrics.json")
    return path


def calibrate(
    manifest: str | Path,
    weights: str | Path,
    out: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    where: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    **rules: Any,
):
    """Fits a temperature on validation data and writes the weights with it.

    Args:
        manifest: CSV or Parquet with labels.
        weights: Weights with a classifier; as for `load`.
        out: The new weights file, ending in .safetensors.
        columns: As for `evaluate`.
        where: The validation rows, e.g. {"split": "val"}.
        progress: Called with (done, total).
        **rules: As for `evaluate`.

    Returns:
        A `remedis_jax.evaluation.calibration.Temperature`.

    Raises:
        UserError: The manifest, the weights or the target cannot be used.
    """
    from remedis_jax.data.checking import groups_of
    from remedis_jax.data.dataset import open_rows, without
    from remedis_jax.data.labels import UNKNOWN, hard_labels
    from remedis_jax.data.seen import after, remember
    from remedis_jax.evaluation.calibration import fit_temperature
    from remedis_jax.evaluation.guard import Rules, guard
    from remedis_jax.evaluation.predict import LOGITS, predict
    from remedis_jax.training.sharding import make_mesh
    from remedis_jax.weights.artifact import save_artifact
    from remedis_jax.weights.open import open_weights

    out = Path(out)
    if out.suffix != ".safetensors" or out.exists():
        raise UserError(
            f"{out} exists or does not end in .safetensors.", "Give a new name for the weights."
        )
    artifact = open_weights(weights)
    card, head = artifact.card, artifact.card["head"]
    if head is None:
        raise UserError(
            f"{artifact.path} comes from {card['stage']} and has no classifier.",
            "Calibrate weights that were fine-tuned.",
        )
    if head["kind"] == "survival":
        raise UserError(
            f"{artifact.path} predicts the risk of survival, which is no class probability.",
            "Temperature scaling is for classes and findings; evaluate these weights as they are.",
        )
    data = data_config(card, manifest, columns or {})
    if not (data.labels or data.readers):
        raise UserError("No label column is named.", "Name it with --label.")
    rows = open_rows(data, where)
    guarded = guard(artifact, rows, Rules(**rules), what="the validation rows")
    dataset = _as_trained(card, data, without(rows, guarded.skip))
    plain = card | {"head": head | {"temperature": None}}
    logits = predict(
        artifact.params, plain, dataset, make_mesh(), output=LOGITS, progress=progress
    )
    labels = hard_labels(dataset.example_labels, dataset.spec)
    known = labels != UNKNOWN if labels.ndim == 1 else np.ones(len(labels), bool)
    fitted = fit_temperature(logits[known], labels[known])
    fit = {
        "method": "temperature scaling",
        "log_loss_before": fitted.log_loss_before,
        "log_loss_after": fitted.log_loss_after,
        "labels": fitted.labels,
        "images": len(dataset),
        "groups": dataset.patients,
        "manifest_sha256": dataset.manifest.sha256,
        "where": {
            key: [value] if isinstance(value, str) else list(value)
            for key, value in (where or {}).items()
        },
    }
    new_head = head | {"temperature": fitted.value, "calibration": fit}
    lineage = card["lineage"] | {"calibrated_from": artifact.sha256}
    # Calibrated on these, the weights must not be judged by them.
    stage = remember(
        "calibration", True, guarded.facts, groups_of(dataset.manifest), salt=rows.sha256,
        namespace=data.namespace, leakage=guarded.findings.summary(),
    )  # fmt: skip
    seen = after(artifact.seen, card["stage"]).then(stage)
    card = {name: value for name, value in card.items() if name != "seen"}
    save_artifact(out, artifact.params, card | {"head": new_head, "lineage": lineage}, seen)
    return fitted


def _as_trained(card: Mapping[str, Any], data: Any, rows: Any):
    """Rows with labels of the classifier's classes (if any are named) and prepared images."""
    from remedis_jax.data.cases import cases_of
    from remedis_jax.data.dataset import Dataset, labels_of
    from remedis_jax.data.labels import LabelSpec
    from remedis_jax.evaluation.prepared import prepared_source
    from remedis_jax.weights.contract import Contract

    head, spec, labels = card["head"], None, None
    if data.labels or data.readers:
        spec = LabelSpec.of(head["kind"], head["classes"], data.labels, data.readers)
        labels, cases = labels_of(data, rows, spec, require_all_classes=False)
    else:
        cases = cases_of(data, rows)
    source = prepared_source(rows, Contract.from_json(card["preprocessing"]))
    return Dataset(rows, source, labels, spec, decodes=True, cases=cases)


def data_config(
    card: dict[str, Any],
    manifest: str | Path,
    columns: Mapping[str, str],
    label_policy: str | None = None,
):
    """The `data` section that an artefact's contract asks for, for another manifest.

    Raises:
        UserError: `columns` has a role that does not exist.
    """
    from remedis_jax.data.label_policy import POLICY_KEYS, parse_policy
    from remedis_jax.training.config import stage_config
    from remedis_jax.weights.contract import Contract

    data = stage_config("supervised").data
    contract = Contract.from_json(card["preprocessing"])
    # Imported weights were trained on no manifest.
    trained = card.get("columns") or {}
    data.manifest = str(manifest)
    data.size, data.fit = contract.host.size, contract.host.fit
    for name, value in contract.reading.to_json().items():
        data[name] = ",".join(map(str, value)) if isinstance(value, tuple) else value
    own = (card.get("config") or {}).get("data", {})
    policy = {name: own[name] for name in POLICY_KEYS if name in own}
    for name, value in (parse_policy(label_policy) if label_policy else policy).items():
        data[name] = value
    data.labels = tuple(trained.get("labels", ()))
    data.readers = tuple(own.get("readers", ()))
    data.group_pattern = own.get("group_pattern", "")
    if (card["head"] or {}).get("case"):
        data.case_images = card["head"]["case"]["images"]
        data.views = tuple(card["head"]["case"]["views"])
        data.case, data.view = trained["case"], trained["view"]
    for role in ("image", "group", "site", "split"):
        data[role] = trained.get(role, data[role])
    for role, name in columns.items():
        if role == "label":
            data.labels, data.readers = tuple(name.split(",")) if name else (), ()
        elif role in ("image", "group", "site", "split", "case", "view"):
            data[role] = name
        else:
            raise UserError(
                f"There is no column role {role!r}.",
                "Use image, group, label, site, split, case or view.",
            )
    return data
