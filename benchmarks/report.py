"""How long the reports of a full sweep take, and how large they are.

    python -m benchmarks.report [--out FOLDER] [--resamples 1000] [--overview-only]

Six tasks, three arms, zero-shot and eight shares of labels, in distribution, five seeds: 900 test
sets of 500 patients. All predictions are SIMULATED here, and say so on every page; no model made
them. The kinds are those of the paper's tasks: one of several classes, several findings, one of
two classes, and survival. Timed are `report_from_experiment` for each, then
`report_from_experiments` over all, which evaluates every prediction again. The goal is 60 s and
10 MB for the overview.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from remedis_jax.evaluation.predictions import predictions_table, write_predictions
from remedis_jax.report.experiment import report_from_experiment
from remedis_jax.report.overview import report_from_experiments

SECONDS, BYTES = 60, 10_000_000
PATIENTS, VALIDATION = 500, 150
SHARES = (0.01, 0.033, 0.1, 0.2, 0.33, 0.5, 0.75, 1.0)
SEEDS = (0, 1, 2, 3, 4)
# Arm -> label, strength on a site without its labels, and how many labels one of its own is worth.
ARMS = {
    "random": ("Random initialisation", 0.0, 0.4),
    "supervised": ("Natural images", 0.5, 1.0),
    "ssl": ("Natural images, then SimCLR", 0.8, 4.0),
}
TASKS = {
    "t1": ("Dermatology (SIMULATED)", "top3_accuracy", "softmax", 6),
    "t2": ("Diabetic macular oedema (SIMULATED)", "auroc", "softmax", 2),
    "t3": ("Chest X-ray conditions (SIMULATED)", "auroc", "sigmoid", 5),
    "t4": ("Metastases in lymph nodes (SIMULATED)", "auroc", "softmax", 2),
    "t5": ("Survival in colorectal cancer (SIMULATED)", "auroc", "survival", 1),
    "t6": ("Breast cancer (SIMULATED)", "auroc", "softmax", 2),
}


class Patients:
    """Invented patients of one task, and predictions of them.

    Args:
        kind: Of the predictions.
        classes: How many, or how many findings; 1 of survival.
        count: How many patients.
        rng: Draws them.
    """

    def __init__(self, kind: str, classes: int, count: int, rng: np.random.Generator):
        self.kind, self.count = kind, count
        self.names = tuple("abcdefgh"[:classes]) if kind != "survival" else ("risk",)
        self.effect = 1.2 * rng.normal(size=(count, classes))
        if kind == "softmax":
            self.y = rng.integers(classes, size=count)
            self.truth = np.eye(classes)[self.y]
        elif kind == "sigmoid":
            self.y = (rng.random((count, classes)) < 0.3).astype(float)
            self.truth = self.y
        else:
            self.truth = rng.normal(size=(count, 1))
            life, censored = rng.exponential(np.exp(-self.truth[:, 0])), rng.exponential(2, count)
            self.y = np.stack([np.minimum(life, censored), life <= censored], axis=1)

    def write(self, path: Path, strength: float, rng: np.random.Generator) -> None:
        """One model's predictions."""
        noise = 0.5 * rng.normal(size=self.truth.shape)
        logit = strength * (1 + 0.05 * rng.normal()) * self.truth + self.effect + noise
        if self.kind == "softmax":
            p = np.exp(logit)
            p /= p.sum(axis=1, keepdims=True)
        else:
            p = logit if self.kind == "survival" else 1 / (1 + np.exp(1 - logit))
        table = predictions_table(
            self.kind,
            self.names,
            [f"{i}.png" for i in range(self.count)],
            p,
            self.y,
            groups=[f"p{i}" for i in range(self.count)],
            site="simulated",
            split="test",
            horizon=1.0 if self.kind == "survival" else None,
        )
        write_predictions(path, table)


