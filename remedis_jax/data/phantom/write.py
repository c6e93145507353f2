"""The phantom on disk: PNG images and manifests, a folder that is complete or absent."""

import dataclasses
import hashlib
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from remedis_jax.data.phantom.acquisition import ARCHIVE, HOSPITAL_A, HOSPITAL_B
from remedis_jax.data.phantom.cohort import Cohort, generate_cohort
from remedis_jax.data.phantom.natural import generate_natural
from remedis_jax.errors import UserError

# Raised whenever the same arguments give other bytes than before.
PHANTOM_VERSION = 1
PARTS = ("natural", "pool", "labelled")
_RECEIPT = "phantom.json"


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
    if not _is_vacant(out_dir):
        return _existing(out_dir, arguments)

    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out_dir.parent, prefix=f".{out_dir.name}-") as hidden:
        # One level down: the hidden folder itself is readable by its owner alone.
        complete = Path(hidden) / "phantom"
        _write_natural(complete / "natural", seed, size, scale)
        _write_pool(complete / "pool", seed, size, scale)
        _write_labelled(complete / "labelled", seed, size, scale)
        receipt = {**arguments, "sha256": {part: _digest(complete, part) for part in PARTS}}
        (complete / _RECEIPT).write_text(json.dumps(receipt, indent=2) + "\n")
        try:
            complete.rename(out_dir)
        except OSError:
            # Another process may have been first; then its phantom has to be this one.
            if _is_vacant(out_dir):
                raise
    return _existing(out_dir, arguments)


def _is_vacant(folder: Path) -> bool:
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))


def _existing(folder: Path, arguments: dict) -> dict[str, Path]:
    """Manifests of the phantom that stands in the folder, if it is the one asked for."""
    elsewhere = "Choose another folder, or delete this one."
    if not (folder / _RECEIPT).is_file():
        raise UserError(f"{folder} exists and is no phantom.", elsewhere)
    receipt = json.loads((folder / _RECEIPT).read_text())
    differing = [name for name, value in arguments.items() if receipt.get(name) != value]
    if differing:
        raise UserError(
            f"{folder} holds a phantom with another {' and '.join(differing)}.", elsewhere
        )
    for part in PARTS:
        manifest = _manifest(folder, part)
        if not manifest.is_file() or _digest(folder, part) != receipt["sha256"][part]:
            raise UserError(f"{manifest} is missing or was changed.", elsewhere)
    return {part: _manifest(folder, part) for part in PARTS}


def _manifest(folder: Path, part: str) -> Path:
    return folder / part / "manifest.csv"


def _digest(folder: Path, part: str) -> str:
    return hashlib.sha256(_manifest(folder, part).read_bytes()).hexdigest()


def _write_natural(folder: Path, seed: int, size: int, scale: PhantomSize) -> None:
    natural = generate_natural(seed, scale.natural_train + scale.natural_val, size=size)
    split = np.repeat(["train", "val"], [scale.natural_train, scale.natural_val])
    _write_part(folder, natural.images, natural.table.assign(split=split))


def _write_pool(folder: Path, seed: int, size: int, scale: PhantomSize) -> None:
    pool = generate_cohort(seed, scale.pool, ARCHIVE, site="archive", size=size)
    table = pool.table.drop(columns="finding").assign(split="pool")
    _write_part(folder, pool.images, table, pool.latents)


def _write_labelled(folder: Path, seed: int, size: int, scale: PhantomSize) -> None:
    cohorts, tables = [], []
    for site, acquisition in (("hospital_a", HOSPITAL_A), ("hospital_b", HOSPITAL_B)):
        counts = {split: getattr(scale, f"{site}_{split}") for split in ("train", "val", "test")}
        cohort = generate_cohort(seed, sum(counts.values()), acquisition, site=site, size=size)
        cohorts.append(cohort)
        tables.append(cohort.table.assign(split=_split_by_patient(cohort, counts)))
    _write_part(
        folder,
        np.concatenate([cohort.images for cohort in cohorts]),
        pd.concat(tables),
        pd.concat([cohort.latents for cohort in cohorts]),
    )


def _split_by_patient(cohort: Cohort, counts: dict[str, int]) -> np.ndarray:
    """Patients are independent and alike, so the first are as random a sample as any other."""
    number, _ = pd.factorize(cohort.table["patient_id"])
    return np.repeat(list(counts), list(counts.values()))[number]


def _write_part(
    folder: Path, images: np.ndarray, table: pd.DataFrame, latents: pd.DataFrame | None = None
) -> None:
    """Writes images/, manifest.csv and latents.csv; file names become paths from the folder."""
    (folder / "images").mkdir(parents=True)
    for name, image in zip(table["image"], images, strict=True):
        Image.fromarray(image).save(folder / "images" / name, compress_level=1)
    for name, frame in (("manifest.csv", table), ("latents.csv", latents)):
        if frame is not None:
            frame = frame.assign(image="images/" + frame["image"])
            frame.to_csv(folder / name, index=False, lineterminator="\n")
