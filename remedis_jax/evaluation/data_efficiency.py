"""Data-efficient generalisation: how few labels of a new hospital an encoder needs.

The protocol (after REMEDIS; Azizi et al. 2023):

1. the stages that make the encoders, each once, in order;
2. every arm, for every seed: fine-tune on the labelled site ("in distribution"); predict its test
   patients and, with the same weights, those of the new site ("zero-shot");
3. from those weights, fine-tune on nested, stratified fractions of the new site's training
   patients; predict its test patients, which are never trained on.

What chose what is part of the protocol: hyper-parameters are chosen on validation patients of the
labelled site with the first seed; thresholds and temperatures too, but for models that were trained
on a share of the new site's labels. Of these they are chosen on the same share of its validation
patients, since their labels cost as much, where that is `LEAST_VALIDATION` or more.

Every run is one folder that is complete or goes on where it stopped, so the same call finishes an
interrupted experiment and leaves a finished one alone.
"""

import dataclasses
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from remedis_jax.data.checking import StageCheck, check_stage
from remedis_jax.data.dataset import (
    Dataset,
    file_sha256,
    open_evaluation,
    open_rows,
    open_training,
    training_rows,
)
from remedis_jax.data.labels import LabelSpec
from remedis_jax.data.manifest import Manifest
from remedis_jax.data.seen_stages import after
from remedis_jax.data.splits import nested_subsets
from remedis_jax.errors import UserError
from remedis_jax.evaluation.experiment_parts import (
    flow_of,
    flow_record,
    parts_of,
    require_disjoint,
    rows_table,
)
from remedis_jax.evaluation.experiment_selection import LEAST_VALIDATION, selection_of
from remedis_jax.evaluation.finetuning import finetune
from remedis_jax.evaluation.guard import Rules, guard
from remedis_jax.evaluation.metrics import LOWER_IS_BETTER, NotDefined, score
from remedis_jax.evaluation.predict import features_of, predictions_of
from remedis_jax.evaluation.predictions import Predictions, read_predictions, write_predictions
from remedis_jax.hardware import hardware
from remedis_jax.objectives.supervised import label_kind
from remedis_jax.training.config import apply_overrides, to_json
from remedis_jax.training.loop import Result, ancestors, load_parent, train
from remedis_jax.training.sharding import make_mesh
from remedis_jax.training.workdir import write_json
from remedis_jax.versions import versions
from remedis_jax.weights.artifact import Artifact, load_artifact

Announce = Callable[[str], None]
ROWS, EMBEDDINGS = "rows.csv", "embeddings"