def simulate(folder: Path, task: str) -> Path:
    """One experiment of simulated predictions; returns its folder."""
    title, metric, kind, classes = TASKS[task]
    rng = np.random.default_rng(list(TASKS).index(task))
    sets = {
        part: Patients(kind, classes, count, rng)
        for part, count in (
            ("A test", PATIENTS), ("B test", PATIENTS), ("A validation", VALIDATION),
            ("B validation", VALIDATION),
        )
    }  # fmt: skip
    cells = []
    for arm, (_, start, worth) in ARMS.items():
        for seed in SEEDS:
            settings = [("id", "A", 0.0, 2.0), ("ood_zero_shot", "B", 0.0, start)]
            settings += [
                ("ood_finetuned", "B", share, start + 0.35 * np.log1p(worth * share / 0.01))
                for share in SHARES
            ]
            for stage, site, share, strength in settings:
                place = folder / "cells" / arm / f"seed{seed}" / f"{stage}_{share:g}"
                sets[f"{site} test"].write(place / "predictions.csv", strength, rng)
                chosen = place / "validation" / "predictions.csv"
                sets["B validation" if share else "A validation"].write(chosen, strength, rng)
                cells.append(
                    {
                        "arm": arm,
                        "seed": seed,
                        "fraction": share,
                        "stage": stage,
                        "predictions": str((place / "predictions.csv").relative_to(folder)),
                        "validation": str(chosen.relative_to(folder)),
                        "n_patients": round(4000 * share),
                        "n_images": round(4000 * share),
                        "train_seconds": 0.0,
                    }
                )
        write_embeddings(folder / "embeddings" / f"{arm}.npz", rng)
    (folder / "cells.jsonl").write_text("".join(json.dumps(cell) + "\n" for cell in cells))
    write_rows(folder / "rows.csv", sets, rng)
    record = {
        "title": title,
        "task": task,
        "metric": metric,
        "level": "image",
        "arms": {
            arm: {"label": label, "stages": ["SIMULATED: no training"]}
            for arm, (label, _, _) in ARMS.items()
        },
        "baseline_arm": "supervised",
        "ssl_arms": ["ssl"],
        "margin": 0.02,
        "minutes_per_label": 5.0,
        "minutes_source": "invented for this benchmark",
        "label_unit": "patient",
        "fractions": list(SHARES),
        "seeds": list(SEEDS),
        "id_site": "A",
        "ood_site": "B",
        "counts": {"B training": {"patients": 4000, "images": 4000}},
        "characteristics": ["age", "sex"],
        "command": "python -m benchmarks.report",
        "versions": {},
        "notes": ["SIMULATED predictions of a benchmark. They say nothing of any method."],
    }
    (folder / "experiment.json").write_text(json.dumps(record, indent=1))
    return folder


def write_embeddings(path: Path, rng: np.random.Generator) -> None:
    """Invented features of both test sets."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 2 * PATIENTS
    np.savez_compressed(
        path,
        features=rng.normal(size=(count, 64)).astype(np.float32),
        images=np.array([f"{i}.png" for i in range(count)]),
        groups=np.array([f"p{i}" for i in range(count)]),
        labels=np.array(["a", "b"] * PATIENTS),
        sites=np.repeat(["A", "B"], PATIENTS),
    )


def write_rows(path: Path, sets: dict[str, Patients], rng: np.random.Generator) -> None:
    """Invented characteristics."""
    frames = [
        pd.DataFrame(
            {
                "part": part,
                "image": [f"{i}.png" for i in range(patients.count)],
                "group": [f"p{i}" for i in range(patients.count)],
                "site": part[0],
                "split": part[2:],
                "label": "",
                "age": rng.integers(20, 90, patients.count),
                "sex": rng.choice(["f", "m"], patients.count),
            }
        )
        for part, patients in sets.items()
    ]
    pd.concat(frames).to_csv(path, index=False)


def timed(what: str, write: Callable[[], Path]) -> tuple[float, int]:
    """Seconds, and bytes of the page; prints both."""
    start = time.perf_counter()
    page = write()
    seconds, size = time.perf_counter() - start, page.stat().st_size
    print(f"{what}: {seconds:.1f} s, page of {size / 1e6:.2f} MB", flush=True)
    return seconds, size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="keep the pages here; a temporary folder if not")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--overview-only", action="store_true", help="skip the tasks' own reports")
    options = parser.parse_args()
    given = {"resamples": options.resamples}
    root = options.out or Path(tempfile.mkdtemp(prefix="remedis-report-"))
    try:
        start = time.perf_counter()
        folders = [simulate(root / task, task) for task in TASKS]
        print(f"predictions simulated in {time.perf_counter() - start:.1f} s (not counted)")
        single = [
            timed(folder.name, lambda f=folder: report_from_experiment(f, **given))
            for folder in ([] if options.overview_only else folders)
        ]
        seconds, size = timed(
            f"overview of {len(folders)} tasks",
            lambda: report_from_experiments(folders, root / "overview", **given),
        )
        if single:
            whole = seconds + sum(spent for spent, _ in single)
            print(f"all {len(single)} reports and the overview: {whole:.1f} s")
        for what, value, limit, unit in (
            ("time", seconds, SECONDS, "s"), ("size", size / 1e6, BYTES / 1e6, "MB"),
        ):  # fmt: skip
            verdict = "under" if value < limit else "OVER"
            print(f"overview, {what}: {value:.1f} {unit}, {verdict} the limit of {limit:g} {unit}")
    finally:
        if options.out is None:
            shutil.rmtree(root)


if __name__ == "__main__":
    main()
