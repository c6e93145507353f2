"""Fine-tuning for people without config files: a manifest, labels, weights, a folder."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from remedis_jax.errors import UserError

CONFIG = "experiments/finetune/classify.py"
Progress = Callable[[int, int], None]
# What a split column calls the rows to train and to validate on.
TRAIN, VALIDATION = "train", "val"


@dataclasses.dataclass(frozen=True)
class Finetuned:
    """What `finetune` leaves.

    Attributes:
        weights: The weights file.
        steps: Updates made.
        tests: Part of the data -> folder with its predictions, metrics and report.
    """

    weights: Path
    steps: int
    tests: Mapping[str, Path]


def finetune(
    manifest: str | Path,
    weights: str | Path | None,
    out: str | Path,
    *,
    labels: Sequence[str] = (),
    columns: Mapping[str, str] | None = None,
    kind: str = "",
    survival: tuple[str, str] | None = None,
    horizon: float = 5.0,
    case_images: int = 0,
    views: Sequence[str] = (),
    protocol: str = "hyperrule",
    model: str = "",
    size: int = 0,
    seed: int = 0,
    fraction: float = 1.0,
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
    announce: Callable[[str], None] = lambda line: None,
    show: bool = False,
) -> Finetuned:
    """Fine-tunes weights on labelled images, keeps the best validation, and judges it on the test.

    Repeating the call goes on where it stopped. Network, channels, value range and, unless `size`
    is given, the size of the images are those of the weights; length, rates and mixup follow
    BiT-HyperRule by the number of training examples (Kolesnikov et al. 2020).

    Args:
        manifest: CSV or Parquet, a folder of images, or a cache. Without a column of splits,
            patients are dealt out to train, val and test (70, 10, 20%), stratified by label, and
            `OUT/split.csv` says who is where.
        weights: What to start from; as for `load`. None for random weights, which needs `model`.
        out: The folder: `run/` with the weights, and one with predictions and report for each test.
        labels: One column with the class, or several findings of 1, 0.
        columns: Names of columns by role: image, group (the patient), site, split, case, view.
        kind: softmax, sigmoid, cox or discrete_time; by the labels if "".
        survival: (time column, event column) in place of labels.
        horizon: When survival is judged, in the unit of the time column.
        case_images: More than 0: images of a case are one example, so many at most in training.
        views: Which views a case has, in order; their column is `columns["view"]`.
        protocol: "hyperrule" for all of the network, "linear" for the head on frozen features.
        model: Network of random weights, e.g. "r26x1".
        size: Side of what the network sees in pixels; 0 for that of the weights.
        seed: Of the split, the order, the augmentation and the head.
        fraction: Share of the training patients.
        overrides: `dotted.key=value` of the config of `remedis train`, which is in `OUT/run`.
        progress: Called with (done, total) while images are checked.
        announce: Called with lines for the user.
        show: Also print the tables of the reports.

    Raises:
        UserError: The data, the weights or the settings cannot be used.
        RunFailed: Training began and did not end.
    """
    from remedis_jax.api.judging import evaluate
    from remedis_jax.api.training import train
    from remedis_jax.data.dataset import manifest_of
    from remedis_jax.training.config import apply_overrides

    columns = dict(columns or {})
    config = _config(weights, protocol, model, size)
    data = config.data
    _set_columns(data, columns)
    _set_labels(config, labels, kind, survival, horizon)
    data.case_images, data.views = case_images or len(views), tuple(views)
    config.seed, data.fraction, data.fraction_seed = seed, fraction, seed
    out = Path(out)
    # Times say little about who is alike; who had the event does.
    stratify = tuple(data.labels) if survival is None else survival[1:]
    data.manifest, data.split = _with_split(
        manifest, data, columns, stratify, out, seed, progress, announce
    )
    data.allow_outside = data.manifest != str(manifest)
    parts = _parts_of(manifest_of(data), data.split)
    data.train = {data.split: TRAIN}
    if VALIDATION in parts:
        data.validation = {data.split: VALIDATION}
        config.select = "best"
    else:
        announce(f"no rows are of split {VALIDATION!r}: the last step is taken, not the best")
    apply_overrides(config, tuple(overrides))
    result = train(config, out / "run", progress=progress, announce=announce)
    if result.best_step is not None:
        announce(
            f"best validation after step {result.best_step} of {result.steps}: "
            f"{config.select_metric or 'auroc'} {result.best:.4g}"
        )
    tests = {}
    for part in sorted(set(parts) - {TRAIN, VALIDATION}):
        folder = out / part
        if not (folder / "report.html").is_file():
            evaluate(
                data.manifest,
                result.weights,
                folder,
                where={data.split: part},
                progress=progress,
                announce=announce,
                show=show,
                allow_outside=data.allow_outside,
            )
        tests[part] = folder
    return Finetuned(result.weights, result.steps, tests)


def _config(weights: str | Path | None, protocol: str, model: str, size: int) -> ConfigDict:
    """The config of single images, with network and preprocessing of the weights."""
    from remedis_jax.models.bit import BiTSpec
    from remedis_jax.training.config import load_config
    from remedis_jax.weights.architecture import encoder_spec
    from remedis_jax.weights.contract import Contract
    from remedis_jax.weights.open import open_weights

    if (weights is None) == (not model):
        raise UserError(
            "Either weights to start from or the name of a network is needed, and not both.",
            "Give --weights, or --model r50x1 to start from random weights.",
        )
    config = load_config(f"{CONFIG}:protocol={protocol}{f',size={size}' if size else ''}")
    if weights is None:
        config.model.name = BiTSpec.from_name(model).name
        return config
    artifact = open_weights(weights)
    spec, contract = encoder_spec(artifact.card), Contract.from_json(artifact.card["preprocessing"])
    config.init = str(weights)
    config.model.name, config.model.stem = spec.name, spec.stem
    config.model.final_norm, config.model.value_range = spec.final_norm, spec.value_range
    for name, value in contract.reading.to_json().items():
        config.data[name] = ",".join(map(str, value)) if isinstance(value, tuple) else value
    if not size:
        config.augment.size, config.data.size = contract.size, contract.host.size
    return config


def _set_columns(data: ConfigDict, columns: Mapping[str, str]) -> None:
    """Roles that are not named have none, but for the image's."""
    roles = ("image", "group", "site", "split", "case", "view")
    for role in columns:
        if role not in roles:
            raise UserError(f"There is no column role {role!r}.", f"Use {', '.join(roles)}.")
    for role in roles:
        data[role] = columns.get(role, "image" if role == "image" else "")


