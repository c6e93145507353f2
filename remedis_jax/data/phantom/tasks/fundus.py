"""T2, invented: fundus photographs, and whether there is macular edema.

A patient has a photograph of either eye. The optic disc and the macula lie where they do in a right
or a left eye, with vessels in arcs between them. Edema is a cluster of small bright yellow exudates
around the macula over a pale swelling that hides its dark centre. Any eye may have a few such dots
far from the macula, so that bright dots alone do not tell. The two eyes of a patient are alike in
colour, and edema in one makes it more likely in the other.

Hospital B's camera is paler and bluer, softer, noisier and sees a smaller field.
"""

import numpy as np

from remedis_jax.data.phantom.anatomy import Ranges, draw_ranges
from remedis_jax.data.phantom.tasks.camera import Camera, draw_camera, take
from remedis_jax.data.phantom.tasks.cohort import Drawn, Latents, Patient, TaskDrawing, repeat
from remedis_jax.data.phantom.tasks.drawing import (
    axes,
    column,
    draw_texture,
    flat_topped,
    inside,
    lay_over,
    spots,
    texture,
    to_image,
    to_object,
)

Array = np.ndarray

# All numbers of this file: ours.
CAMERAS = {
    "hospital_a": Camera(
        red=(0.95, 1.05), green=(0.95, 1.05), blue=(0.95, 1.05), gamma=(0.9, 1.1),
        blur=(0.005, 0.012), noise=(0.008, 0.015), corner=(0.0, 0.2),
    ),
    "hospital_b": Camera(
        red=(0.85, 0.98), green=(1.05, 1.20), blue=(1.5, 2.2), gamma=(0.85, 1.3),
        blur=(0.016, 0.028), noise=(0.02, 0.045), corner=(0.4, 1.0),
    ),
    "archive": Camera(
        red=(0.85, 1.05), green=(0.95, 1.15), blue=(0.95, 1.9), gamma=(0.85, 1.3),
        blur=(0.005, 0.024), noise=(0.008, 0.04), corner=(0.0, 0.9),
    ),
}  # fmt: skip
FIELD = {"hospital_a": (0.94, 1.0), "hospital_b": (0.80, 0.90), "archive": (0.80, 1.0)}
PREVALENCE = 0.5
ALIKE = 0.5  # chance that an eye has what the patient has rather than a draw of its own
_EXUDATES, _ELSEWHERE = 12, 8
_PATIENT: Ranges = {"pigment": (0.0, 1.0), "grain": (0.02, 0.05)}
_EYE: Ranges = {
    "rotation": (-0.2, 0.2),
    "shift_x": (-0.08, 0.08),
    "shift_y": (-0.08, 0.08),
    "zoom": (0.95, 1.08),
    "bend_up": (0.55, 0.75),
    "bend_down": (0.55, 0.75),
    "vessel": (0.25, 0.5),
}
_PALE, _DARK = np.array([0.86, 0.48, 0.26]), np.array([0.66, 0.30, 0.14])
_DISC = np.array([1.0, 0.86, 0.62])
_EXUDATE = np.array([1.0, 0.92, 0.55])


