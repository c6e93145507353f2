"""T6, invented: screening mammograms in four views, and whether a breast has cancer.

A patient has one exam of both breasts in the views CC (from above) and MLO (from the side, with the
pectoral muscle in the upper corner); one exam of twelve lacks a view. Density and the pattern of
the tissue are the patient's own. A cancer is a bright mass with spicules that both views show at
the same distance from the chest wall. Overlapping tissue may look like a mass in one view: a round
shadow, fainter and smooth, in a breast with or without cancer. Three of ten breasts have cancer, an
exam is positive if either has.

Films are taken as those of the phantom are (`acquisition`), by its two hospitals.
"""

import numpy as np

from remedis_jax.data.phantom.acquisition import (
    ARCHIVE,
    HOSPITAL_A,
    HOSPITAL_B,
    draw_settings,
    expose,
)
from remedis_jax.data.phantom.anatomy import Ranges, draw_ranges
from remedis_jax.data.phantom.tasks.cohort import Drawn, Latents, Patient, TaskDrawing, repeat
from remedis_jax.data.phantom.tasks.drawing import (
    axes,
    column,
    draw_texture,
    inside,
    texture,
)

Array = np.ndarray

# All numbers of this file: ours.
PREVALENCE = 0.3
LACKS_A_VIEW = 1 / 12
SHADOW = 0.3  # chance of a shadow, per image
ACQUISITIONS = {"hospital_a": HOSPITAL_A, "hospital_b": HOSPITAL_B, "archive": ARCHIVE}
SIDE_VIEWS = ("L_CC", "L_MLO", "R_CC", "R_MLO")
_PATIENT: Ranges = {
    "depth": (1.20, 1.50),  # from the chest wall to the nipple
    "height": (0.70, 0.90),
    "density": (0.0, 1.0),
}
# Per breast: what both views see alike.
_LESION: Ranges = {
    "lesion_depth": (0.30, 0.65),  # as a share of the breast's depth
    "lesion_radius": (0.13, 0.18),
    "lesion_contrast": (0.26, 0.42),
}
# Per image.
_VIEW: Ranges = {
    "lesion_along": (-0.45, 0.45),  # as a share of the breast's height
    "spicule_phase": (0.0, 2 * np.pi),
    "shadow_depth": (0.25, 0.65),
    "shadow_along": (-0.5, 0.5),
    "shadow_contrast": (0.06, 0.16),
    "shadow_radius": (0.12, 0.18),
    "muscle": (0.35, 0.6),
}
_SPICULES = 7


def draw(rng: np.random.Generator, patient: Patient) -> Drawn:
    """Both breasts in both views, or all but one of these."""
    cancer = rng.uniform(size=2) < PREVALENCE
    lesions = draw_ranges(rng, _LESION, 2)
    latents = {
        **repeat(draw_ranges(rng, _PATIENT), 4),
        **{name: np.repeat(value, 2) for name, value in lesions.items()},
        **draw_ranges(rng, _VIEW, 4),
        **draw_settings(rng, ACQUISITIONS[patient.site], 4),
        **draw_texture(rng, "tissue", np.full(4, 0.42)),
        **draw_texture(rng, "strands", np.full(4, 0.22)),
        "cancer": np.repeat(cancer, 2).astype(float),
        "shadow": (rng.uniform(size=4) < SHADOW).astype(float),
        "right": np.repeat([0.0, 1.0], 2),
        "oblique": np.tile([0.0, 1.0], 2),
    }
    kept = np.arange(4)
    if rng.uniform() < LACKS_A_VIEW:
        kept = np.delete(kept, rng.integers(4))
    exam_id = f"{patient.patient_id}_e0"
    shown = [SIDE_VIEWS[i] for i in kept]
    sides = [name.split("_")[0] for name in shown]
    table = {
        "image": [f"{exam_id}_{name}.png" for name in shown],
        "patient_id": [patient.patient_id] * len(kept),
        "exam_id": [exam_id] * len(kept),
        "breast_id": [f"{exam_id}_{side}" for side in sides],
        "laterality": sides,
        "view": [name.split("_")[1] for name in shown],
        "side_view": shown,
        "cancer": np.repeat(cancer, 2)[kept].astype(int).tolist(),
        "cancer_exam": [int(cancer.any())] * len(kept),
    }
    return Drawn({name: value[kept] for name, value in latents.items()}, table)


def render(latents: Latents, noise: Array, site: str) -> Array:
    """The films, [N, S, S] uint8."""
    size = noise.shape[1]
    x, y = axes(size)
    # The chest wall is at the left of a left breast's film, and at the right of a right one's.
    wall = np.where(column(latents["right"]) > 0, 1 - x, 1 + x).astype(np.float32)
    oblique = column(latents["oblique"])
    depth, height = column(latents["depth"]), column(latents["height"])
    along = y - 0.12 * oblique
    radius = np.hypot(wall / depth, along / height)
    breast = inside((1 - radius) * height, size, 0.02)

    # Glands lie in a cone behind the nipple; fat is dark.
    gland = np.exp(-(((wall / depth - 0.45) / 0.35) ** 2) - (along / (0.6 * height)) ** 2)
    density = column(latents["density"])
    film = 0.30 + gland * (0.08 + 0.16 * density + 0.05 * texture(latents, "tissue", size))
    film += 0.02 * texture(latents, "strands", size)
    muscle = inside(column(latents["muscle"]) - wall - 0.5 * (y + 1), size, 0.02)
    film += 0.3 * oblique * muscle
    film += _lesion(latents, wall, along) + _shadow(latents, wall, along)
    film = (film * breast).astype(np.float32)
    return expose(np.clip(film, 0, 1), latents, noise, ACQUISITIONS[site])


def _lesion(latents: Latents, wall: Array, along: Array) -> Array:
    """Brightness of the mass and its spicules, [N, S, S]."""
    out = wall - column(latents["lesion_depth"] * latents["depth"])
    up = along - column(latents["lesion_along"] * latents["height"])
    distance = np.hypot(out, up) / column(latents["lesion_radius"])
    turns = _SPICULES * np.arctan2(up, out) + column(latents["spicule_phase"])
    spicules = 0.45 * (0.5 + 0.5 * np.cos(turns)) ** 2 * np.exp(-((distance / 2.2) ** 2))
    shown = column(latents["cancer"] * latents["lesion_contrast"])
    return shown * np.maximum(np.exp(-(distance**4)), spicules)


def _shadow(latents: Latents, wall: Array, along: Array) -> Array:
    """Brightness of overlapping tissue, [N, S, S]."""
    out = wall - column(latents["shadow_depth"] * latents["depth"])
    up = along - column(latents["shadow_along"] * latents["height"])
    distance = np.hypot(out, up) / column(latents["shadow_radius"])
    return column(latents["shadow"] * latents["shadow_contrast"]) * np.exp(-(distance**2))


DRAWING = TaskDrawing(("cancer", "cancer_exam"), ("lesion_contrast",), 1, draw, render)
