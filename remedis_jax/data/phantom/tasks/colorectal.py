"""T5, invented: tiles of colorectal cancer, and for how long the patient lives.

A patient is a bag of three to twelve tiles. A tile shows tumour glands (crowded nuclei around pale
lumina) and tumour stroma (wavy pink fibres with few nuclei); how much of it is stroma varies about
the patient's own share. Death comes at a rate that doubles with every 0.1 of stroma, averaged over
the bag, proportionally at all times:

    hazard(t | share) = RATE exp(SLOPE (share - 1/2)),

so that no risk score is better than the share. Follow-up ends at a time that is drawn uniformly
and independently of everything, between 2.5 and 13 years, which censors about two of five; many are
followed beyond the horizon of five years.

Hospital B's laboratory and scanner are those of T4.
"""

import numpy as np
from scipy.stats import norm

from remedis_jax.data.phantom.anatomy import Ranges, draw_ranges
from remedis_jax.data.phantom.tasks.camera import draw_camera, take
from remedis_jax.data.phantom.tasks.cohort import (
    Drawn,
    Latents,
    Patient,
    TaskDrawing,
    repeat,
    same,
)
from remedis_jax.data.phantom.tasks.drawing import (
    column,
    draw_texture,
    flat_topped,
    inside,
    scattered,
    spots,
    texture,
    to_object,
)
from remedis_jax.data.phantom.tasks.lymph_node import SCANNERS
from remedis_jax.data.phantom.tasks.staining import STAINS, draw_stain, dye

Array = np.ndarray

# All numbers of this file: ours.
HORIZON = 5.0  # years
RATE, SLOPE = 0.13, 10 * np.log(2)  # deaths a year at a share of 1/2; per unit of share
FOLLOW_UP = (2.5, 13.0)  # years
TILES = (3, 12)
_SHARE, _SPREAD = (0.05, 0.95), 0.12  # of patients; of tiles about their patient
_EPITHELIUM = 8  # nuclei along either axis
_FIBROBLASTS = 5
_TILE: Ranges = {
    "fibre_angle": (0.0, 2 * np.pi),
    "fibre_scale": (0.36, 0.46),
    "waviness": (0.5, 1.2),
}


def draw(rng: np.random.Generator, patient: Patient) -> Drawn:
    """A bag of tiles and a time, in years."""
    count = int(rng.integers(TILES[0], TILES[1] + 1))
    stroma = np.clip(rng.uniform(*_SHARE) + rng.normal(0, _SPREAD, count), 0.02, 0.98)
    share = float(stroma.mean())
    death = rng.exponential() / (RATE * np.exp(SLOPE * (share - 0.5)))
    end = rng.uniform(*FOLLOW_UP)
    # Days are as exact as records are; nobody dies at time 0.
    time = max(round(min(death, end), 3), 0.001)
    latents = {
        **repeat(draw_stain(rng, STAINS[patient.site]), count),
        **draw_camera(rng, SCANNERS[patient.site], count),
        **draw_ranges(rng, _TILE, count),
        **draw_texture(rng, "border", np.full(count, 1.1)),
        **draw_texture(rng, "lumen", np.full(count, 0.8)),
        **draw_texture(rng, "wave", np.full(count, 1.0)),
        "stroma": stroma,
        "nuclei": scattered(rng, count, _EPITHELIUM, 0.3),
        "fibroblasts": scattered(rng, count, _FIBROBLASTS, 0.5),
        **same(count, share=share),
    }
    table = {
        "image": [f"{patient.patient_id}_{i:02d}.png" for i in range(count)],
        "patient_id": [patient.patient_id] * count,
        "time_years": [time] * count,
        "event": [int(death <= end)] * count,
    }
    return Drawn(latents, table)


def render(latents: Latents, noise: Array, site: str) -> Array:
    """The tiles, [N, S, S, 3] uint8."""
    size, count = noise.shape[1], len(noise)
    # A standard normal field exceeds this threshold over the tile's share of stroma.
    threshold = column(norm.isf(latents["stroma"]))
    stroma = inside(texture(latents, "border", size) - threshold, size, 0.1)
    along, _ = to_object(size, latents["fibre_angle"], np.zeros((count, 2)), np.ones(count))
    turns = 2 * np.pi * along / column(latents["fibre_scale"])
    fibres = np.sin(turns + column(latents["waviness"]) * texture(latents, "wave", size))
    lumen = inside(texture(latents, "lumen", size) - 0.9, size, 0.15)
    nuclei = _nuclei(latents["nuclei"], 0.10, size) * (1 - lumen)
    few = _nuclei(latents["fibroblasts"], 0.06, size)

    glands = 1 - stroma
    haematoxylin = 0.12 + glands * (0.9 * nuclei + 0.1 * (1 - lumen)) + 0.5 * stroma * few
    eosin = glands * 0.35 * (1 - lumen) + stroma * (0.62 + 0.32 * fibres)
    return take(dye(haematoxylin, eosin, latents), latents, noise)


def _nuclei(places: Array, radius: float, size: int) -> Array:
    shape = places.shape[:2]
    return flat_topped(spots(size, places, np.full(shape, radius), np.ones(shape)))


DRAWING = TaskDrawing(("time_years", "event"), ("stroma", "share"), 3, draw, render)
