"""T3, invented: frontal chest films with five findings, each present, absent, uncertain or unsaid.

The patient, the film and the way it is taken are those of the phantom (`anatomy`, `acquisition`),
without its disease. A patient has one to three films. Each finding has a strength that decides how
clearly it is seen: atelectasis is two dense plates across a lower lung, consolidation a dense
patch, pulmonary edema a haze about both hila with coarse markings, a pleural effusion water that
fills the lung from its base, cardiomegaly a wide heart. Water is drawn over air, and shows nothing
over tissue. Findings come together: a common cause makes all of them more likely.

The report says 1, 0, -1 where it is uncertain, or nothing. A faint finding is reported uncertain
far more often than a clear one or than its absence. Films of the test split were read again: they
have 1 and 0 only.
"""

import numpy as np
from scipy.stats import norm

from remedis_jax.data.phantom.acquisition import (
    ARCHIVE,
    HOSPITAL_A,
    HOSPITAL_B,
    draw_settings,
    expose,
)
from remedis_jax.data.phantom.anatomy import (
    PATIENT_RANGES,
    POSE_RANGES,
    Ranges,
    draw_ranges,
    draw_waves,
)
from remedis_jax.data.phantom.anatomy import (
    render as render_film,
)
from remedis_jax.data.phantom.tasks.cohort import Drawn, Latents, Patient, TaskDrawing, repeat
from remedis_jax.data.phantom.tasks.drawing import axes, column, inside, to_object
from remedis_jax.data.phantom.waves import Waves

Array = np.ndarray

# All numbers of this file: ours.
FINDINGS = (
    "atelectasis",
    "consolidation",
    "pulmonary_edema",
    "pleural_effusion",
    "cardiomegaly",
)
PREVALENCE = 0.35
COMMON_CAUSE = 0.25  # correlation of any two findings' liabilities
WEAKEST, FAINT = 0.45, 0.6  # strengths run from the one to 1; below the other they are faint
UNCERTAIN = {"faint": 0.5, "clear": 0.08, "absent": 0.04}
UNSAID = {"faint": 0.08, "clear": 0.04, "absent": 0.13}
ACQUISITIONS = {"hospital_a": HOSPITAL_A, "hospital_b": HOSPITAL_B, "archive": ARCHIVE}
_NO_DISEASE = -20.0  # the severity at which the phantom's own disease is not seen
# Hearts of usual width, and lungs clear enough for a small network to tell what lies in them.
_PERSON: Ranges = {
    **PATIENT_RANGES,
    "heart_size": (0.20, 0.27),
    "aeration": (0.34, 0.42),
    "markings": (0.01, 0.025),
    "hilum": (0.02, 0.07),
    "rib_contrast": (0.02, 0.06),
    "diaphragm": (0.48, 0.60),
}
_PLACES: Ranges = {
    "consolidation_side": (-1.0, 1.0),
    "consolidation_out": (-0.06, 0.06),
    "consolidation_v": (-0.35, 0.15),
    "consolidation_radius": (0.21, 0.28),
    "atelectasis_side": (-1.0, 1.0),
    "atelectasis_v": (0.0, 0.2),
    "atelectasis_slope": (-0.25, 0.25),
    "effusion_side": (-1.0, 1.0),
}
_FIELDS = ("markings", "mesh", "nodule", "patch")


def draw(rng: np.random.Generator, patient: Patient) -> Drawn:
    """One to three films and their reports."""
    count = int(rng.integers(1, 4))
    person = draw_ranges(rng, _PERSON)
    waves = draw_waves(rng, person)
    shape = (count, len(FINDINGS))
    liability = np.sqrt(COMMON_CAUSE) * rng.normal()
    liability = liability + np.sqrt(1 - COMMON_CAUSE) * rng.normal(size=shape)
    present = liability > norm.isf(PREVALENCE)
    strength = np.where(present, rng.uniform(WEAKEST, 1.0, shape), 0.0)
    report = _report(rng, strength)
    if patient.split == "test":
        report = [["1" if one else "0" for one in film] for film in present]
    latents = {
        **repeat(person, count),
        **draw_ranges(rng, POSE_RANGES, count),
        **draw_ranges(rng, _PLACES, count),
        **draw_settings(rng, ACQUISITIONS[patient.site], count),
        **dict(zip(FINDINGS, strength.T, strict=True)),
    }
    for name in _FIELDS:
        latents[f"{name}_frequency"] = np.repeat(waves[name].frequency, count, axis=0)
        latents[f"{name}_phase"] = np.repeat(waves[name].phase, count, axis=0)
    table = {
        "image": [f"{patient.patient_id}_{i}.png" for i in range(count)],
        "patient_id": [patient.patient_id] * count,
        **{name: [film[k] for film in report] for k, name in enumerate(FINDINGS)},
    }
    return Drawn(latents, table)


