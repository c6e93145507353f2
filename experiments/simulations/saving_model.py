"""Invented experiments whose label saving is known; see `experiments.simulations.saving`."""

import dataclasses

import numpy as np

from remedis_jax.evaluation.bootstrap import interval_of
from remedis_jax.evaluation.curves import NoCrossing, Point
from remedis_jax.evaluation.label_saving import LabelSaving, label_saving
from remedis_jax.evaluation.predictions import Predictions
from remedis_jax.evaluation.resampling import resample_runs

FRACTIONS = (0.0, 0.01, 0.033, 0.1, 0.2, 0.33, 0.5, 0.75, 1.0)  # the experiment's defaults
SEEDS = 5
# Below all ours: AUROC from 0.58 to 0.89, with seeds that scatter about as much as the sampling of
# patients lets the mean scatter (standard deviation between seeds 0.027, of the mean 0.024).
PATIENTS, IMAGES_EACH = 200, 2
PREVALENCE = 0.4
WEAKEST, STRONGEST, BEND = 0.4, 2.2, 0.03
IMAGE_NOISE, MODEL_NOISE = 0.5, 0.6
RESAMPLES, MARGIN = 400, 0.02
NEW_HOSPITAL = 1000  # labelled patients of the new hospital with all labels


@dataclasses.dataclass(frozen=True)
class Scenario:
    """What is planted.

    Attributes:
        name: In the tables.
        start, slope: The arm at the share f is as strong as the baseline at start + slope * f.
        truth: The saving: a number, or the answer that there is instead.
        share: Of the simulations that are asked for, how many are made of it.
        seed_spread: Standard deviation of the strength between seeds, relative to the strength.
    """

    name: str
    start: float
    slope: float
    truth: float | NoCrossing
    share: float
    seed_spread: float = 0.1


SCENARIOS = (
    Scenario("planted", 0.0, 4.0, 4.0, 1.0),
    Scenario("noisy", 0.0, 4.0, 4.0, 0.5, seed_spread=0.3),
    Scenario("never", 0.0, 0.1, NoCrossing.NEVER_REACHED, 0.25),
    Scenario("zero", 2.0, 1.0, NoCrossing.ALREADY_AT_ZERO, 0.25),
)


def strength(labels: float) -> float:
    """Of a model that was trained on `labels` times the new hospital's labels."""
    return WEAKEST + (STRONGEST - WEAKEST) * np.log1p(labels / BEND) / np.log1p(4 / BEND)


class TestSet:
    """Invented test patients of the new hospital.

    Args:
        rng: Draws them.
        patients: How many.
        seed_spread: As in `Scenario`.
    """

    __test__ = False  # the name is the field's word, and no test

    def __init__(self, rng: np.random.Generator, patients: int, seed_spread: float):
        self.rng, self.seed_spread = rng, seed_spread
        self.patient = np.repeat(np.arange(patients), IMAGES_EACH)
        n = len(self.patient)
        self.y = (rng.random(patients) < PREVALENCE).astype(np.int64)[self.patient]
        self.effect = rng.normal(size=patients)[self.patient] + IMAGE_NOISE * rng.normal(size=n)
        self.images = np.array([f"{i}.png" for i in range(n)])

    def predict(self, labels: float) -> Predictions:
        """One seed's model of strength s(labels)."""
        seed = 1 + self.seed_spread * self.rng.normal()
        noise = MODEL_NOISE * self.rng.normal(size=self.patient[-1] + 1)[self.patient]
        logit = strength(labels) * seed * (self.y - 0.5) + self.effect + noise
        p = 1 / (1 + np.exp(-logit))
        return Predictions(
            kind="softmax",
            classes=("absent", "present"),
            y=self.y,
            p=np.stack([1 - p, p], axis=1),
            groups=self.patient.astype(str),
            images=self.images,
        )

    def point(self, arm: str, fraction: float, labels: float, resamples: int, seed: int) -> Point:
        """The seeds of one setting, evaluated as a report does."""
        runs = resample_runs([self.predict(labels) for _ in range(SEEDS)], "auroc", resamples, seed)
        return Point(
            arm=arm,
            stage="ood_finetuned" if fraction else "ood_zero_shot",
            fraction=fraction,
            seeds=tuple(range(SEEDS)),
            n_patients=round(NEW_HOSPITAL * fraction),
            n_images=round(IMAGES_EACH * NEW_HOSPITAL * fraction),
            runs=runs,
            interval=interval_of(runs),
        )


def simulate(
    scenario: Scenario, number: int, patients: int = PATIENTS, resamples: int = RESAMPLES
) -> LabelSaving:
    """One simulated experiment.

    Args:
        scenario: What is planted.
        number: Of the simulation; the same number gives the same experiment.
        patients: Of the test set.
        resamples: Of its bootstrap.
    """
    rng = np.random.default_rng([number, SCENARIOS.index(scenario)])
    test = TestSet(rng, patients, scenario.seed_spread)
    arm = [
        test.point("arm", f, scenario.start + scenario.slope * f, resamples, number)
        for f in FRACTIONS
    ]
    baseline = test.point("baseline", 1.0, 1.0, resamples, number)
    return label_saving(arm, baseline, "auroc", margin=MARGIN, minutes_per_label=5)
