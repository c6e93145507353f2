"""A finished experiment on disk, with invented predictions whose strength is chosen."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from remedis_jax.evaluation.predictions import predictions_table, write_predictions

FRACTIONS = (0.01, 0.1, 1.0)
PLAIN = {"id": 1.6, 0.0: 0.2, 0.01: 0.3, 0.1: 0.7, 1.0: 1.2}
STRONG = {"id": 1.6, 0.0: 0.9, 0.01: 1.0, 0.1: 1.6, 1.0: 1.8}


def write_experiment(
    folder: Path,
    plain: Mapping = PLAIN,
    ssl: Mapping = STRONG,
    *,
    seeds: tuple[int, ...] = (0, 1, 2),
    label: int | None = None,
    **changes: object,
) -> Path:
    """80 patients with two images; the score is strength * class + patient + image noise.

    Args:
        plain: Setting -> strength of the baseline arm.
        ssl: Setting -> strength of the other arm.
        label: Gives every image this class.
        changes: Keys of experiment.json.
    """
    patient = np.repeat(np.arange(80), 2)
    y = patient % 2 if label is None else np.full(160, label)
    names = [f"{i}.png" for i in range(160)]
    noise = np.random.default_rng(0).normal(size=80)[patient]
    cells = []
    for arm, strengths in {"plain": plain, "ssl": ssl}.items():
        for seed in seeds:
            for setting, strength in strengths.items():
                rng = np.random.default_rng([seed, list(strengths).index(setting), arm == "ssl"])
                logit = strength * (2 * (patient % 2) - 1) + noise + 0.3 * rng.normal(size=160)
                p = 1 / (1 + np.exp(-logit))
                path = folder / "cells" / f"{arm}-{seed}-{setting}.csv"
                write_predictions(
                    path,
                    predictions_table(
                        "softmax",
                        ("no", "yes"),
                        names,
                        np.stack([1 - p, p], axis=1),
                        y,
                        groups=patient.astype(str),
                    ),
                )
                share = 0.0 if setting == "id" else setting
                cells.append(
                    {
                        "arm": arm,
                        "seed": seed,
                        "fraction": None if setting == "id" else share,
                        "stage": "id"
                        if setting == "id"
                        else ("ood_finetuned" if share else "ood_zero_shot"),
                        "predictions": str(path.relative_to(folder)),
                        "n_patients": round(400 * share),
                        "n_images": round(1000 * share),
                        "train_seconds": 1.0,
                    }
                )
    (folder / "cells.jsonl").write_text("".join(json.dumps(cell) + "\n" for cell in cells))
    record = {
        "title": "Labels of a new hospital",
        "metric": "auroc",
        "arms": {
            "plain": {"label": "Supervised", "stages": ["natural images", "fine-tuning"]},
            "ssl": {"label": "With SSL", "stages": ["natural images", "SimCLR", "fine-tuning"]},
        },
        "baseline_arm": "plain",
        "ssl_arms": ["ssl"],
        "fractions": list(FRACTIONS),
        "seeds": list(seeds),
        "id_site": "Hospital A",
        "ood_site": "Hospital B",
        "counts": {"A training": {"patients": 1500, "images": 3750}},
        "command": "remedis sweep --config x.py --out runs/x",
        "versions": {"python": "3.11.7", "jax": "0.10.2"},
        "notes": ["The images are invented."],
    }
    (folder / "experiment.json").write_text(json.dumps(record | changes))
    return folder


@pytest.fixture
def experiment() -> Callable[..., Path]:
    return write_experiment


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """One experiment in which self-supervision helps; tests only read it."""
    return write_experiment(tmp_path_factory.mktemp("experiment"))