@dataclasses.dataclass
class _Experiment:
    """Where an experiment stands; see `run_experiment`."""

    config: ConfigDict
    out: Path
    announce: Announce
    cells: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    skip: set[str] = dataclasses.field(default_factory=set)
    flow: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    hashes: dict[str, str] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    trained: int = 0
    begun: float = 0.0

    def run(self) -> None:
        config = self.config
        self.parts = parts_of(config)
        require_disjoint(self.parts, redact=config.finetune_id.data.redact)
        rows = rows_table(self.parts, config.characteristics)
        self.check_data()
        encoders = self.run_stages()
        self.begun = time.monotonic()
        for name in config.arm_order:
            start = config.arms[name].start
            rate = self.choose_learning_rate(name, encoders.get(start, start))
            for seed in config.seeds:
                tuned = self.finetune_id(name, encoders.get(start, start), seed, rate)
                self.predict_id_and_zero_shot(name, seed, tuned)
                if seed == config.seeds[0]:
                    self.embed(name, tuned)
                for fraction in self.fractions:
                    self.finetune_ood(name, seed, fraction, tuned, rate)
        temporary = self.out / "rows.tmp"
        rows.to_csv(temporary, index=False, lineterminator="\n")
        os.replace(temporary, self.out / ROWS)
        self.write()

    @property
    def fractions(self) -> tuple[float, ...]:
        """Shares of the new site's labels that are trained on; 0 is the zero-shot test."""
        return tuple(float(fraction) for fraction in self.config.fractions if fraction)

    def check_data(self) -> None:
        """Reads every image once and looks for leaks, before anything is trained."""
        for name in self.config.stage_order:
            stage = self.config.stages[name]
            self.announce(f"checking the images of {name}")
            check = check_stage(stage.data, _kind(stage), stage=name)
            rows, _ = training_rows(stage.data, None)
            self.flow.append(flow_record(name, rows, check.skip))
        for stage in (self.config.finetune_id, self.config.finetune_ood):
            self.announce(f"checking the labelled images: {stage.data.train.to_dict()}")
            self.skip |= check_stage(stage.data, _kind(stage), stage=stage.stage).skip

    def run_stages(self) -> dict[str, str]:
        """Trains the encoders; stage name -> weights file."""
        weights: dict[str, str] = {}
        for name in self.config.stage_order:
            stage = self.config.stages[name].copy_and_resolve_references()
            after = self.config.after.get(name)
            if after:
                stage.init = weights.get(after, after)
            parent = load_parent(stage)
            check = _check(stage, parent)
            dataset = open_training(stage.data, _kind(stage), check.skip)
            self.announce(f"{name}: {stage.stage} on {len(dataset):,} images")
            folder = self.out / "stages" / name
            result = train(stage, folder, dataset, check=check, parent=parent, title=name)
            self.seconds += result.seconds
            weights[name] = str(result.weights)
            self.hashes[f"stages/{name}/{result.weights.name}"] = file_sha256(result.weights)
        return weights

    def finetune(
        self,
        stage: ConfigDict,
        arm: str,
        folder: Path,
        init: str | Path,
        seed: int,
        rate: float | None,
    ) -> tuple[Result, Dataset]:
        stage = stage.copy_and_resolve_references()
        apply_overrides(stage, tuple(self.config.arms[arm].get("overrides", ())))
        stage.init, stage.seed, stage.data.fraction_seed = str(init), seed, seed
        if rate is not None:
            stage.optimizer.learning_rate = rate
        parent = load_parent(stage)
        check = _check(stage, parent)
        result, dataset = finetune(
            stage, folder, check=check, parent=parent, skip=check.skip, title=folder.name,
            announce=self.announce,
        )  # fmt: skip
        self.seconds += result.seconds
        self.trained += 1
        return result, dataset

    def left(self) -> str:
        """How many runs are left, and how long they will take at the rate so far."""
        arms, seeds, rates = (len(self.config[k]) for k in ("arm_order", "seeds", "learning_rates"))
        total = arms * ((rates if rates > 1 else 0) + seeds * (1 + len(self.fractions)))
        minutes = (time.monotonic() - self.begun) / max(self.trained, 1) / 60
        rest = f", about {minutes * (total - self.trained):.0f} min left" if self.trained else ""
        return f"[{self.trained + 1}/{total}{rest}]"

    def finetune_id(self, arm: str, encoder: str, seed: int, rate: float | None) -> Path:
        folder = self.out / "cells" / arm / f"seed{seed}" / "id"
        self.announce(f"{self.left()} {arm}, seed {seed}: fine-tuning on {self.config.id_site}")
        result, dataset = self.finetune(
            self.config.finetune_id, arm, folder, encoder, seed, rate
        )
        self.note_cell(arm, seed, None, "id", folder, dataset, result, self.config.id_test)
        return result.weights

    def predict_id_and_zero_shot(self, arm: str, seed: int, tuned: Path) -> None:
        folder = self.out / "cells" / arm / f"seed{seed}" / "zero_shot"
        folder.mkdir(exist_ok=True)
        result = Result(tuned, 0, 0.0)
        self.note_cell(
            arm, seed, 0.0, "ood_zero_shot", folder, None, result, self.config.ood_test
        )

    def finetune_ood(
        self, arm: str, seed: int, fraction: float, tuned: Path, rate: float | None
    ) -> None:
        config = self.config
        folder = self.out / "cells" / arm / f"seed{seed}" / f"ood_{fraction:g}"
        self.announce(
            f"{self.left()} {arm}, seed {seed}: {fraction:.3%} of {config.ood_site}'s labels"
        )
        stage = config.finetune_ood.copy_and_resolve_references()
        stage.data.fraction = fraction
        if rate is not None:
            rate *= config.ood_rate_factor
        result, dataset = self.finetune(stage, arm, folder, tuned, seed, rate)
        self.note_cell(
            arm, seed, fraction, "ood_finetuned", folder, dataset, result, config.ood_test
        )

    def choose_learning_rate(self, arm: str, encoder: str) -> float | None:
        """The rate whose in-distribution validation score is best, over the first seed.

        The same grid for every arm; neither a test patient nor the new site is looked at.
        """
        rates = tuple(self.config.learning_rates)
        if len(rates) < 2:
            return rates[0] if rates else None
        best: tuple[float, float] | None = None
        for rate in rates:
            folder = self.out / "grid" / arm / f"{rate:g}"
            stage, seed = self.config.finetune_id, self.config.seeds[0]
            self.announce(f"{self.left()} {arm}: trying the learning rate {rate:g}")
            result, dataset = self.finetune(stage, arm, folder, encoder, seed, rate)
            where = stage.data.validation.to_dict()
            rows = open_rows(stage.data, where)
            table = self.predict(
                result.weights, rows, where, folder / "predictions.csv", dataset.spec
            )
            metric = self.config.metric
            reached = score(Predictions.from_table(table), level=self.config.level)[metric]
            if isinstance(reached, NotDefined):
                raise UserError(
                    f"{metric} on the validation rows {where} is not defined: {reached.reason}.",
                    "Enlarge the validation set, or give a single learning rate.",
                )
            self.announce(f"{arm}: learning rate {rate:g} validates at {metric} {reached:.3f}")
            better = -reached if metric in LOWER_IS_BETTER else reached
            if best is None or better > best[0]:
                best = (better, rate)
        return best[1]

    def predict(
        self, weights: Path, rows: Manifest, where: Mapping[str, Any], path: Path, spec: LabelSpec
    ):
        """Predictions of a weights file on `rows` of those of `where`; kept in `path`."""
        if not path.is_file():
            data = self.config.finetune_id.data
            artifact = load_artifact(weights)
            guarded = guard(artifact, rows, Rules.of(data))
            guarded.write(path.parent)
            chosen = set(rows.images)
            others = {image for image in open_rows(data, where).images if image not in chosen}
            dataset = open_evaluation(data, spec, where, guarded.skip | others)
            mesh = make_mesh(self.config.finetune_id.devices or None)
            write_predictions(path, predictions_of(artifact, dataset, mesh))
        return read_predictions(path)

    def embed(self, arm: str, weights: Path) -> None:
        """Features of both sites' test images, for the report's map; of the first seed."""
        path = self.out / EMBEDDINGS / f"{arm}.npz"
        if path.is_file():
            return
        data, artifact = self.config.finetune_id.data, load_artifact(weights)
        spec = self.spec_of(artifact)
        mesh = make_mesh(self.config.finetune_id.devices or None)
        features, columns = [], {"images": [], "groups": [], "labels": [], "sites": []}
        for site, where in (
            (self.config.id_site, self.config.id_test),
            (self.config.ood_site, self.config.ood_test),
        ):
            where = where.to_dict()
            skip = guard(artifact, open_rows(data, where), Rules.of(data)).skip
            dataset = open_evaluation(data, spec, where, skip)
            features.append(features_of(artifact.params, artifact.card, dataset, mesh))
            columns["images"] += dataset.manifest.images
            columns["groups"] += list(dataset.manifest.groups)
            columns["labels"] += _label_names(dataset)
            columns["sites"] += [site] * len(dataset)
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_suffix(".tmp")
        with open(temporary, "wb") as file:
            np.savez_compressed(
                file,
                features=np.concatenate(features).astype(np.float32),
                **{name: np.array(values, str) for name, values in columns.items()},
            )
        os.replace(temporary, path)

    def spec_of(self, artifact: Artifact) -> LabelSpec:
        head, data = artifact.card["head"], self.config.finetune_id.data
        return LabelSpec.of(head["kind"], head["classes"], data.labels, data.readers)

    def validation_rows(
        self, stage: str, fraction: float | None, seed: int
    ) -> tuple[str, Manifest, dict[str, Any]] | None:
        """The rows that choose a cell's threshold and temperature, and their site.

        None where there are none.
        """
        config = self.config
        data = config.finetune_id.data
        if stage == "ood_finetuned" and config.ood_validation:
            where = config.ood_validation.to_dict()
            rows = open_rows(data, where)
            if fraction * len(set(rows.groups)) >= LEAST_VALIDATION:
                # Without strata: a share that lacks a class has no threshold, as the report says.
                alike = [""] * len(rows)
                subset = nested_subsets(rows.groups, alike, [fraction], seed)[fraction]
                return config.ood_site, rows.select(subset), where
        where = data.validation.to_dict()
        return (config.id_site, open_rows(data, where), where) if where else None

    def note_cell(
        self,
        arm: str,
        seed: int,
        fraction: float | None,
        stage: str,
        folder: Path,
        dataset: Dataset | None,
        result: Result,
        test: ConfigDict,
    ) -> None:
        path = folder / "predictions.csv"
        data, where = self.config.finetune_id.data, test.to_dict()
        spec = self.spec_of(load_artifact(result.weights))
        self.predict(result.weights, open_rows(data, where), where, path, spec)
        chosen, site, validation = self.validation_rows(stage, fraction, seed), None, None
        if chosen is not None:
            site, rows, where = chosen
            validation = folder / "validation" / "predictions.csv"
            validation.parent.mkdir(exist_ok=True)
            self.predict(result.weights, rows, where, validation, spec)
        self.cells.append(
            {
                "arm": arm,
                "seed": int(seed),
                "fraction": fraction,
                "stage": stage,
                "predictions": str(path.relative_to(self.out)),
                "validation": validation and str(validation.relative_to(self.out)),
                "validation_site": site,
                "n_patients": dataset.patients if dataset else 0,
                "n_images": len(dataset) if dataset else 0,
                "train_seconds": result.seconds,
            }
        )

    def images_folder(self, labelled: Manifest) -> str:
        """What the images' names are relative to, for the report's gallery; "" for none."""
        if not labelled.path.is_file():
            return ""
        # Who allows images outside of the manifest's folder names them by any path.
        outside = self.config.finetune_id.data.allow_outside
        return labelled.path.resolve().anchor if outside else str(labelled.path.parent)

    def manifests(self) -> dict[str, str]:
        """Path -> SHA-256 of every manifest that is read."""
        stages = [self.config.stages[name] for name in self.config.stage_order]
        paths = [stage.data.manifest for stage in (*stages, self.config.finetune_id)]
        return {path: file_sha256(Path(path)) for path in paths if Path(path).is_file()}

    def write(self) -> None:
        """cells.jsonl and then experiment.json: a folder that has the latter is complete."""
        config = self.config
        lines = "".join(json.dumps(cell) + "\n" for cell in self.cells)
        temporary = self.out / "cells.tmp"
        temporary.write_text(lines, encoding="utf-8")
        os.replace(temporary, self.out / "cells.jsonl")
        labelled = open_rows(config.finetune_id.data)
        flow = self.flow + flow_of(self.parts, self.skip)
        write_json(
            self.out / "experiment.json",
            {
                "title": config.title,
                "task": config.task,
                "metric": config.metric,
                "level": config.level,
                "arms": {
                    name: {
                        "label": config.arms[name].label,
                        "stages": list(config.arms[name].stages),
                    }
                    for name in config.arm_order
                },
                "arm_order": list(config.arm_order),
                "baseline_arm": config.baseline_arm,
                "ssl_arms": list(config.ssl_arms),
                "margin": float(config.margin),
                "minutes_per_label": config.minutes_per_label,
                "label_unit": config.label_unit,
                "minutes_source": config.minutes_source,
                "fractions": list(self.fractions),
                "seeds": [int(seed) for seed in config.seeds],
                "id_site": config.id_site,
                "ood_site": config.ood_site,
                "counts": {
                    part["part"]: {name: part[name] for name in ("patients", "images")}
                    for part in flow
                    if part["images"]
                },
                "selection": selection_of(config),
                "flow": flow,
                "characteristics": list(config.characteristics),
                "manifests": self.manifests(),
                "weights": self.hashes,
                "images": self.images_folder(labelled),
                "hardware": hardware(),
                "hours": self.seconds / 3600,
                "config": to_json(config),
                "command": config.command,
                "versions": versions(),
                "notes": list(config.notes),
            },
        )


