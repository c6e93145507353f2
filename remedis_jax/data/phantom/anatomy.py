"""Who the patient is: latent variables, and the film that an ideal detector would see.

A stylised frontal chest film in anatomical coordinates: u runs to the right and v down, both from
-1 to 1 over the image, so that every length below is in half image widths and a larger image is
the same film seen more sharply. The disease is a network of fine lines and nodules spread over both
lungs. Its random pattern has mean zero and a phase of its own in every patient, so neither the mean
intensity nor any linear function of the pixels tells sick from healthy.
"""

from collections.abc import Mapping

import numpy as np
from scipy.special import expit

from remedis_jax.data.phantom.waves import Waves, draw_fields, evaluate

Array = np.ndarray
Ranges = Mapping[str, tuple[float, float]]

# All ranges and constants of this file are ours: tuned until a simple texture model reaches, at the
# default effect size, most but not all of what the severity itself tells.
PATIENT_RANGES: Ranges = {
    "body_width": (0.82, 1.02),
    "tissue": (0.56, 0.70),  # brightness of soft tissue
    "lung_width": (0.25, 0.33),
    "lung_height": (0.66, 0.84),
    "lung_gap": (0.38, 0.46),  # from the midline to a lung's axis
    "aeration": (0.26, 0.42),  # how much darker than soft tissue a lung is
    "heart_size": (0.20, 0.36),
    "heart_shift": (0.06, 0.16),
    "diaphragm": (0.42, 0.62),
    "diaphragm_dome": (0.10, 0.26),
    "diaphragm_tilt": (0.00, 0.10),  # the image's left dome stands higher
    "rib_spacing": (0.23, 0.33),
    "rib_slope": (-0.10, 0.35),
    "rib_bend": (0.2, 0.9),
    "rib_phase": (0.0, 2 * np.pi),
    "rib_contrast": (0.02, 0.11),
    "spine_contrast": (0.03, 0.14),
    "hilum": (0.02, 0.14),
    "markings": (0.01, 0.05),  # standard deviation of the vessels' shadows, healthy or not
    "markings_scale": (0.32, 0.60),  # their wavelength
    "mesh_scale": (0.30, 0.42),  # wavelength under the disease's network of lines
    "nodule_scale": (0.19, 0.27),  # wavelength of its nodules
    "nodule_share": (0.1, 0.9),  # share of its variance that the nodules carry
    "patchiness": (0.0, 0.45),
}
POSE_RANGES: Ranges = {
    "rotation": (-0.12, 0.12),  # radians
    "shift_u": (-0.07, 0.07),
    "shift_v": (-0.07, 0.07),
    "zoom": (0.92, 1.10),
    "inspiration": (-0.06, 0.06),  # moves the diaphragm
}
_PATCH_SCALE = 1.1
_LINE_WIDTH = 0.6  # of the network's lines, in standard deviations of the field under them


def draw_ranges(rng: np.random.Generator, ranges: Ranges, count: int = 1) -> dict[str, Array]:
    """Draws every named latent uniformly from its range: name -> [count] float64."""
    low, high = np.array(list(ranges.values())).T
    values = rng.uniform(low, high, size=(count, len(low)))
    return dict(zip(ranges, values.T, strict=True))


def draw_waves(rng: np.random.Generator, patient: Mapping[str, Array]) -> dict[str, Waves]:
    """Draws one patient's four random fields (vessels, mesh, nodules, patchiness).

    Args:
        rng: The patient's own generator.
        patient: Latents of that patient as `draw_ranges` returns them with count 1.

    Returns:
        field name -> `Waves` with N = 1.
    """
    scales = {
        "markings": patient["markings_scale"],
        "mesh": patient["mesh_scale"],
        "nodule": patient["nodule_scale"],
        "patch": np.array([_PATCH_SCALE]),
    }
    fields = draw_fields(rng, np.concatenate(list(scales.values())))
    return {
        name: Waves(fields.frequency[[i]], fields.phase[[i]]) for i, name in enumerate(scales)
    }


def disease_contrast(severity: Array) -> Array:
    """Severity -> standard deviation of the disease's pattern in film brightness (0..1).

    Strictly increasing, 0.007 at severity 0, 0.06 at 1.5 and at most 0.12.
    """
    return 0.12 * expit((np.asarray(severity) - 1.5) / 0.55)