def render(latents: Latents, noise: Array, site: str) -> Array:
    """The films, [N, S, S] uint8."""
    size, count = noise.shape[1], len(noise)
    wide, congested = latents["cardiomegaly"], latents["pulmonary_edema"]
    person = {name: latents[name] for name in _PERSON}
    person["heart_size"] = person["heart_size"] + 0.11 * (wide > 0) + 0.12 * wide
    person["markings"] = person["markings"] + 0.07 * congested
    waves = {n: Waves(latents[f"{n}_frequency"], latents[f"{n}_phase"]) for n in _FIELDS}
    pose = {name: latents[name] for name in POSE_RANGES}
    film = render_film(person, pose, waves, np.full(count, _NO_DISEASE), size)

    shift = np.stack([latents["shift_u"], latents["shift_v"]], axis=-1)
    u, v = to_object(size, latents["rotation"], shift, latents["zoom"])
    body = inside(0.8 - np.abs(u), size) * inside(0.95 - np.abs(axes(size)[1]), size)
    air = 1 - body * np.prod([1 - water for water in _water(latents, u, v, size)], axis=0)
    # Where water replaces air the film is as bright as tissue; where it is so already, no change.
    tissue = np.maximum(film, column(person["tissue"]) + 0.08)
    return expose(
        np.clip(film + body * air * (tissue - film), 0, 1).astype(np.float32),
        latents,
        noise,
        ACQUISITIONS[site],
    )


def _water(latents: Latents, u: Array, v: Array, size: int) -> list[Array]:
    """Share of the air that each finding replaces, a list of [N, S, S] in [0, 1]."""
    shown = {name: column(latents[name]) for name in FINDINGS}
    side = {
        name: np.where(column(latents[f"{name}_side"]) > 0, 1, -1).astype(np.float32)
        for name in ("consolidation", "atelectasis", "effusion")
    }
    axis = column(latents["lung_gap"])
    out = side["consolidation"] * u - axis - column(latents["consolidation_out"])
    down = v - column(latents["consolidation_v"])
    patch = np.exp(-((np.hypot(out, down) / column(latents["consolidation_radius"])) ** 4))

    out = side["atelectasis"] * u - axis
    level = v - column(latents["atelectasis_v"]) - column(latents["atelectasis_slope"]) * out
    bands = sum(np.exp(-(((level + gap) / 0.075) ** 2)) for gap in (-0.13, 0.13))
    bands = bands * np.exp(-((out / 0.3) ** 4))

    hila = np.exp(-(((np.abs(u) - 0.30) / 0.22) ** 2) - ((v + 0.12) / 0.32) ** 2)

    # The surface is a meniscus: it climbs towards the chest wall.
    out = side["effusion"] * u
    rise = 0.28 + 0.5 * shown["pleural_effusion"]
    surface = column(latents["diaphragm"]) - rise - 0.35 * np.maximum(out - axis, 0)
    pool = inside(v - surface, size, 0.03) * inside(out - 0.12, size)
    return [
        0.95 * np.sqrt(shown["atelectasis"]) * bands,
        0.9 * np.sqrt(shown["consolidation"]) * patch,
        0.65 * np.sqrt(shown["pulmonary_edema"]) * hila,
        0.9 * (shown["pleural_effusion"] > 0) * pool,
    ]


def _report(rng: np.random.Generator, strength: Array) -> list[list[str]]:
    """What is written of each film and finding: '1', '0', '-1' or nothing."""
    how = np.where(strength == 0, "absent", np.where(strength < FAINT, "faint", "clear"))
    uncertain, unsaid = (np.vectorize(chances.get)(how) for chances in (UNCERTAIN, UNSAID))
    draw = rng.uniform(size=strength.shape)
    plain = np.where(strength > 0, "1", "0")
    cells = np.where(draw < uncertain, "-1", np.where(draw < uncertain + unsaid, "", plain))
    return cells.tolist()


DRAWING = TaskDrawing(FINDINGS, FINDINGS, 1, draw, render)
