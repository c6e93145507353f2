"""The phantom of a task on disk: how much of each part, and its two folders."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pandas as pd

from remedis_jax.data.phantom.folder import complete_folder, write_part
from remedis_jax.data.phantom.streams import ID_LETTERS
from remedis_jax.data.phantom.tasks import (
    chest,
    colorectal,
    dermatology,
    fundus,
    lymph_node,
    mammography,
)
from remedis_jax.data.phantom.tasks.cohort import TaskCohort, TaskDrawing, generate_cohort
from remedis_jax.errors import UserError

# Raised whenever the same arguments give other bytes than before.
TASK_PHANTOM_VERSION = 2
TASK_PARTS = ("pool", "labelled")
TASK_DRAWINGS: dict[str, TaskDrawing] = {
    "t1": dermatology.DRAWING,
    "t2": fundus.DRAWING,
    "t3": chest.DRAWING,
    "t4": lymph_node.DRAWING,
    "t5": colorectal.DRAWING,
    "t6": mammography.DRAWING,
}
_SPLITS = ("train", "val", "test")
_SIZES = (16, 512)


@dataclasses.dataclass(frozen=True)
class TaskPhantomSize:
    """Patients of each part. Defaults: ours.

    A patient has, on average, 3.75 images in T1, 2 in T2 and T3, 6 in T4, 7.5 in T5 and 3.9 in T6.
    The defaults make 14,000 tiles of T5 in about 14 s on one core, which is the most.

    Raises:
        UserError: A number is below 1.
    """

    pool: int = 600
    hospital_a_train: int = 300
    hospital_a_val: int = 100
    hospital_a_test: int = 250
    hospital_b_train: int = 300
    hospital_b_val: int = 100
    hospital_b_test: int = 250

    def __post_init__(self) -> None:
        for name, count in dataclasses.asdict(self).items():
            if count < 1:
                raise UserError(f"{name} is {count}.", "Every part needs at least one.")

    @classmethod
    def tiny(cls) -> "TaskPhantomSize":
        """As few patients as a tiny network learns from and is told from chance on."""
        return cls(
            pool=24,
            hospital_a_train=150,
            hospital_a_val=40,
            hospital_a_test=80,
            hospital_b_train=24,
            hospital_b_val=16,
            hospital_b_test=60,
        )


def generate_task_cohort(
    task: str, seed: int, site: str, splits: list[str], *, size: int = 32
) -> TaskCohort:
    """Generates patients of a task at one site, with labels; a patient per entry of `splits`.

    Args:
        task: "t1" to "t6".
        seed: Any non-negative integer; the same seed gives the same bytes.
        site: "hospital_a", "hospital_b" or "archive".
        splits: The split of each patient; more patients leave the earlier ones as they are.
        size: Height and width in pixels, 16 to 512.

    Raises:
        UserError: An argument is outside its range.
    """
    if task not in TASK_DRAWINGS:
        raise UserError(
            f"there is no phantom of task {task!r}.", f"Use one of {', '.join(TASK_DRAWINGS)}."
        )
    if site not in ID_LETTERS:
        raise UserError(f"site '{site}' is unknown.", f"Choose one of {', '.join(ID_LETTERS)}.")
    if seed < 0:
        raise UserError(f"seed is {seed}, a negative number.", "Give a seed of 0 or more.")
    if not _SIZES[0] <= size <= _SIZES[1]:
        raise UserError(
            f"size is {size} pixels.", f"Choose a size from {_SIZES[0]} to {_SIZES[1]}."
        )
    return generate_cohort(task, TASK_DRAWINGS[task], seed, site, splits, size)


def write_task_phantom(
    task: str,
    out_dir: str | os.PathLike,
    seed: int = 0,
    size: int = 32,
    scale: TaskPhantomSize | None = None,
) -> dict[str, Path]:
    """Writes the phantom of a task, or returns at once where the same one stands already.

    The folders `pool` (the archive, without labels) and `labelled` (both hospitals, with `site` and
    `split`) each hold `manifest.csv` and `images/`; paths in a manifest are relative to it.
    `latents.csv` beside each tells what lies behind the images. `phantom.json` holds the arguments,
    the version and the SHA-256 of each manifest.

    Args:
        task: "t1" to "t6"; the columns of the manifests are in the module of each.
        out_dir: The folder to make.
        seed: Any non-negative integer; the same seed gives the same bytes.
        size: Height and width of the images in pixels, 16 to 512.
        scale: How much of each part; None is `TaskPhantomSize()`.

    Returns:
        'pool', 'labelled' -> path of the manifest.

    Raises:
        UserError: `out_dir` holds something else, a phantom of other arguments, or a phantom whose
            manifests were changed; or an argument is outside its range.
    """
    scale = scale or TaskPhantomSize()
    arguments = {
        "task": task,
        "version": TASK_PHANTOM_VERSION,
        "seed": seed,
        "size": size,
        "scale": dataclasses.asdict(scale),
    }

    def write(folder: Path) -> None:
        pool = generate_task_cohort(task, seed, "archive", ["pool"] * scale.pool, size=size)
        table = pool.table.drop(columns=list(TASK_DRAWINGS[task].labels))
        write_part(folder / "pool", pool.images, table, pool.latents)
        cohorts = [
            generate_task_cohort(task, seed, site, _splits(scale, site), size=size)
            for site in ("hospital_a", "hospital_b")
        ]
        write_part(
            folder / "labelled",
            np.concatenate([cohort.images for cohort in cohorts]),
            pd.concat([cohort.table for cohort in cohorts]),
            pd.concat([cohort.latents for cohort in cohorts]),
        )

    return complete_folder(Path(out_dir), arguments, TASK_PARTS, write)


def _splits(scale: TaskPhantomSize, site: str) -> list[str]:
    """Patients are independent and alike, so the first are as random a sample as any other."""
    return [split for split in _SPLITS for _ in range(getattr(scale, f"{site}_{split}"))]
