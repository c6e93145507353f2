"""T1, invented: photographs of five skin conditions that do not exist, read by three readers.

A patient has one or two cases, a case one to four photographs of the same lesion. Each condition
has a shape and a colour of its own: 'erythora' is a diffuse red blotch, 'annulea' a red ring,
'melanops' a dark patch with an irregular border, 'guttaria' a shower of small dots and 'squamella'
a pink plaque with white scales. Two of five photographs are badly lit and hardly show the lesion,
so that a case tells more than any one of its photographs. Skin tone, pose and lighting are drawn
independently of the condition. A reader names the condition four times of five, and else another.

Hospital B's photographs are warmer, darker, softer and have dark corners.
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
CONDITIONS = ("erythora", "annulea", "melanops", "guttaria", "squamella")
SHARES = (0.26, 0.22, 0.20, 0.18, 0.14)
READERS = ("reader_1", "reader_2", "reader_3")
READER_IS_RIGHT = 0.8
BADLY_LIT = 0.4
_DOTS = 14

CAMERAS = {
    "hospital_a": Camera(
        red=(0.95, 1.05), green=(0.95, 1.05), blue=(0.95, 1.05), gamma=(0.9, 1.1),
        blur=(0.006, 0.012), noise=(0.01, 0.02), corner=(0.0, 0.1),
    ),
    "hospital_b": Camera(
        red=(0.95, 1.10), green=(0.78, 0.92), blue=(0.60, 0.80), gamma=(1.2, 1.6),
        blur=(0.014, 0.028), noise=(0.02, 0.04), corner=(0.4, 1.0),
    ),
    "archive": Camera(
        red=(0.90, 1.10), green=(0.80, 1.05), blue=(0.65, 1.05), gamma=(0.9, 1.5),
        blur=(0.006, 0.024), noise=(0.01, 0.04), corner=(0.0, 0.9),
    ),
}  # fmt: skip
_PATIENT: Ranges = {"melanin": (0.0, 1.0), "grain": (0.01, 0.03)}
_CASE: Ranges = {
    "radius": (0.45, 0.62),
    "irregular": (0.03, 0.10),
    "lobes": (2.5, 5.5),
    "lobe_phase": (0.0, 2 * np.pi),
    "strength": (0.75, 1.0),
}
_PHOTO: Ranges = {
    "rotation": (0.0, 2 * np.pi),
    "shift_x": (-0.2, 0.2),
    "shift_y": (-0.2, 0.2),
    "zoom": (0.85, 1.2),
    "shadow_angle": (0.0, 2 * np.pi),
}
_LIGHT_SKIN, _DARK_SKIN = np.array([0.90, 0.72, 0.62]), np.array([0.50, 0.34, 0.26])
# What a lesion takes away of red, green and blue.
_ABSORBS = {
    "erythora": (0.05, 0.45, 0.40),
    "annulea": (0.10, 0.50, 0.42),
    "melanops": (0.62, 0.70, 0.70),
    "guttaria": (0.22, 0.60, 0.55),
    "squamella": (0.02, 0.28, 0.22),
}


def draw(rng: np.random.Generator, patient: Patient) -> Drawn:
    """One or two cases of one to four photographs."""
    person = draw_ranges(rng, _PATIENT)
    parts: list[Latents] = []
    table: dict[str, list] = {
        name: [] for name in ("image", "patient_id", "case_id", "condition", *READERS)
    }
    for k in range(rng.integers(1, 3)):
        kind = int(rng.choice(len(CONDITIONS), p=SHARES))
        angle, distance = rng.uniform(0, 2 * np.pi, _DOTS), np.sqrt(rng.uniform(0, 1, _DOTS))
        dots = np.stack([distance * np.cos(angle), distance * np.sin(angle)], axis=-1)
        case = {
            **person,
            **draw_ranges(rng, _CASE),
            **draw_texture(rng, "skin", np.array([0.14])),
            **draw_texture(rng, "scales", np.array([0.30])),
            "condition": np.array([kind]),
            "dots": dots[None],
        }
        readers = [_read(rng, kind) for _ in READERS]
        count = int(rng.integers(1, 5))
        bad = rng.uniform(size=count) < BADLY_LIT
        visible = np.where(bad, rng.uniform(0.03, 0.2, count), rng.uniform(0.8, 1.0, count))
        parts.append(
            {
                **repeat(case, count),
                **draw_ranges(rng, _PHOTO, count),
                **draw_camera(rng, CAMERAS[patient.site], count),
                "visible": visible,
            }
        )
        case_id = f"{patient.patient_id}_{k}"
        for i in range(count):
            cells = (f"{case_id}_{i}.png", patient.patient_id, case_id, CONDITIONS[kind], *readers)
            for name, cell in zip(table, cells, strict=True):
                table[name].append(cell)
    latents = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
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
    film = _skin(latents, size)
    alpha, scales = _lesion(latents, u, v, size, pose)
    shown = column(latents["visible"] * latents["strength"])
    absorbs = np.array([_ABSORBS[name] for name in CONDITIONS], np.float32)[latents["condition"]]
    film = film * (1 - (shown * alpha)[..., None] * absorbs[:, None, None])
    film = lay_over(film, np.array([0.95, 0.93, 0.90]), 0.75 * shown * scales)
    return take(film * _light(latents, size)[..., None], latents, noise)


def _skin(latents: Latents, size: int) -> Array:
    tone = latents["melanin"][:, None]
    skin = (1 - tone) * _LIGHT_SKIN + tone * _DARK_SKIN
    grain = 1 + column(latents["grain"]) * texture(latents, "skin", size)
    return grain[..., None] * skin[:, None, None].astype(np.float32)


def _light(latents: Latents, size: int) -> Array:
    """Brightness of the light, darker and from one side where a photograph is badly lit."""
    x, y = axes(size)
    angle = latents["shadow_angle"]
    towards = x * column(np.cos(angle)) + y * column(np.sin(angle))
    lack = 1 - column(latents["visible"])
    return (1 - 0.4 * lack) * (1 - 0.35 * lack * towards)


def _lesion(latents: Latents, u: Array, v: Array, size: int, pose: tuple) -> tuple[Array, Array]:
    """Where the lesion is, and where it has scales: each [N, S, S] in [0, 1]."""
    kind, radius = latents["condition"], column(latents["radius"])
    # An irregular border is melanops' own; the others are nearly round.
    rough = column(latents["irregular"] * np.where(kind == CONDITIONS.index("melanops"), 3, 0.3))
    turns = np.round(column(latents["lobes"])) * np.arctan2(v, u) + column(latents["lobe_phase"])
    distance = np.hypot(u, v) * (1 + rough * np.cos(turns)) / radius
    dots = to_image(latents["dots"] * 1.25 * latents["radius"][:, None, None], *pose)
    width = np.full(dots.shape[:2], 0.075) * latents["zoom"][:, None]
    scale = inside(texture(latents, "scales", size) - 0.3, size, 0.3)
    shapes = {
        "erythora": inside((1 - distance) * radius, size, 0.12),
        "annulea": np.exp(-(((distance - 1) / 0.22) ** 2)),
        "melanops": inside((0.85 - distance) * radius, size),
        "guttaria": flat_topped(spots(size, dots, width, np.ones(dots.shape[:2]))),
        "squamella": inside((1 - distance) * radius, size, 0.03),
    }
    alpha = np.choose(kind[:, None, None], [shapes[name] for name in CONDITIONS])
    scaly = column(kind == CONDITIONS.index("squamella"))
    return alpha, scaly * alpha * scale


def _read(rng: np.random.Generator, kind: int) -> str:
    other = (kind + rng.integers(1, len(CONDITIONS))) % len(CONDITIONS)
    return CONDITIONS[kind if rng.uniform() < READER_IS_RIGHT else other]


DRAWING = TaskDrawing(("condition", *READERS), ("visible",), 3, draw, render)