def draw(rng: np.random.Generator, patient: Patient) -> Drawn:
    """The right and the left eye."""
    usual = rng.uniform() < PREVALENCE
    own = rng.uniform(size=2) < PREVALENCE
    edema = np.where(rng.uniform(size=2) < ALIKE, usual, own)
    angle = rng.uniform(0, 2 * np.pi, (2, _EXUDATES))
    distance = rng.uniform(0.08, 0.36, (2, _EXUDATES))
    near = np.stack([distance * np.cos(angle), distance * np.sin(angle)], axis=-1)
    # Far from the macula: a ring that the arcades run through.
    angle = rng.uniform(0, 2 * np.pi, (2, _ELSEWHERE))
    far = 0.72 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    amount = rng.uniform(0.2, 1.0, 2) * edema
    shown = rng.uniform(size=(2, _EXUDATES)) < rng.uniform(0.2, 0.9, (2, 1))
    drusen = rng.uniform(size=(2, _ELSEWHERE)) < rng.uniform(0, 0.9, (2, 1))
    latents = {
        **repeat(draw_ranges(rng, _PATIENT), 2),
        **draw_ranges(rng, _EYE, 2),
        **draw_camera(rng, CAMERAS[patient.site], 2),
        **draw_texture(rng, "choroid", np.full(2, 0.35)),
        "field": rng.uniform(*FIELD[patient.site], 2),
        "side": np.array([1.0, -1.0]),  # the disc lies to the right in a right eye
        "amount": amount,
        "exudates": near,
        "exudate_weight": shown * amount[:, None],
        "drusen": far,
        "drusen_weight": drusen * rng.uniform(0.4, 1.0, (2, 1)),
    }
    table = {
        "image": [f"{patient.patient_id}_{eye}.png" for eye in ("right", "left")],
        "patient_id": [patient.patient_id] * 2,
        "edema": edema.astype(int).tolist(),
    }
    return Drawn(latents, table)


def render(latents: Latents, noise: Array, site: str) -> Array:
    """The photographs, [N, S, S, 3] uint8."""
    size = noise.shape[1]
    pose = (
        latents["rotation"],
        np.stack([latents["shift_x"], latents["shift_y"]], axis=-1),
        latents["zoom"],
    )
    u, v = to_object(size, *pose)
    side = column(latents["side"])
    tone = latents["pigment"][:, None]
    colour = ((1 - tone) * _PALE + tone * _DARK)[:, None, None].astype(np.float32)
    shade = 1 - 0.25 * np.hypot(u, v) ** 2
    shade += column(latents["grain"]) * texture(latents, "choroid", size)
    macula = np.hypot(u + 0.12 * side, v - 0.03)
    swelling = column(latents["amount"])
    shade -= 0.4 * np.exp(-((macula / 0.2) ** 2)) * (1 - 0.8 * swelling)
    film = colour * shade[..., None]
    film = lay_over(film, 0.3 * _DARK, _vessels(latents, u, v, size))
    disc = inside(0.19 - np.hypot(u - 0.52 * side, 0.9 * v), size)
    film = lay_over(film, _DISC, 0.85 * disc)
    film = lay_over(film, _EXUDATE, 0.10 * swelling * np.exp(-((macula / 0.38) ** 2)))
    film = lay_over(film, _EXUDATE, 0.9 * _dots(latents, size, pose))
    seen = inside(column(latents["field"]) - np.hypot(*axes(size)), size)
    return take(np.clip(film, 0, 1) * seen[..., None], latents, noise)


def _vessels(latents: Latents, u: Array, v: Array, size: int) -> Array:
    """Two arcs from the disc around the macula and their branches, [N, S, S] in [0, 1]."""
    along = np.maximum(0.52 - column(latents["side"]) * u, 0)
    shown = np.zeros_like(u)
    width = np.float32(0.03 + 0.3 / size)
    for bend, towards in (("bend_up", -1), ("bend_down", 1)):
        for reach, weight in ((1.0, 1.0), (1.6, 0.7)):
            course = towards * reach * column(latents[bend]) * np.sqrt(along)
            shown = np.maximum(shown, weight * np.exp(-(((v - course) / width) ** 2)))
    return shown * column(latents["vessel"]) * (along > 0)


def _dots(latents: Latents, size: int, pose: tuple) -> Array:
    """Exudates around the macula and drusen elsewhere, [N, S, S] in [0, 1]."""
    centre = np.stack([-0.12 * latents["side"], np.full(len(latents["side"]), 0.03)], axis=-1)
    places = np.concatenate([latents["exudates"] + centre[:, None], latents["drusen"]], axis=1)
    weight = np.concatenate([latents["exudate_weight"], latents["drusen_weight"]], axis=1)
    radius = np.full(weight.shape, 0.045)
    return flat_topped(spots(size, to_image(places, *pose), radius, weight))


DRAWING = TaskDrawing(("edema",), ("amount",), 3, draw, render)
