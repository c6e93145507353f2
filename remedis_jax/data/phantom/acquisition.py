"""How a film is taken: the settings of each hospital, drawn per image and applied to ideal films.

Hospitals differ in acquisition alone. Nothing here knows of patients, severity or labels.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from remedis_jax.data.phantom.smoothing import gaussian, smooth

Array = np.ndarray
Range = tuple[float, float]

# Five rows of three columns, '#' is lead.
_GLYPHS = {
    "L": ("#..", "#..", "#..", "#..", "###"),
    "R": ("##.", "#.#", "##.", "#.#", "#.#"),
    "P": ("##.", "#.#", "##.", "#..", "#.."),
    "T": ("###", ".#.", ".#.", ".#.", ".#."),
}
SIDES = ("left", "right", "top", "bottom")
CORNERS = ("top left", "top right", "bottom left", "bottom right")


@dataclass(frozen=True)
class Acquisition:
    """The settings of one hospital; a pair is a range from which each image draws uniformly.

    Attributes:
        gamma: Exponent of the intensity curve, > 0; below 1 brightens.
        contrast: Factor around mid-grey after the curve, > 0.
        brightness: Added after that, in units of full scale.
        blur: Standard deviation of the detector's Gaussian blur, in image widths, > 0.
        noise: Standard deviation of the grain, in units of full scale.
        grain: Standard deviation of the Gaussian that correlates the grain, in image widths, > 0.
        collimation_chance: Probability in [0, 1] that the image has black borders.
        collimation_width: Width of each of the four borders, in image widths.
        marker_chance: Probability in [0, 1] of a letter in a corner.
        marker_letters: The letters to choose from, each of L, R, P, T.
        marker_corners: The corners to choose from, each of `CORNERS`.
    """

    gamma: Range
    contrast: Range
    brightness: Range
    blur: Range
    noise: Range
    grain: Range
    collimation_chance: float
    collimation_width: Range
    marker_chance: float
    marker_letters: str
    marker_corners: tuple[str, ...]


# All values of the presets: ours.
HOSPITAL_A = Acquisition(
    gamma=(0.90, 1.05),
    contrast=(0.95, 1.10),
    brightness=(-0.03, 0.03),
    blur=(0.006, 0.010),
    noise=(0.010, 0.020),
    grain=(0.006, 0.010),
    collimation_chance=0.1,
    collimation_width=(0.0, 0.06),
    marker_chance=0.6,
    marker_letters="R",
    marker_corners=("top left",),
)
# Film rather than a detector: darker, flatter, softer, with coarse grain whose strength varies and
# lies in the band of the disease's pattern, and with wide collimation.
HOSPITAL_B = Acquisition(
    gamma=(1.25, 1.70),
    contrast=(0.70, 1.00),
    brightness=(-0.02, 0.10),
    blur=(0.010, 0.018),
    noise=(0.015, 0.075),
    grain=(0.012, 0.022),
    collimation_chance=0.7,
    collimation_width=(0.02, 0.10),
    marker_chance=0.8,
    marker_letters="LP",
    marker_corners=("top right", "bottom right"),
)
# Many devices: every image draws from ranges that hold hospital A and most, not all, of hospital B.
ARCHIVE = Acquisition(
    gamma=(0.80, 1.55),
    contrast=(0.75, 1.20),
    brightness=(-0.06, 0.08),
    blur=(0.006, 0.016),
    noise=(0.010, 0.060),
    grain=(0.006, 0.020),
    collimation_chance=0.4,
    collimation_width=(0.0, 0.09),
    marker_chance=0.6,
    marker_letters="LRT",
    marker_corners=CORNERS,
)


def draw_settings(
    rng: np.random.Generator, acquisition: Acquisition, count: int
) -> dict[str, Array]:
    """Draws the settings of `count` images.

    Returns:
        name -> [count]: the six ranged settings as float64, `border_left` and its three siblings in
        image widths (0 where the image is not collimated), and `letter` and `corner` as indices
        into the acquisition's choices (letter -1: no marker).
    """
    settings = {
        name: rng.uniform(*getattr(acquisition, name), size=count)
        for name in ("gamma", "contrast", "brightness", "blur", "noise", "grain")
    }
    collimated = rng.uniform(size=count) < acquisition.collimation_chance
    for side in SIDES:
        width = rng.uniform(*acquisition.collimation_width, size=count)
        settings[f"border_{side}"] = collimated * width
    marked = rng.uniform(size=count) < acquisition.marker_chance
    letter = rng.integers(len(acquisition.marker_letters), size=count)
    settings["letter"] = np.where(marked, letter, -1)
    settings["corner"] = rng.integers(len(acquisition.marker_corners), size=count)
    return settings


def expose(
    film: Array, settings: Mapping[str, Array], noise: Array, acquisition: Acquisition
) -> Array:
    """Takes ideal films with the given settings.

    Order: blur, intensity curve, grain, collimation, marker, quantisation.

    Args:
        film: [N, S, S] float32 in [0, 1].
        settings: As `draw_settings` returns them for N images.
        noise: [N, S, S] float32, standard normal.
        acquisition: Where the settings were drawn from; names the letters and corners.

    Returns:
        [N, S, S] uint8.
    """
    size = film.shape[1]
    s = {
        name: settings[name][:, None, None].astype(np.float32)
        for name in ("gamma", "contrast", "brightness", "noise")
    }
    image = smooth(film, gaussian(settings["blur"], size))
    image = 0.5 + s["contrast"] * (np.clip(image, 0, 1) ** s["gamma"] - 0.5) + s["brightness"]

    grain = gaussian(settings["grain"], size)
    # Rows of unit length keep the variance of independent noise, at the border too.
    grain /= np.linalg.norm(grain, axis=2, keepdims=True)
    image += s["noise"] * smooth(noise, grain)

    for side in SIDES:
        _close(image, np.rint(settings[f"border_{side}"] * size), side)
    for n in np.flatnonzero(settings["letter"] >= 0):
        letter = acquisition.marker_letters[settings["letter"][n]]
        corner = acquisition.marker_corners[settings["corner"][n]]
        _mark(image[n], letter, corner)
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _close(image: Array, width: Array, side: str) -> None:
    """Blackens a border of `width` [N] whole pixels at one of `SIDES`, in place."""
    size = image.shape[1]
    from_edge = np.arange(size) if side in ("left", "top") else np.arange(size)[::-1]
    closed = from_edge < width[:, None]
    closed = closed[:, None, :] if side in ("left", "right") else closed[:, :, None]
    image[np.broadcast_to(closed, image.shape)] = 0


def _mark(image: Array, letter: str, corner: str) -> None:
    """Sets a bright letter of 0.15 x 0.09 image widths in a corner, in place."""
    size = image.shape[0]
    glyph = np.array([[c == "#" for c in row] for row in _GLYPHS[letter]])
    height, width = round(0.15 * size), round(0.09 * size)
    rows = np.arange(height) * glyph.shape[0] // height
    columns = np.arange(width) * glyph.shape[1] // width
    margin = round(0.05 * size)
    top = margin if corner.startswith("top") else size - margin - height
    left = margin if corner.endswith("left") else size - margin - width
    image[top : top + height, left : left + width][glyph[rows][:, columns]] = 0.95
