"""Test sets of patients with several images each, and models whose true AUROC is known.

The score of an image of patient g by run k is

    x = mu_k y_g + a u_g + b w_gk + c e,    a^2 + b^2 + c^2 = 1,

with the patient's label y, what is the same for all models (u), what is this run's (w) and what is
the image's (e), all standard normal. Two images of one patient have the correlation a^2 + b^2. An
image of a sick and one of a healthy patient are of different patients, so the scores of a run
differ by N(mu_k, 2), and its AUROC is Phi(mu_k / sqrt(2)): the binormal model (Dorfman and Alf
1969, J. Math. Psychol. 6:487). Runs of an arm differ by their seed, mu_k = mu + N(0, s^2), and the
AUROC that their mean estimates is Phi(mu / sqrt(2 + s^2)).
"""

import dataclasses

import numpy as np
from scipy.special import expit
from scipy.stats import norm

from remedis_jax.evaluation.predictions import Predictions

SICK = 0.4  # share of the patients
IMAGES = (4, 12)  # fewest and most of a patient; any number in between is as likely
SHARED, OWN = 0.6, 0.2  # variances a^2 and b^2


@dataclasses.dataclass(frozen=True)
class Design:
    """What is simulated.

    Attributes:
        title: What is estimated, in words.
        aurocs: The true AUROC of one arm, or of the two whose difference is taken.
        runs: Of each arm.
        seed_sd: s: how much the runs of an arm differ in mu. Half of its variance is common to the
            runs at one position, which have the same seed.
        patients: Of a test set.
        by_image: Whether images are resampled as well, to see how wrong that is.
    """

    title: str
    aurocs: tuple[float, ...]
    runs: int = 1
    seed_sd: float = 0.0
    patients: int = 100
    by_image: bool = True

    @property
    def truth(self) -> float:
        """The AUROC, or that of the first arm minus that of the second."""
        return self.aurocs[0] - sum(self.aurocs[1:])

    def draw(self, rng: np.random.Generator) -> list[list[Predictions]]:
        """A test set, as the runs of each arm see it."""
        sick = rng.random(self.patients) < SICK
        each = rng.integers(IMAGES[0], IMAGES[1], endpoint=True, size=self.patients)
        shared = np.sqrt(SHARED) * rng.standard_normal(self.patients)
        of_seed = rng.standard_normal(self.runs)
        return [
            [
                self._run(rng, auroc, sick, each, shared, of_seed[run])
                for run in range(self.runs)
            ]
            for auroc in self.aurocs
        ]

    def _run(
        self,
        rng: np.random.Generator,
        auroc: float,
        sick: np.ndarray,
        each: np.ndarray,
        shared: np.ndarray,
        of_seed: float,
    ) -> Predictions:
        mean = norm.ppf(auroc) * np.sqrt(2 + self.seed_sd**2)
        mean += self.seed_sd * (of_seed + rng.standard_normal()) / np.sqrt(2)
        severity = mean * sick + shared + np.sqrt(OWN) * rng.standard_normal(len(sick))
        noise = np.sqrt(1 - SHARED - OWN) * rng.standard_normal(each.sum())
        p = expit(np.repeat(severity, each) + noise)
        names = np.char.add("i", np.arange(len(p)).astype(str))
        groups = np.char.add("p", np.repeat(np.arange(len(sick)), each).astype(str))
        y = np.repeat(sick, each).astype(np.int64)
        both = np.stack([1 - p, p], axis=1)
        return Predictions("softmax", ("healthy", "sick"), y, both, groups, names)


DESIGNS = {
    "auroc_50": Design("AUROC, 50 patients", (0.80,), patients=50, by_image=False),
    "auroc": Design("AUROC, 100 patients", (0.80,)),
    "auroc_200": Design("AUROC, 200 patients", (0.80,), patients=200, by_image=False),
    "difference": Design("difference of two models", (0.85, 0.80)),
    "no_difference": Design("difference of two equal models", (0.80, 0.80)),
    "seeds": Design("AUROC, mean of 5 seeds", (0.80,), runs=5, seed_sd=0.15, by_image=False),
    "seed_difference": Design(
        "difference of two arms of 5 seeds", (0.85, 0.80), runs=5, seed_sd=0.15, by_image=False
    ),
}
