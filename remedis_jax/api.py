"""The third door: what the commands do, as functions.

    import remedis_jax
    remedis_jax.train("experiments/contrastive/simclr.py:model=r50x1", "runs/ssl",
                      overrides=("data.manifest=images.csv",))
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
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
    from remedis_jax.data.checking import BAD_IMAGES, check_stage, skipped
    from remedis_jax.data.dataset import open_evaluation, open_training
    from remedis_jax.data.seen_stages import after
    from remedis_jax.evaluation.monitor import Monitor
    from remedis_jax.evaluation.validation import validation_evaluator
    from remedis_jax.report.model_card import write_model_card
    from remedis_jax.training import loop, processes
    from remedis_jax.training.build import make_plan
    from remedis_jax.training.card import make_card
    from remedis_jax.training.config import load_config
    from remedis_jax.training.workdir import check_workdir, is_new

    if isinstance(config, str):
        config = load_config(config, tuple(overrides))
    workdir = Path(workdir)
    supervised = config.stage == "supervised"
    kind = config.objective.kind if supervised else None
    # The folder is claimed when the data are known to be good, so that a mistake in the command
    # does not leave a folder behind that the corrected command must not use.
    with processes.together():
        if processes.is_first():
            check_workdir(workdir, config)
    evaluations, check = {}, None
    with processes.together():
        if is_new(workdir):
            parent = after(*loop.ancestors(loop.load_parent(config)))
            check = check_stage(
                config.data, kind, stage=config.stage, parent=parent, progress=progress
            )
            if check.findings.stamp() and processes.is_first():
                announce(check.findings.stamp())
        skip = skipped(workdir) if check is None else check.skip
        if skip and processes.is_first():
            announce(f"{len(skip):,} image(s) are left out; {workdir / BAD_IMAGES} lists them")
        dataset = open_training(config.data, kind, skip)
        if not supervised and config.monitor.images:
            plan = make_plan(config, loop.examples_per_epoch(config, dataset))
            monitor = Monitor(config, dataset, workdir, plan.total_steps)
            if monitor.declared and is_new(workdir) and processes.is_first():
                announce(monitor.declared)
            evaluations["monitor"] = loop.Evaluation(monitor, monitor.every_steps, at_start=True)
        if supervised and config.data.validation:
            rows = open_evaluation(
                config.data, dataset.spec, config.data.validation.to_dict(), skip
            )
            card = make_card(config, dataset, None, 0)
            evaluations["validation"] = loop.Evaluation(validation_evaluator(rows, card))
    result = loop.train(
        config,
        workdir,
        dataset,
        check=check,
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
    aggregate: str | None = None,
    label_policy: str | None = None,
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
            `group`, `label`, `site`, `split`; "" for a column that this manifest lacks.
        where: Only rows with these values, e.g. {"site": "B", "split": "test"}.
        aggregate: "patient:mean", "patient:max" or "patient:noisy-or" to score patients as well.
        label_policy: What uncertain and empty labels are, see `data.label_policy.parse_policy`;
            None for what the weights were trained with.
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
    from remedis_jax.data.dataset import open_rows, without
    from remedis_jax.data.label_counts import treatment_counts, write_counts
    from remedis_jax.data.label_policy import LabelPolicy
    from remedis_jax.evaluation.aggregate import parse_aggregate
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
    if aggregate:
        parse_aggregate(aggregate)
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
        write_counts(out, treatment_counts(dataset.manifest, dataset.spec, policy))
        report_from_predictions([path], out, aggregate=aggregate, show=show)
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
    if not (data.labels or data.readers):
        raise UserError("No label column is named.", "Name it with --label.")
    rows = open_rows(data, where)
    guarded = guard(artifact, rows, Rules(**rules), what="the validation rows")
    dataset = _as_trained(card, data, without(rows, guarded.skip))
    plain = card | {"head": head | {"temperature": None}}
    logits = predict(
        artifact.params, plain, dataset, make_mesh(), kind="logits", progress=progress
    )
    labels = hard_labels(dataset.labels, dataset.spec)
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
    from remedis_jax.data.dataset import Dataset, encoded
    from remedis_jax.data.labels import LabelSpec
    from remedis_jax.evaluation.prepared import prepared_source
    from remedis_jax.weights.contract import Contract

    head, spec, labels = card["head"], None, None
    if data.labels or data.readers:
        spec = LabelSpec.of(head["kind"], head["classes"], data.labels, data.readers)
        labels = encoded(data, rows, spec, require_all_classes=False)
    source = prepared_source(rows, Contract.from_json(card["preprocessing"]))
    return Dataset(rows, source, labels, spec, decodes=True)


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
    for role in ("image", "group", "site", "split"):
        data[role] = trained.get(role, data[role])
    for role, name in columns.items():
        if role == "label":
            data.labels, data.readers = tuple(name.split(",")) if name else (), ()
        elif role in ("image", "group", "site", "split"):
            data[role] = name
        else:
            raise UserError(
                f"There is no column role {role!r}.", "Use image, group, label, site or split."
            )
    return data


def check_data(
    manifest: str | Path,
    out: str | Path | None = None,
    *,
    image: str = "image",
    group: str = "",
    label: str = "",
    site: str = "",
    split: str = "",
    where: Mapping[str, Any] | None = None,
    against: Sequence[str | Path] = (),
    label_policy: str | None = None,
    near: int | None = None,
    channels: int = 3,
    to_grey: bool = False,
    frames: str = "error",
    window: str = "file",
    redact: bool = False,
    threads: int | None = None,
    allow_outside: bool = False,
    progress: Progress | None = None,
    show: bool = False,
):
    """Decodes every image of a manifest and reports what is wrong with them.

    Args:
        manifest: CSV or Parquet, a folder of images, tfds:NAME:SPLIT, or a cache.
        out: Folder of the report; `check-NAME` in the current one if None.
        image: Column names, as for the others up to `split`; `label` may name several by commas.
        group: See `image`.
        label: See `image`.
        site: See `image`.
        split: See `image`.
        where: Only rows with these values.
        against: Other manifests that must share no patient and no image with this one.
        label_policy: See `data.label_policy.parse_policy`.
        near: Bits in which the fingerprints of copies differ at most; None for the default.
        channels: See `data.reading.Reading`, as for `to_grey`, `frames` and `window`.
        to_grey: See `channels`.
        frames: See `channels`.
        window: See `channels`.
        redact: Show hashes of ids, and rows instead of names.
        threads: Images decoded at a time.
        allow_outside: Accept images outside the manifest's folder.
        progress: Called with (done, total).
        show: Also print the tables of the report.

    Returns:
        (the HTML page, a `remedis_jax.data.examination.Examination`).

    Raises:
        UserError: The manifest itself cannot be used.
    """
    from remedis_jax.data.dataset import check_labels, columns_of, manifest_of, reading_of
    from remedis_jax.data.examination import examine
    from remedis_jax.data.fingerprints import NEAR_DUPLICATE_BITS
    from remedis_jax.data.inspection import inspect_images
    from remedis_jax.data.label_policy import parse_policy
    from remedis_jax.data.open_manifest import open_manifest
    from remedis_jax.report.data_check import write_data_check
    from remedis_jax.training.config import stage_config

    data = stage_config("supervised").data
    data.manifest, data.image, data.group = str(manifest), image, group
    data.labels = tuple(filter(None, label.split(",")))
    data.site, data.split = site, split
    data.channels, data.to_grey, data.frames, data.window = channels, to_grey, frames, window
    data.allow_outside, data.bits = allow_outside, 8
    for name, value in (parse_policy(label_policy) if label_policy else {}).items():
        data[name] = value
    most = NEAR_DUPLICATE_BITS if near is None else near
    rows = manifest_of(data)
    rows = rows.where(**where) if where else rows
    reading = reading_of(data, rows)

    def inspected(manifest):
        return inspect_images(manifest, reading, threads=threads, progress=progress)

    others = [
        open_manifest(
            str(other),
            dataclasses.replace(columns_of(data), labels=(), site=None, split=None),
            allow_outside=allow_outside,
        )
        for other in against
    ]
    found = examine(
        rows,
        inspected(rows),
        most=most,
        redact=redact,
        check_labels=lambda rows: check_labels(data, rows),
        against=[(other, inspected(other)) for other in others],
    )
    folder = Path(out) if out else Path(f"check-{rows.path.stem}")
    return write_data_check(folder, found, reading, show=show), found


def split(
    manifest: str | Path,
    by: str,
    out: str | Path | None = None,
    *,
    fractions: Mapping[str, float] | None = None,
    stratify: Sequence[str] = (),
    site: str = "",
    test_sites: Sequence[str] = (),
    ood_fractions: Mapping[str, float] | None = None,
    seeds: Sequence[int] = (0,),
    image: str = "image",
    near_duplicates: int | None = None,
    keep_duplicates_together: bool = True,
    allow_absent: bool = False,
    allow_outside: bool = False,
    progress: Progress | None = None,
    **settings: Any,
):
    """Splits a manifest by patient and writes it with a column that says who is where.

    Args:
        manifest: CSV or Parquet, or a folder of images.
        by: Column of the patient, case or lesion that must stay whole.
        out: CSV to write; `NAME.split.csv` beside the manifest if None.
        fractions: Parts with their shares of the patients; 0.7 train, 0.1 val, 0.2 test if None.
        stratify: Label columns that every part is to have alike.
        site: Column of the site.
        test_sites: Sites that are held out from all other parts.
        ood_fractions: Parts of the held-out sites, called `ood_NAME`; all of them test if None.
        seeds: A split is drawn for each.
        image: Column of the image.
        near_duplicates: Patients with pictures whose fingerprints differ in so many bits or fewer
            go to one part; None for the default, -1 for equal files only.
        keep_duplicates_together: Whether patients who share an image go to one part.
        allow_absent: Go on although a part lacks a label that others have.
        allow_outside: Accept images outside the manifest's folder.
        progress: Called with (done, total) while images are compared.
        **settings: `column` and `overwrite`, see `remedis_jax.data.split_files.Settings`.

    Returns:
        As `remedis_jax.data.split_files.split_manifest`.

    Raises:
        UserError: The manifest cannot be used or the shares do not work out.
    """
    from remedis_jax.data.drawn_split import Rules
    from remedis_jax.data.fingerprints import NEAR_DUPLICATE_BITS
    from remedis_jax.data.manifest import Columns
    from remedis_jax.data.open_manifest import open_manifest
    from remedis_jax.data.split_files import Settings, split_manifest

    rules = Rules(
        fractions={"train": 0.7, "val": 0.1, "test": 0.2} if fractions is None else fractions,
        stratify=tuple(stratify),
        site=site,
        test_sites=tuple(test_sites),
        ood_fractions={"test": 1.0} if ood_fractions is None else ood_fractions,
        allow_absent=allow_absent,
    )
    roles = Columns(image=image, group=by, labels=tuple(stratify), site=site or None)
    if near_duplicates is None:
        near_duplicates = NEAR_DUPLICATE_BITS if keep_duplicates_together else -1
    chosen = Settings(
        near_duplicates=near_duplicates,
        keep_duplicates_together=keep_duplicates_together,
        **settings,
    )
    rows = open_manifest(manifest, roles, allow_outside=allow_outside)
    return split_manifest(
        rows, rules, chosen, seeds, None if out is None else Path(out), progress=progress
    )


def cache(
    manifest: str | Path,
    out: str | Path,
    *,
    size: int = 256,
    image: str = "image",
    tiles: Mapping[str, Any] | None = None,
    channels: int = 3,
    to_grey: bool = False,
    fit: str = "squash",
    bits: int = 0,
    window: str = "file",
    frames: str = "error",
    reduced: bool = True,
    shard_mib: int = 256,
    threads: int = 0,
    allow_outside: bool = False,
    progress: Progress | None = None,
    announce: Callable[[str], None] = lambda line: None,
) -> Path:
    """Decodes every image once and writes it at the working size, with the whole manifest.

    Args:
        manifest: What training would read.
        out: Folder; repeating the call goes on with it.
        size: Side of the images in pixels.
        image: Column of the image.
        tiles: How rows name tiles of slides, see `data.slide_tiles`.
        channels: As the config's `data` fields of these names, up to `reduced`.
        to_grey: See `channels`.
        fit: See `channels`.
        bits: See `channels`.
        window: See `channels`.
        frames: See `channels`.
        reduced: See `channels`.
        shard_mib: Decoded pixels in each file.
        threads: Images decoded at a time; 0 for the machine's processors.
        allow_outside: Accept images outside the manifest's folder.
        progress: Called with (done, total).
        announce: Called with lines for the user.

    Returns:
        `out`, to be named as `data.manifest`.

    Raises:
        UserError: The manifest or an image cannot be used, or the folder holds another cache.
    """
    from remedis_jax.data.cache import write_cache
    from remedis_jax.data.dataset import reading_of
    from remedis_jax.data.depth import deepest
    from remedis_jax.data.manifest import Columns
    from remedis_jax.data.open_manifest import open_manifest

    if shard_mib < 1 or threads < 0:
        raise UserError(
            f"--shard-mib {shard_mib} --threads {threads} is not possible.",
            "--shard-mib is 1 or more, --threads 0 or more.",
        )
    rows = open_manifest(
        manifest, Columns(image=image), allow_outside=allow_outside, tiles=tiles
    )
    settings = {
        "channels": channels, "to_grey": to_grey, "window": window, "frames": frames,
        "reduced": reduced, "bits": bits or deepest(rows),
    }  # fmt: skip
    reading = reading_of(ConfigDict(settings), rows)
    most = len(rows) * size * size * channels * reading.bits / 8 / 2**30
    announce(
        f"{len(rows):,} images of {size} x {size} x {channels}, {reading.bits} bits: at most"
        f" {most:,.1f} GiB"
    )
    return write_cache(
        rows,
        Path(out),
        size=size,
        reading=reading,
        fit=fit,
        shard_bytes=shard_mib * 2**20,
        threads=threads or None,
        progress=progress,
    )


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
    allow_leakage: bool = False,
    announce: Callable[[str], None] = print,
    show: bool = False,
) -> Path:
    """Runs a data-efficiency experiment and writes its report.

    Args:
        config: `FILE.py[:ARGUMENTS]` under `experiments/data_efficiency/`.
        out: The experiment's folder.
        overrides: `dotted.key=value` pairs.
        allow_leakage: Go on although patients or images are shared; stamps every report.
        announce: Called with a line for each thing that starts.
        show: Also print the tables of the report.

    Returns:
        The HTML page.
    """
    from remedis_jax.evaluation import data_efficiency
    from remedis_jax.training.config import load_config

    loaded = load_config(config, tuple(overrides))
    if allow_leakage:
        data_efficiency.allow_leakage(loaded)
    data_efficiency.run_experiment(loaded, Path(out), announce=announce)
    return write_report(out, show=show)
