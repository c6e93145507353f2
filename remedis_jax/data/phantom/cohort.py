"""Patients become images, a table and the latents behind them.

Every patient has random streams of its own, keyed by (seed, site, patient, part), so that neither
the number of patients nor a change of hospital settings changes who a patient is.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from remedis_jax.data.phantom.acquisition import Acquisition, draw_settings, expose
from remedis_jax.data.phantom.anatomy import (
    PATIENT_RANGES,
    POSE_RANGES,
    draw_ranges,
    draw_waves,
    render,
)
from remedis_jax.data.phantom.streams import ID_LETTERS, stream
from remedis_jax.data.phantom.waves import Waves
from remedis_jax.errors import UserError

MAX_IMAGES = 4
NUISANCE_SEVERITY = 1.0  # the constant at which the nuisance-only control is rendered
_PARTS = ("record", "disease", "anatomy", "pose", "settings", "noise")
_TABLE_COLUMNS = ["image", "patient_id", "finding", "site", "age", "sex"]
_PIXELS_PER_BLOCK = 2**20  # bounds the memory of a block; the images do not depend on it


@dataclass(frozen=True)
class Cohort:
    """The patients of one site.

    Attributes:
        images: [N, S, S] uint8.
        table: N rows: image (file name), patient_id, finding ('absent' or 'present'), site, age
            (years), sex ('F' or 'M'). Age and sex are independent of everything else.
        latents: N rows, what the table must not tell: image, patient_id, severity, the severity
            that was rendered, and every latent of patient, pose and acquisition.
    """

    images: np.ndarray
    table: pd.DataFrame
    latents: pd.DataFrame


def generate_cohort(
    seed: int,
    patients: int,
    acquisition: Acquisition,
    *,
    site: str,
    size: int = 40,
    prevalence: float = 0.4,
    effect_size: float = 2.2,
    disease: bool = True,
) -> Cohort:
    """Generates the patients 0..patients-1 of a site, each with one to four images.

    Per patient, y ~ Bernoulli(prevalence) and severity s ~ Normal(effect_size * y, 1). An image
    depends on s, never on y but through s, and on anatomy, pose and acquisition, which are drawn
    independently of both. Hence s is a sufficient statistic, and no classifier's expected AUROC
    exceeds that of s itself,

        P(s_sick > s_healthy) = Phi(effect_size / sqrt(2)),

    0.940 at the default 2.2 (the binormal model: Green and Swets, Signal Detection Theory and
    Psychophysics, 1966). Defaults: ours.

    Args:
        seed: Any non-negative integer; the same seed gives the same bytes.
        patients: How many, at least 1. More patients leave the earlier ones as they are.
        acquisition: The hospital's settings.
        site: A key of `ID_LETTERS`; part of the random key, so sites share no patient.
        size: Height and width in pixels, 32 to 256.
        prevalence: P(y = 1), in (0, 1).
        effect_size: Distance between healthy and sick severity in standard deviations, >= 0.
        disease: False renders every image at one severity and keeps labels, anatomy, pose and
            acquisition: what is left to learn is nuisance, and every AUROC is that of chance.

    Raises:
        UserError: An argument is outside its range.
    """
    _check(seed, patients, site, size, prevalence, effect_size)
    per_block = max(1, _PIXELS_PER_BLOCK // (MAX_IMAGES * size**2))
    images, rows = [], []
    for start in range(0, patients, per_block):
        block = [
            _draw_patient(seed, site, i, acquisition, prevalence, effect_size, disease)
            for i in range(start, min(start + per_block, patients))
        ]
        anatomy = _join([_repeat(one.anatomy, one.count) for one in block])
        pose = _join([one.pose for one in block])
        settings = _join([one.settings for one in block])
        record = _join([one.record for one in block])
        film = render(anatomy, pose, _join_waves(block), record["severity_rendered"], size)
        noise = np.concatenate(
            [one.noise.standard_normal((one.count, size, size), np.float32) for one in block]
        )
        images.append(expose(film, settings, noise, acquisition))
        rows.append({**record, **anatomy, **pose, **settings})
    everything = pd.DataFrame(_join(rows))
    return Cohort(
        images=np.concatenate(images),
        table=everything[_TABLE_COLUMNS].copy(),
        latents=everything.drop(columns=["finding", "site", "age", "sex"]),
    )


@dataclass(frozen=True)
class _Patient:
    """What is drawn for one patient; all but the anatomy and the waves has one entry per image."""

    count: int
    record: dict[str, np.ndarray]
    anatomy: dict[str, np.ndarray]
    waves: dict[str, Waves]
    pose: dict[str, np.ndarray]
    settings: dict[str, np.ndarray]
    noise: np.random.Generator


def _draw_patient(
    seed: int,
    site: str,
    number: int,
    acquisition: Acquisition,
    prevalence: float,
    effect_size: float,
    disease: bool,
) -> _Patient:
    rng = {part: stream(seed, site, number, k) for k, part in enumerate(_PARTS)}
    count = int(rng["record"].integers(1, MAX_IMAGES + 1))
    age = int(np.clip(np.rint(rng["record"].normal(58, 16)), 18, 95))
    sex = "FM"[rng["record"].integers(2)]
    sick = bool(rng["disease"].uniform() < prevalence)
    severity = float(rng["disease"].normal()) + effect_size * sick
    anatomy = draw_ranges(rng["anatomy"], PATIENT_RANGES)
    patient_id = f"{ID_LETTERS[site]}{number:04d}"
    record = {
        "image": np.array([f"{patient_id}_{k}.png" for k in range(count)]),
        "patient_id": patient_id,
        "finding": "present" if sick else "absent",
        "site": site,
        "age": age,
        "sex": sex,
        "severity": severity,
        "severity_rendered": severity if disease else NUISANCE_SEVERITY,
    }
    return _Patient(
        count=count,
        record={name: np.broadcast_to(value, count) for name, value in record.items()},
        anatomy=anatomy,
        waves=draw_waves(rng["anatomy"], anatomy),
        pose=draw_ranges(rng["pose"], POSE_RANGES, count),
        settings=draw_settings(rng["settings"], acquisition, count),
        noise=rng["noise"],
    )


def _repeat(values: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    return {name: np.repeat(value, count, axis=0) for name, value in values.items()}


def _join(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _join_waves(block: list[_Patient]) -> dict[str, Waves]:
    return {
        name: Waves(
            np.concatenate([np.repeat(one.waves[name].frequency, one.count, 0) for one in block]),
            np.concatenate([np.repeat(one.waves[name].phase, one.count, 0) for one in block]),
        )
        for name in block[0].waves
    }


def _check(
    seed: int, patients: int, site: str, size: int, prevalence: float, effect_size: float
) -> None:
    if seed < 0:
        raise UserError(f"seed is {seed}, a negative number.", "Give a seed of 0 or more.")
    if patients < 1:
        raise UserError(f"patients is {patients}.", "Ask for at least one patient.")
    if site not in ID_LETTERS:
        raise UserError(f"site '{site}' is unknown.", f"Choose one of {', '.join(ID_LETTERS)}.")
    if not 32 <= size <= 256:
        raise UserError(f"size is {size} pixels.", "Choose a size from 32 to 256.")
    if not 0 < prevalence < 1:
        raise UserError(f"prevalence is {prevalence}.", "Choose a number between 0 and 1.")
    if effect_size < 0:
        raise UserError(f"effect_size is {effect_size}.", "Choose a number of 0 or more.")
