"""The phantom on disk: how much of each part, and its three folders."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pandas as pd

from remedis_jax.data.phantom.acquisition import ARCHIVE, HOSPITAL_A, HOSPITAL_B
from remedis_jax.data.phantom.cohort import Cohort, generate_cohort
from remedis_jax.data.phantom.folder import complete_folder, write_part
from remedis_jax.data.phantom.natural import generate_natural
from remedis_jax.errors import UserError

# Raised whenever the same arguments give other bytes than before.
PHANTOM_VERSION = 1
PARTS = ("natural", "pool", "labelled")


@dataclasses.dataclass(frozen=True)
class PhantomSize:
    """How much of each part: images of the natural set, patients of all else. Defaults: ours.

    Patients have 2.5 images on average. The defaults make about 11,000 images in about 12 s on
    one core.

    Raises:
        UserError: A number is below 1.
    """

    natural_train: int = 3600
    natural_val: int = 400
    pool: int = 1200
    hospital_a_train: int = 300
    hospital_a_val: int = 100
    hospital_a_test: int = 250
    hospital_b_train: int = 400
    hospital_b_val: int = 100
    hospital_b_test: int = 400

    def __post_init__(self) -> None:
        for name, count in dataclasses.asdict(self).items():
            if count < 1:
                raise UserError(f"{name} is {count}.", "Every part needs at least one.")

    @classmethod
    def tiny(cls) -> "PhantomSize":
        """A few patients of each kind: enough to see that everything works."""
        return cls(
            natural_train=40,
            natural_val=10,
            pool=16,
            hospital_a_train=12,
            hospital_a_val=10,
            hospital_a_test=10,
            hospital_b_train=12,
            hospital_b_val=10,
            hospital_b_test=10,
        )


def write_phantom(
    out_dir: str | os.PathLike, seed: int = 0, size: int = 40, scale: PhantomSize | None = None
) -> dict[str, Path]:
    """Writes the whole phantom, or returns at once where the same phantom stands already.

    The folders `natural`, `pool` and `labelled` each hold `manifest.csv` and `images/`; paths in a
    manifest are relative to it. The pool has no finding; `latents.csv` beside the manifests of pool
    and labelled tells severity and nuisance, for those who want to look behind the films.
    `phantom.json` holds the arguments, the version and the SHA-256 of each manifest.

    Everything is written to a hidden folder beside `out_dir` and renamed at the end.

    Args:
        out_dir: The folder to make.
        seed: Any non-negative integer; the same seed gives the same bytes.
        size: Height and width of the images in pixels, 32 to 256.
        scale: How much of each part; None is `PhantomSize()`.

    Returns:
        'natural', 'pool', 'labelled' -> path of the manifest.

    Raises:
        UserError: `out_dir` holds something else, a phantom of other arguments, or a phantom whose
            manifests were changed; or an argument is outside its range.
    """
    out_dir, scale = Path(out_dir), scale or PhantomSize()
    arguments = {
        "version": PHANTOM_VERSION,
        "seed": seed,
        "size": size,
        "scale": dataclasses.asdict(scale),
    }

    def write(folder: Path) -> None:
        _write_natural(folder / "natural", seed, size, scale)
        _write_pool(folder / "pool", seed, size, scale)
        _write_labelled(folder / "labelled", seed, size, scale)

    return complete_folder(out_dir, arguments, PARTS, write)


def _write_natural(folder: Path, seed: int, size: int, scale: PhantomSize) -> None:
    natural = generate_natural(seed, scale.natural_train + scale.natural_val, size=size)
    split = np.repeat(["train", "val"], [scale.natural_train, scale.natural_val])
    write_part(folder, natural.images, natural.table.assign(split=split))


def _write_pool(folder: Path, seed: int, size: int, scale: PhantomSize) -> None:
    pool = generate_cohort(seed, scale.pool, ARCHIVE, site="archive", size=size)
    table = pool.table.drop(columns="finding").assign(split="pool")
    write_part(folder, pool.images, table, pool.latents)


def _write_labelled(folder: Path, seed: int, size: int, scale: PhantomSize) -> None:
    cohorts, tables = [], []
    for site, acquisition in (("hospital_a", HOSPITAL_A), ("hospital_b", HOSPITAL_B)):
        counts = {split: getattr(scale, f"{site}_{split}") for split in ("train", "val", "test")}
        cohort = generate_cohort(seed, sum(counts.values()), acquisition, site=site, size=size)
        cohorts.append(cohort)
        tables.append(cohort.table.assign(split=_split_by_patient(cohort, counts)))
    write_part(
        folder,
        np.concatenate([cohort.images for cohort in cohorts]),
        pd.concat(tables),
        pd.concat([cohort.latents for cohort in cohorts]),
    )


def _split_by_patient(cohort: Cohort, counts: dict[str, int]) -> np.ndarray:
    """Patients are independent and alike, so the first are as random a sample as any other."""
    number, _ = pd.factorize(cohort.table["patient_id"])
    return np.repeat(list(counts), list(counts.values()))[number]
