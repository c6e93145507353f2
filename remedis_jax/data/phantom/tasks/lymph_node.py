"""T4, invented: patches of lymph nodes on slides, and whether a patch holds metastatic tumour.

A patient has one to three slides, a slide two to four patches. Without tumour a patch is full of
lymphocytes: small, round, dark nuclei, close together; many patches have a pale germinal centre of
larger cells. Tumour takes the place of a part of the lymphocytes: large, paler nuclei of unequal
size, far apart, in pink cytoplasm. Three of five patients have metastases, on some of their slides,
in some of a slide's patches; nobody else has any.

Hospital B stains with more eosin and another haematoxylin, and its scanner is softer. A slide's
patches share their stain.
"""

import numpy as np

from remedis_jax.data.phantom.anatomy import Ranges, draw_ranges
from remedis_jax.data.phantom.tasks.camera import Camera, draw_camera, take
from remedis_jax.data.phantom.tasks.cohort import Drawn, Latents, Patient, TaskDrawing, repeat
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
from remedis_jax.data.phantom.tasks.staining import STAINS, draw_stain, dye

Array = np.ndarray

# All numbers of this file: ours.
METASTATIC, SLIDE_HIT, PATCH_HIT = 0.6, 0.8, 0.7
_SMALL, _MIDDLE, _LARGE = 9, 6, 5  # nuclei along either axis
SCANNERS = {
    "hospital_a": Camera(
        red=(0.97, 1.03), green=(0.97, 1.03), blue=(0.97, 1.03), gamma=(0.95, 1.05),
        blur=(0.006, 0.010), noise=(0.008, 0.015), corner=(0.0, 0.0),
    ),
    "hospital_b": Camera(
        red=(0.95, 1.08), green=(0.90, 1.02), blue=(0.88, 1.00), gamma=(0.80, 1.05),
        blur=(0.014, 0.024), noise=(0.015, 0.03), corner=(0.0, 0.0),
    ),
    "archive": Camera(
        red=(0.93, 1.08), green=(0.90, 1.03), blue=(0.88, 1.03), gamma=(0.80, 1.10),
        blur=(0.006, 0.022), noise=(0.008, 0.03), corner=(0.0, 0.0),
    ),
}  # fmt: skip
_PATCH: Ranges = {
    "angle": (0.0, 2 * np.pi),
    "reach": (-0.5, 1.0),  # how far the tumour's edge lies beyond the middle
    "centre_x": (-0.4, 0.4),
    "centre_y": (-0.4, 0.4),
}


def draw(rng: np.random.Generator, patient: Patient) -> Drawn:
    """One to three slides of two to four patches."""
    slides = int(rng.integers(1, 4))
    hit = (rng.uniform(size=slides) < SLIDE_HIT) & (rng.uniform() < METASTATIC)
    parts: list[Latents] = []
    table: dict[str, list] = {"image": [], "patient_id": [], "slide_id": [], "tumour": []}
    for k in range(slides):
        count = int(rng.integers(2, 5))
        tumour = hit[k] & (rng.uniform(size=count) < PATCH_HIT)
        parts.append(
            {
                **repeat(draw_stain(rng, STAINS[patient.site]), count),
                **draw_camera(rng, SCANNERS[patient.site], count),
                **draw_ranges(rng, _PATCH, count),
                **draw_texture(rng, "ground", np.full(count, 0.5)),
                **draw_texture(rng, "border", np.full(count, 0.8)),
                "tumour": tumour.astype(float),
                "germinal": (rng.uniform(size=count) < 0.45).astype(float),
                "small": scattered(rng, count, _SMALL, 0.35),
                "small_radius": rng.uniform(0.075, 0.095, (count, _SMALL**2)),
                "middle": scattered(rng, count, _MIDDLE, 0.3),
                "large": scattered(rng, count, _LARGE, 0.25),
                "large_radius": rng.uniform(0.11, 0.18, (count, _LARGE**2)),
            }
        )
        slide_id = f"{patient.patient_id}_s{k}"
        table["image"] += [f"{slide_id}_{i}.png" for i in range(count)]
        table["patient_id"] += [patient.patient_id] * count
        table["slide_id"] += [slide_id] * count
        table["tumour"] += tumour.astype(int).tolist()
    latents = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Drawn(latents, table)


def render(latents: Latents, noise: Array, site: str) -> Array:
    """The patches, [N, S, S, 3] uint8."""
    size, count = noise.shape[1], len(noise)
    along, _ = to_object(size, latents["angle"], np.zeros((count, 2)), np.ones(count))
    edge = column(latents["reach"]) - along + 0.2 * texture(latents, "border", size)
    tumour = column(latents["tumour"]) * inside(edge, size, 0.05)
    centre = np.stack([latents["centre_x"], latents["centre_y"]], axis=-1)
    away = np.hypot(*to_object(size, np.zeros(count), centre, np.ones(count)))
    germinal = column(latents["germinal"]) * inside(0.5 - away, size, 0.08) * (1 - tumour)

    small = _nuclei(latents["small"], latents["small_radius"], size)
    middle = _nuclei(latents["middle"], np.full(latents["middle"].shape[:2], 0.11), size)
    large = _nuclei(latents["large"], latents["large_radius"], size)
    rest = 1 - tumour - germinal
    haematoxylin = 0.25 + rest * 1.05 * small + germinal * 0.75 * middle + tumour * 0.85 * large
    cytoplasm = germinal * (1 - middle) + tumour * (1 - large)
    eosin = 0.28 + 0.06 * texture(latents, "ground", size) + 0.2 * cytoplasm
    return take(dye(haematoxylin, np.maximum(eosin, 0), latents), latents, noise)


def _nuclei(places: Array, radius: Array, size: int) -> Array:
    return flat_topped(spots(size, places, radius, np.ones(radius.shape)))


DRAWING = TaskDrawing(("tumour",), ("tumour",), 3, draw, render)
