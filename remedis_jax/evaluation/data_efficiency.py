"""Data-efficient generalisation: how few labels of a new hospital an encoder needs.

The protocol (after REMEDIS; Azizi et al. 2023):

1. the stages that make the encoders, each once, in order;
2. every arm, for every seed: fine-tune on the labelled site ("in distribution"); predict its test
   patients and, with the same weights, those of the new site ("zero-shot");
3. from those weights, fine-tune on nested, stratified fractions of the new site's training
   patients; predict its test patients, which are never trained on.

Every run is one folder that is complete or goes on where it stopped, so the same call finishes an
interrupted experiment and leaves a finished one alone.
"""

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from remedis_jax.data.checking import StageCheck, check_stage
from remedis_jax.data.dataset import Dataset, open_evaluation, open_rows, open_training
from remedis_jax.data.labels import LabelSpec
from remedis_jax.data.seen_stages import after
from remedis_jax.errors import UserError
from remedis_jax.evaluation.finetuning import finetune
from remedis_jax.evaluation.guard import Rules, guard
from remedis_jax.evaluation.metrics import LOWER_IS_BETTER, NotDefined, score
from remedis_jax.evaluation.predict import predictions_of
from remedis_jax.evaluation.predictions import Predictions, read_predictions, write_predictions
from remedis_jax.objectives.supervised import label_kind
from remedis_jax.training.loop import Result, ancestors, load_parent, train
from remedis_jax.training.sharding import make_mesh
from remedis_jax.training.workdir import write_json
from remedis_jax.versions import versions
from remedis_jax.weights.artifact import Artifact, load_artifact

Announce = Callable[[str], None]


