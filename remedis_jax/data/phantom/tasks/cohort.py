"""Patients of a task become images, a table and the latents behind them.

Every patient has two random streams, for the latents and for the noise, keyed by (seed, task, site,
patient): neither the number of patients nor the size of the images changes who a patient is.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from remedis_jax.data.phantom.streams import ID_LETTERS, stream

Array = np.ndarray
Latents = dict[str, Array]
_PIXELS_PER_BLOCK = 2**18  # bounds the memory of a block; the images do not depend on it


@dataclasses.dataclass(frozen=True)
class Patient:
    """Who is drawn, and for what.

    Attributes:
        patient_id: A letter of the site and a number.
        site: A key of `ID_LETTERS`.
        split: "train", "val", "test" or "pool".
    """

    patient_id: str
    site: str
    split: str


@dataclasses.dataclass(frozen=True)
class Drawn:
    """What is drawn for the n images of one patient.

    Attributes:
        latents: name -> [n, ...]: all that the images depend on.
        table: column -> n cells; `image` (file name) is one of them.
    """

    latents: Latents
    table: dict[str, Sequence]


@dataclasses.dataclass(frozen=True)
class TaskDrawing:
    """How the patients of a task are drawn, and how their images look.

    Attributes:
        labels: The columns that an unlabelled pool must not have.
        truth: Latents, one number an image, that `latents.csv` tells.
        channels: 1 or 3.
        draw: (generator, patient) -> what is drawn.
        render: (latents stacked over N images, noise [N, S, S] or [N, S, S, 3] float32 standard
            normal, site) -> images of the same shape, uint8.
    """

    labels: tuple[str, ...]
    truth: tuple[str, ...]
    channels: int
    draw: Callable[[np.random.Generator, Patient], Drawn]
    render: Callable[[Latents, Array, str], Array]


@dataclasses.dataclass(frozen=True)
class TaskCohort:
    """The patients of one site.

    Attributes:
        images: [N, S, S] (grey) or [N, S, S, 3] uint8.
        table: N rows: image (file name), patient_id, the task's own columns, site, split.
        latents: N rows, what the table must not tell: image, patient_id and the task's `truth`.
    """

    images: Array
    table: pd.DataFrame
    latents: pd.DataFrame


def generate_cohort(
    task: str, drawing: TaskDrawing, seed: int, site: str, splits: Sequence[str], size: int
) -> TaskCohort:
    """Generates a patient per entry of `splits`.

    Args:
        task: Name of the task; part of the random key.
        drawing: How it is drawn.
        seed: Any non-negative integer; the same seed gives the same bytes.
        site: A key of `ID_LETTERS`.
        splits: The split of each patient.
        size: Height and width S in pixels.
    """
    shape = (size, size) if drawing.channels == 1 else (size, size, 3)
    images: list[Array] = []
    columns: dict[str, list] = {}
    truths: list[pd.DataFrame] = []
    block: list[Drawn] = []
    noise: list[Array] = []

    def finish() -> None:
        latents = {
            name: np.concatenate([one.latents[name] for one in block]) for name in block[0].latents
        }
        images.append(drawing.render(latents, np.concatenate(noise), site))
        truths.append(pd.DataFrame({name: latents[name] for name in drawing.truth}))
        block.clear()
        noise.clear()

    for number, split in enumerate(splits):
        patient = Patient(f"{ID_LETTERS[site]}{number:04d}", site, split)
        drawn = drawing.draw(stream(seed, task, site, number, 0), patient)
        grain = stream(seed, task, site, number, 1)
        count = len(drawn.table["image"])
        drawn.table.update(site=[site] * count, split=[split] * count)
        for name, cells in drawn.table.items():
            columns.setdefault(name, []).extend(cells)
        block.append(drawn)
        noise.append(grain.standard_normal((count, *shape), np.float32))
        if sum(part.size for part in noise) >= _PIXELS_PER_BLOCK:
            finish()
    if block:
        finish()
    table = pd.DataFrame(columns)
    return TaskCohort(
        images=np.concatenate(images),
        table=table,
        latents=table[["image", "patient_id"]].join(pd.concat(truths, ignore_index=True)),
    )


def same(count: int, **values: float) -> Latents:
    """Numbers that all `count` images share: name -> [count] float64."""
    return {name: np.full(count, value, float) for name, value in values.items()}


def repeat(values: Latents, count: int) -> Latents:
    """Latents of one patient, [1, ...], for each of the `count` images."""
    return {name: np.repeat(value, count, axis=0) for name, value in values.items()}