def _set_labels(
    config: ConfigDict,
    labels: Sequence[str],
    kind: str,
    survival: tuple[str, str] | None,
    horizon: float,
) -> None:
    from remedis_jax.objectives.supervised import SURVIVAL_KINDS

    if bool(labels) == (survival is not None):
        raise UserError(
            "Either label columns or those of time and event are needed, and not both.",
            "Name --label COLUMN (several, for findings), or --time COLUMN --event COLUMN.",
        )
    if survival is None:
        kind = kind or ("softmax" if len(labels) == 1 else "sigmoid")
        if kind in SURVIVAL_KINDS:
            raise UserError(
                f"{kind} reads a time and an event.", "Name --time and --event in place of --label."
            )
        config.data.labels = tuple(labels)
    else:
        kind = kind or "discrete_time"
        if kind not in SURVIVAL_KINDS:
            raise UserError(
                f"{kind} reads classes, and not time and event.",
                f"Use {' or '.join(SURVIVAL_KINDS)}, or leave the kind out.",
            )
        config.data.labels = tuple(survival)
        # ours: five intervals up to the horizon.
        config.objective.horizon = float(horizon)
        config.objective.intervals = tuple(horizon * k / 5 for k in (1, 2, 3, 4, 5))
    config.objective.kind = kind


def _with_split(
    manifest: str | Path,
    data: ConfigDict,
    columns: Mapping[str, str],
    stratify: tuple[str, ...],
    out: Path,
    seed: int,
    progress: Progress | None,
    announce: Callable[[str], None],
) -> tuple[str, str]:
    """The manifest and its column of splits; one that is drawn where it has none."""
    from remedis_jax.data.dataset import columns_of
    from remedis_jax.data.drawn_split import Rules
    from remedis_jax.data.fingerprints import NEAR_DUPLICATE_BITS
    from remedis_jax.data.open_manifest import open_manifest
    from remedis_jax.data.split_files import Settings, split_manifest

    if columns.get("split"):
        return str(manifest), columns["split"]
    rows = open_manifest(manifest, columns_of(data))
    if "split" in rows.table.columns:
        announce("the manifest's column 'split' says who trains, validates and tests")
        return str(manifest), "split"
    path = out / "split.csv"
    if not path.is_file():
        if not data.group:
            announce(
                "no column names the patients, so images are dealt out one by one; name it with "
                "--group if there are several of a patient"
            )
        split_manifest(
            rows,
            Rules(
                {TRAIN: 0.7, VALIDATION: 0.1, "test": 0.2},
                stratify=stratify,
            ),
            Settings(near_duplicates=NEAR_DUPLICATE_BITS, absolute=True),
            (seed,),
            path,
            progress=progress,
        )
        announce(f"{path} says who trains (70%), validates (10%) and tests (20%)")
    return str(path), "split"


def _parts_of(rows: Any, split: str) -> set[str]:
    parts = set(rows.column(split))
    if TRAIN not in parts:
        raise UserError(
            f"{rows.path}: no row has {TRAIN!r} in column {split!r}; it has "
            f"{', '.join(sorted(map(repr, parts)))}.",
            f"Call the rows to train on {TRAIN!r}, those to validate on {VALIDATION!r}; all other "
            "values are tests. Or leave the column out and let patients be dealt out.",
        )
    return parts