@dataclasses.dataclass
class _Experiment:
    """Where an experiment stands; see `run_experiment`."""

    config: ConfigDict
    out: Path
    announce: Announce
    cells: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def run(self) -> None:
        config = self.config
        self.check_data()
        encoders = self.run_stages()
        for name in config.arm_order:
            arm = config.arms[name]
            rate = self.choose_learning_rate(name, encoders[arm.start])
            for seed in config.seeds:
                tuned = self.finetune_id(name, encoders[arm.start], seed, rate)
                self.predict_id_and_zero_shot(name, seed, tuned)
                for fraction in config.fractions:
                    self.finetune_ood(name, seed, fraction, tuned, rate)
        self.write()

    def check_data(self) -> None:
        """Reads every image once and looks for leaks, before anything is trained."""
        for name in self.config.stage_order:
            stage = self.config.stages[name]
            self.announce(f"checking the images of {name}")
            check_stage(stage.data, _kind(stage), stage=name)
        for stage in (self.config.finetune_id, self.config.finetune_ood):
            self.announce(f"checking the labelled images: {stage.data.train.to_dict()}")
            check_stage(stage.data, _kind(stage), stage=stage.stage)

    def run_stages(self) -> dict[str, Path]:
        """Trains the encoders; stage name -> weights file."""
        weights: dict[str, Path] = {}
        for name in self.config.stage_order:
            stage = self.config.stages[name].copy_and_resolve_references()
            after = self.config.after.get(name)
            if after:
                stage.init = str(weights[after])
            parent = load_parent(stage)
            check = _check(stage, parent)
            dataset = open_training(stage.data, _kind(stage), check.skip)
            self.announce(f"{name}: {stage.stage} on {len(dataset):,} images")
            folder = self.out / "stages" / name
            weights[name] = train(
                stage, folder, dataset, check=check, parent=parent, title=name
            ).weights
        return weights

    def finetune(
        self, stage: ConfigDict, folder: Path, init: Path, seed: int, rate: float | None
    ) -> tuple[Result, Dataset]:
        stage = stage.copy_and_resolve_references()
        stage.init, stage.seed, stage.data.fraction_seed = str(init), seed, seed
        if rate is not None:
            stage.optimizer.learning_rate = rate
        parent = load_parent(stage)
        check = _check(stage, parent)
        return finetune(
            stage, folder, check=check, parent=parent, skip=check.skip, title=folder.name,
            announce=self.announce,
        )  # fmt: skip

    def finetune_id(self, arm: str, encoder: Path, seed: int, rate: float | None) -> Path:
        folder = self.out / "cells" / arm / f"seed{seed}" / "id"
        self.announce(f"{arm}, seed {seed}: fine-tuning on {self.config.id_site}")
        result, dataset = self.finetune(self.config.finetune_id, folder, encoder, seed, rate)
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
        self.announce(f"{arm}, seed {seed}: {fraction:.3%} of {config.ood_site}'s labels")
        stage = config.finetune_ood.copy_and_resolve_references()
        stage.data.fraction = float(fraction)
        if rate is not None:
            rate *= config.ood_rate_factor
        result, dataset = self.finetune(stage, folder, tuned, seed, rate)
        self.note_cell(
            arm, seed, fraction, "ood_finetuned", folder, dataset, result, config.ood_test
        )

    def choose_learning_rate(self, arm: str, encoder: Path) -> float | None:
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
            result, dataset = self.finetune(stage, folder, encoder, seed, rate)
            where = stage.data.validation.to_dict()
            table = self.predict(result.weights, where, folder / "predictions.csv", dataset.spec)
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

    def predict(self, weights: Path, where: dict[str, Any], path: Path, spec: LabelSpec):
        """Predictions of a weights file on rows of the labelled manifest; kept in `path`."""
        if not path.is_file():
            data = self.config.finetune_id.data
            artifact = load_artifact(weights)
            guarded = guard(artifact, open_rows(data, where), Rules.of(data))
            guarded.write(path.parent)
            rows = open_evaluation(data, spec, where, guarded.skip)
            mesh = make_mesh(self.config.finetune_id.devices or None)
            write_predictions(path, predictions_of(artifact, rows, mesh))
        return read_predictions(path)

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
        head = load_artifact(result.weights).card["head"]
        data = self.config.finetune_id.data
        spec = LabelSpec.of(head["kind"], head["classes"], data.labels, data.readers)
        self.predict(result.weights, test.to_dict(), path, spec)
        self.cells.append(
            {
                "arm": arm,
                "seed": int(seed),
                "fraction": fraction,
                "stage": stage,
                "predictions": str(path.relative_to(self.out)),
                "n_patients": dataset.patients if dataset else 0,
                "n_images": len(dataset) if dataset else 0,
                "train_seconds": result.seconds,
            }
        )

    def counts(self) -> dict[str, dict[str, int]]:
        """Patients and images of every part of the data."""
        config = self.config
        parts = {
            name: open_training(config.stages[name].data, _kind(config.stages[name]))
            for name in config.stage_order
        }
        id_data, ood_data = config.finetune_id.data, config.finetune_ood.data
        parts[f"{config.id_site} training"] = open_training(id_data, None)
        parts[f"{config.ood_site} training"] = open_training(ood_data, None)
        parts[f"{config.id_site} test"] = open_evaluation(id_data, None, config.id_test.to_dict())
        parts[f"{config.ood_site} test"] = open_evaluation(
            ood_data, None, config.ood_test.to_dict()
        )
        return {
            name: {"patients": part.patients, "images": len(part)} for name, part in parts.items()
        }

    def write(self) -> None:
        """cells.jsonl and then experiment.json: a folder that has the latter is complete."""
        config = self.config
        lines = "".join(json.dumps(cell) + "\n" for cell in self.cells)
        temporary = self.out / "cells.tmp"
        temporary.write_text(lines, encoding="utf-8")
        os.replace(temporary, self.out / "cells.jsonl")
        write_json(
            self.out / "experiment.json",
            {
                "title": config.title,
                "metric": config.metric,
                "level": config.level,
                "arms": {
                    name: {
                        "label": config.arms[name].label,
                        "stages": list(config.arms[name].stages),
                    }
                    for name in config.arm_order
                },
                "baseline_arm": config.baseline_arm,
                "ssl_arm": config.ssl_arm,
                "fractions": [float(fraction) for fraction in config.fractions],
                "seeds": [int(seed) for seed in config.seeds],
                "id_site": config.id_site,
                "ood_site": config.ood_site,
                "counts": self.counts(),
                "command": config.command,
                "versions": versions(),
                "notes": list(config.notes),
            },
        )


def run_experiment(config: ConfigDict, out: Path, *, announce: Announce) -> None:
    """Runs, or finishes, a data-efficiency experiment.

    Args:
        config: From a file in `experiments/data_efficiency/`.
        out: Its folder. Afterwards it holds `experiment.json` and `cells.jsonl`, from which
            `remedis_jax.report.page` makes the report.
        announce: Called with a line for each thing that starts.

    Raises:
        UserError, RunFailed: As `remedis_jax.training.loop.train`.
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