def render(
    patient: Mapping[str, Array],
    pose: Mapping[str, Array],
    waves: Mapping[str, Waves],
    severity: Array,
    size: int,
) -> Array:
    """Renders N ideal films.

    Args:
        patient: The names of `PATIENT_RANGES` -> [N].
        pose: The names of `POSE_RANGES` -> [N].
        waves: The fields of `draw_waves`, stacked over N images.
        severity: [N]; the only thing about the disease that the film depends on.
        size: Height and width S in pixels.

    Returns:
        [N, S, S] float32; 0 is the black of air, most tissue lies between 0.2 and 0.9.
    """
    matrix, offset = _image_to_anatomy(pose)
    grid = pixel_centres(size)
    p = {name: value[:, None, None].astype(np.float32) for name, value in patient.items()}
    x, y = grid[None, None, :], grid[None, :, None]
    u, v = (
        (
            matrix[:, i, 0, None, None] * x
            + matrix[:, i, 1, None, None] * y
            + offset[:, i, None, None]
        ).astype(np.float32)
        for i in range(2)
    )
    edge = np.float32(0.012 + 0.5 / size)  # an edge is about as soft as the pixel that samples it

    neck = expit((-v - 0.78) / 0.05)
    body = expit((p["body_width"] * (1 - 0.55 * neck) - np.abs(u)) / edge)
    diaphragm = p["diaphragm"] + pose["inspiration"][:, None, None].astype(np.float32)
    lung, heart = _lungs(u, v, p, diaphragm, edge)
    bone = _ribs(u, v, p) * (0.35 + 0.65 * lung)
    spine = np.exp(-((u / 0.09) ** 2)) * (1 + 0.25 * np.cos(2 * np.pi * v / 0.22))
    hilum = np.exp(-(((np.abs(u) - 0.2) / 0.09) ** 2) - ((v + 0.02) / 0.17) ** 2)

    field = {name: evaluate(w, matrix, offset, grid) for name, w in waves.items()}
    share = p["nodule_share"]
    pattern = np.sqrt(1 - share) * _mesh(field["mesh"]) + np.sqrt(share) * field["nodule"]
    pattern *= 1 + p["patchiness"] * field["patch"]
    contrast = disease_contrast(severity)[:, None, None].astype(np.float32)

    film = p["tissue"] + p["spine_contrast"] * spine + 0.06 * heart - p["aeration"] * lung
    film += p["rib_contrast"] * bone + p["hilum"] * hilum
    film += lung * (p["markings"] * field["markings"] + contrast * pattern)
    return np.clip(film * body, 0, 1, dtype=np.float32)


def pixel_centres(size: int) -> Array:
    """Coordinates of the pixels' centres, [size] float64 within (-1, 1)."""
    return (np.arange(size) + 0.5) * (2 / size) - 1


def _image_to_anatomy(pose: Mapping[str, Array]) -> tuple[Array, Array]:
    """The affine map of a pose: matrix [N, 2, 2] and offset [N, 2]."""
    cos, sin = np.cos(pose["rotation"]), np.sin(pose["rotation"])
    matrix = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], axis=1)
    matrix /= pose["zoom"][:, None, None]
    shift = np.stack([pose["shift_u"], pose["shift_v"]], axis=-1)
    return matrix, -np.einsum("nij,nj->ni", matrix, shift)


def _mesh(field: Array) -> Array:
    """Bright lines where a standard normal field crosses zero; mean 0, variance 1.

    With x normal, E exp(-a x^2) = (1 + 2a)^(-1/2), which gives both moments.
    """
    a = 1 / _LINE_WIDTH**2
    mean, square = (1 + 2 * a) ** -0.5, (1 + 4 * a) ** -0.5
    return (np.exp(-a * field**2) - mean) / np.sqrt(square - mean**2)


def _lungs(
    u: Array, v: Array, p: Mapping[str, Array], diaphragm: Array, edge: np.float32
) -> tuple[Array, Array]:
    """Soft masks in [0, 1] of both lungs together and of the heart, each [N, S, S]."""
    size = p["heart_size"]
    heart = expit(
        (1 - np.hypot((u - p["heart_shift"]) / size, (v - 0.28) / (0.9 * size))) * size / edge
    )
    mediastinum = 0.10 + 0.05 * expit((v + 0.1) / 0.08)
    lung = np.zeros_like(u)
    for side in (-1, 1):
        across = (u - side * p["lung_gap"]) / p["lung_width"]
        height = p["lung_height"]
        along = (v + 0.02) / height
        # Powers above 2 make sides and apex fuller than an ellipse's, the shift narrows the apex.
        tilted = np.abs(across - 0.35 * side * along)
        radius = (tilted**2 * np.sqrt(tilted) + np.square(along**2)) ** 0.4
        outline = expit((1 - radius) * p["lung_width"] / edge)
        base = diaphragm + 0.5 * (1 + side) * p["diaphragm_tilt"]
        dome = base + p["diaphragm_dome"] * (across**2 - 1)
        floor = expit((np.minimum(dome, base + 0.2) - v) / edge)
        lung += outline * floor * expit((side * u - mediastinum) / edge)
    return lung * (1 - heart), heart


def _ribs(u: Array, v: Array, p: Mapping[str, Array]) -> Array:
    """Ribs as bright bands that slope and bend away from the spine, [N, S, S] within [0, 1]."""
    away = np.abs(u)
    level = v - p["rib_slope"] * away + p["rib_bend"] * (away - 0.4) ** 2
    band = expit((np.cos(2 * np.pi * level / p["rib_spacing"] + p["rib_phase"]) - 0.2) / 0.25)
    return band * expit((0.62 - v) / 0.06) * expit((away - 0.1) / 0.03)
