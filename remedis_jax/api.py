"""The third door: what the commands do, as functions.

    import remedis_jax
    remedis_jax.train("experiments/contrastive/simclr.py:model=r50x1", "runs/ssl",
                      overrides=("data.manifest=images.csv",))
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from remedis_jax.errors import UserError

Progress = Callable[[int, int], None]


def train(
    config: str | ConfigDict,
    workdir: str | Path,
    *,
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
    announce: Callable[[str], None] = lambda line: None,
):
    """Runs one stage, or goes on with it.

    Args:
        config: `FILE.py[:ARGUMENTS]`, or a config.
        workdir: The run's folder.
        overrides: `dotted.key=value` pairs.
        progress: Called with (done, total) while the images are checked, before the first start.
        announce: Called with lines for the user, such as the collapse alarm's.

    Returns:
        A `remedis_jax.training.loop.Result`.

    Raises:
        UserError: The config or the data cannot be used.
        RunFailed: The run started and did not finish.
    """
    from remedis_jax.data.dataset import open_evaluation, open_training, verify
    from remedis_jax.evaluation.monitor import Monitor
    from remedis_jax.evaluation.validation import validation_evaluator
    from remedis_jax.report.model_card import write_model_card
    from remedis_jax.training import loop, processes
    from remedis_jax.training.build import make_plan
    from remedis_jax.training.card import make_card
    from remedis_jax.training.config import load_config

    if isinstance(config, str):
        config = load_config(config, tuple(overrides))
    workdir = Path(workdir)
    supervised = config.stage == "supervised"
    kind = config.objective.kind if supervised else None
    # The folder is claimed when the data are known to be good, so that a mistake in the command
    # does not leave a folder behind that the corrected command must not use.
    with processes.together():
        if processes.is_first():
            loop.check_workdir(workdir, config)
    evaluations = {}
    with processes.together():
        if loop.is_new(workdir):
            verify(config.data, kind, progress)
        dataset = open_training(config.data, kind)
        if not supervised and config.monitor.images:
            plan = make_plan(config, loop.examples_per_epoch(config, dataset))
            monitor = Monitor(config, dataset, workdir, plan.total_steps)
            if monitor.declared and loop.is_new(workdir) and processes.is_first():
                announce(monitor.declared)
            evaluations["monitor"] = loop.Evaluation(monitor, monitor.every_steps, at_start=True)
        if supervised and config.data.validation:
            rows = open_evaluation(config.data, dataset.spec, config.data.validation.to_dict())
            card = make_card(config, dataset, None, 0)
            evaluations["validation"] = loop.Evaluation(validation_evaluator(rows, card))
    result = loop.train(
        config,
        workdir,
        dataset,
        evaluations=evaluations,
        title=workdir.name,
        announce=announce,
    )
    if processes.is_first():
        write_model_card(result.weights, workdir / "model_card.md")
    return result


def evaluate(
    manifest: str | Path,
    weights: str | Path,
    out: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    where: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    show: bool = False,
) -> Path:
    """Predicts every image of a manifest and scores the predictions.

    Args:
        manifest: CSV or Parquet.
        weights: As for `load`.
        out: Folder for `predictions.csv`, `metrics.json` and the report.
        columns: Other column names than those that the weights were trained with: `image`,
            `group`, `label`, `site`, `split`; "" for a column that this manifest lacks.
        where: Only rows with these values, e.g. {"site": "B", "split": "test"}.
        progress: Called with (done, total).
        show: Also print the tables of the report.

    Returns:
        The predictions file.

    Raises:
        UserError: The manifest or the weights cannot be used.
    """
    from remedis_jax.data.decode import check_images
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
    data = data_config(artifact.card, manifest, columns or {})
    dataset = _as_trained(artifact.card, data, where)
    check_images(dataset.manifest, channels=data.channels, to_grey=data.to_grey)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "predictions.csv"
    write_predictions(path, predictions_of(artifact, dataset, make_mesh(), progress=progress))
    (out / "weights.json").write_text(
        json.dumps({"path": str(artifact.path), "sha256": artifact.sha256}) + "\n"
    )
    if dataset.spec is not None:
        report_from_predictions([path], out, show=show)
        write_model_card(artifact.path, out / "model_card.md", metrics=out / "metrics.json")
    return path


def embed(
    manifest: str | Path,
    weights: str | Path,
    out: str | Path,
    *,
    devices: int | None = None,
    precision: str = "highest",
    progress: Progress | None = None,
    announce: Callable[[str], None] = lambda line: None,
    **settings: Any,
) -> Path:
    """Writes the features of every image of a manifest to a file, or goes on with it.

    Args:
        manifest: CSV or Parquet with one image a row.
        weights: As for `load`.
        out: Ends in .parquet, .npz or .h5; a folder with `by`.
        devices: How many of the devices to use; None for all.
        precision: As for `load`.
        progress: Called with (done, total).
        announce: Called with lines for the user.
        **settings: Fields of `remedis_jax.evaluation.embedding_run.Settings`: image, where,
            batch_size, on_bad_image, max_bad, by, overwrite, allow_outside.

    Returns:
        `out`.

    Raises:
        UserError: The manifest, an image, the weights or the target cannot be used.
    """
    from remedis_jax.evaluation.embedding_run import Settings, embed_manifest
    from remedis_jax.evaluation.model import load

    chosen = Settings(**settings)
    model = load(weights, devices=devices, precision=precision)
    return embed_manifest(model, manifest, out, chosen, progress=progress, announce=announce)


def load(weights: str | Path, **options: Any):
    """Weights, ready to use; see `remedis_jax.evaluation.model.load`."""
    from remedis_jax.evaluation import model

    return model.load(weights, **options)


def calibrate(
    manifest: str | Path,
    weights: str | Path,
    out: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    where: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
):
    """Fits a temperature on validation data and writes the weights with it.

    Args:
        manifest: CSV or Parquet with labels.
        weights: Weights with a classifier; as for `load`.
        out: The new weights file, ending in .safetensors.
        columns: As for `evaluate`.
        where: The validation rows, e.g. {"split": "val"}.
        progress: Called with (done, total).

    Returns:
        A `remedis_jax.evaluation.calibration.Temperature`.

    Raises:
        UserError: The manifest, the weights or the target cannot be used.
    """
    from remedis_jax.evaluation.calibration import fit_temperature
    from remedis_jax.evaluation.predict import predict
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
    data = data_config(card, manifest, columns or {})
    if not data.labels:
        raise UserError("No label column is named.", "Name it with --label.")
    dataset = _as_trained(card, data, where)
    plain = card | {"head": head | {"temperature": None}}
    logits = predict(
        artifact.params, plain, dataset, make_mesh(), kind="logits", progress=progress
    )
    fitted = fit_temperature(logits, dataset.labels)
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
    save_artifact(out, artifact.params, card | {"head": new_head, "lineage": lineage})
    return fitted


def _as_trained(card: Mapping[str, Any], data: Any, where: Mapping[str, Any] | None):
    """Rows with labels of the classifier's classes (if any are named) and prepared images."""
    from remedis_jax.data.dataset import Dataset, open_rows
    from remedis_jax.data.labels import LabelSpec, encode_labels
    from remedis_jax.evaluation.prepared import prepared_source
    from remedis_jax.weights.contract import Contract

    head, spec, labels = card["head"], None, None
    rows = open_rows(data, where)
    if data.labels:
        spec = LabelSpec(head["kind"], tuple(head["classes"]), tuple(data.labels))
        labels = encode_labels(rows, spec, require_all_classes=False)
    source = prepared_source(rows, Contract.from_json(card["preprocessing"]))
    return Dataset(rows, source, labels, spec, decodes=True)


