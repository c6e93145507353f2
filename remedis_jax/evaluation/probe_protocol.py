"""What a run of probes is asked for, and what each probe leaves behind."""

import dataclasses

from remedis_jax.errors import UserError
from remedis_jax.evaluation.metrics import check_metric
from remedis_jax.evaluation.probe import KNN, LINEAR

# The protocol's own (experiments/data_efficiency); 0 is the zero-shot test.
FRACTIONS = (0.01, 0.033, 0.1, 0.2, 0.33, 0.5, 0.75, 1.0)
PROBES = (LINEAR, KNN)
FULL, SHOTS, SHARE = "full", "shots", "share"


@dataclasses.dataclass(frozen=True)
class Protocol:
    """What is run.

    Attributes:
        id_site, ood_site: The first site and the new one; '' where all rows are of one.
        probe: The probe whose curves over the new site's labels are drawn: 'linear' or 'knn'.
        metric: What chooses and is reported, as in `metrics.score`.
        level: 'group' to score patients, 'image' to score images.
        seeds: One draw of labels each.
        shots: Images of each class.
        fractions: Shares of the labels; None for the protocol's where there is a new site, those
            that the data allow, and for none where there is not.
        new_site_only: Train on the new site's shares alone, not with the first site's rows.
    """

    id_site: str = ""
    ood_site: str = ""
    probe: str = LINEAR
    metric: str = "auroc"
    level: str = "group"
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    shots: tuple[int, ...] = ()
    fractions: tuple[float, ...] | None = None
    new_site_only: bool = False

    def __post_init__(self) -> None:
        if self.probe not in PROBES:
            raise UserError(f"probe {self.probe!r} is unknown.", f"Choose {' or '.join(PROBES)}.")
        if not self.seeds or min((*self.shots, 1)) < 1:
            raise UserError(
                f"{len(self.seeds)} seeds and the shots {self.shots} make no experiment.",
                "Take one seed or more, and one shot or more.",
            )
        check_metric(self.metric)
        if self.level not in ("image", "group"):
            raise UserError(f"level {self.level!r} is unknown.", "Choose 'image' or 'group'.")
        if self.ood_site and not self.id_site:
            raise UserError(
                f"a new site {self.ood_site!r} is named, and not which site the labels are of.",
                "Name both: --id-site A --ood-site B.",
            )
        if self.id_site and self.id_site == self.ood_site:
            raise UserError(f"{self.id_site!r} is named as both sites.", "Name two sites.")
        if any(not 0 < fraction <= 1 for fraction in self.fractions or ()):
            raise UserError(
                f"the label fractions {list(self.fractions)} are not all above 0 and up to 1.",
                "Correct them, for example 0.1, 0.25, 0.5, 1.0.",
            )

    @property
    def sites(self) -> tuple[str, ...]:
        return tuple(site for site in (self.id_site, self.ood_site) if site)


@dataclasses.dataclass(frozen=True)
class Fit:
    """One probe on one test set; a line of `probes.jsonl`.

    Attributes:
        encoder: Name of the encoder.
        probe: 'linear' or 'knn'.
        trained_on: 'full' (all training rows of the first site), 'shots', or 'share'.
        amount: Shots, or the share; 1 of 'full'.
        seed: Of the draw.
        test: Name of the part that was predicted.
        predictions: File of predictions, relative to the folder.
        validation: The same of the rows that choose thresholds; None if there are none.
        setting: C or k.
        n_patients, n_images: Labels it was trained on; of a share at a new site, those of the
            share.
        seconds: Of fitting and predicting.
    """

    encoder: str
    probe: str
    trained_on: str
    amount: float
    seed: int
    test: str
    predictions: str
    validation: str | None
    setting: float
    n_patients: int
    n_images: int
    seconds: float