def run_experiment(config: ConfigDict, out: Path, *, announce: Announce) -> None:
    """Runs, or finishes, a data-efficiency experiment.

    Args:
        config: From a file in `experiments/data_efficiency/`.
        out: Its folder. Afterwards it holds `experiment.json`, `cells.jsonl`, `rows.csv` and
            `embeddings/`, from which `remedis_jax.report.page` makes the report.
        announce: Called with a line for each thing that starts.

    Raises:
        UserError, RunFailed: As `remedis_jax.training.loop.train`.
        UserError: Two parts of the labelled data share a patient.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    _Experiment(config, out, announce).run()


def allow_leakage(config: ConfigDict) -> None:
    """Lets every stage of an experiment go on in spite of leaks."""
    stages = [config.stages[name] for name in config.stage_order]
    for stage in (*stages, config.finetune_id, config.finetune_ood):
        stage.data.allow_leakage = True


def _check(stage: ConfigDict, parent: Artifact | None) -> StageCheck:
    """The check of one run's data; what was found in the images themselves is known by then."""
    seen = after(*ancestors(parent))
    return check_stage(stage.data, _kind(stage), stage=stage.stage, parent=seen)


def _kind(stage: ConfigDict) -> str | None:
    return label_kind(stage.objective.kind) if stage.stage == "supervised" else None


def _label_names(dataset: Dataset) -> list[str]:
    """What stands in the label columns of each image, several joined by '+'."""
    columns = [dataset.manifest.column(name) for name in dataset.manifest.columns.labels]
    return ["+".join(str(cell) for cell in cells) for cells in zip(*columns, strict=True)]