def data_config(card: dict[str, Any], manifest: str | Path, columns: Mapping[str, str]):
    """The `data` section that an artefact's contract asks for, for another manifest.

    Raises:
        UserError: `columns` has a role that does not exist.
    """
    from remedis_jax.training.config import stage_config
    from remedis_jax.weights.contract import Contract

    data = stage_config("supervised").data
    contract = Contract.from_json(card["preprocessing"])
    # Imported weights were trained on no manifest.
    trained = card.get("columns") or {}
    data.manifest = str(manifest)
    data.size, data.fit = contract.host.size, contract.host.fit
    data.channels, data.to_grey = contract.channels, contract.to_grey
    data.labels = tuple(trained.get("labels", ()))
    for role in ("image", "group", "site", "split"):
        data[role] = trained.get(role, data[role])
    for role, name in columns.items():
        if role == "label":
            data.labels = tuple(name.split(",")) if name else ()
        elif role in ("image", "group", "site", "split"):
            data[role] = name
        else:
            raise UserError(
                f"There is no column role {role!r}.", "Use image, group, label, site or split."
            )
    return data


def write_report(
    path: str | Path, out: str | Path | None = None, *, show: bool = False
) -> Path:
    """Writes the report of an experiment, a run, or a predictions file.

    Args:
        path: The folder of an experiment or of a run, or a predictions CSV.
        out: Where to write; beside the input if None.
        show: Also print the tables.

    Returns:
        The HTML page.

    Raises:
        UserError: The path holds nothing that a report can be made of.
    """
    from remedis_jax.report.page import (
        report_from_experiment,
        report_from_predictions,
        report_from_run,
    )

    path = Path(path)
    if path.is_file():
        target = Path(out) if out else path.parent
        report_from_predictions([path], target, show=show)
    elif (path / "experiment.json").is_file():
        target = Path(out) if out else path
        report_from_experiment(path, target, show=show)
    elif (path / "metrics.jsonl").is_file():
        target = Path(out) if out else path
        report_from_run(path, target, show=show)
    elif (path / "predictions.csv").is_file():
        target = Path(out) if out else path
        report_from_predictions([path / "predictions.csv"], target, show=show)
    else:
        raise UserError(
            f"{path} is no experiment, run or predictions file.",
            "Give a folder with experiment.json, metrics.jsonl or predictions.csv, or a CSV.",
        )
    return target / "report.html"


def run_experiment(
    config: str,
    out: str | Path,
    *,
    overrides: Sequence[str] = (),
    announce: Callable[[str], None] = print,
    show: bool = False,
) -> Path:
    """Runs a data-efficiency experiment and writes its report.

    Args:
        config: `FILE.py[:ARGUMENTS]` under `experiments/data_efficiency/`.
        out: The experiment's folder.
        overrides: `dotted.key=value` pairs.
        announce: Called with a line for each thing that starts.
        show: Also print the tables of the report.

    Returns:
        The HTML page.
    """
    from remedis_jax.evaluation import data_efficiency
    from remedis_jax.training.config import load_config

    loaded = load_config(config, tuple(overrides))
    data_efficiency.run_experiment(loaded, Path(out), announce=announce)
    return write_report(out, show=show)
