"""What the tasks draw with: coordinates, soft spots, random fields and colours laid over others.

Coordinates run from -1 to 1 over the image, x to the right and y down; lengths are in half image
widths, so that a larger image is the same picture seen more sharply. N images at a time.
"""

import numpy as np
from scipy.special import expit

from remedis_jax.data.phantom.anatomy import pixel_centres
from remedis_jax.data.phantom.waves import Waves, draw_fields, evaluate

Array = np.ndarray


def column(values: Array) -> Array:
    """[N] as [N, 1, 1] float32, to go with pixels."""
    return np.asarray(values)[:, None, None].astype(np.float32)


def axes(size: int) -> tuple[Array, Array]:
    """x [1, 1, S] and y [1, S, 1] of the pixels' centres, float32."""
    grid = pixel_centres(size).astype(np.float32)
    return grid[None, None, :], grid[None, :, None]


def to_object(size: int, rotation: Array, shift: Array, zoom: Array) -> tuple[Array, Array]:
    """Coordinates u and v of the pixels on an object that is turned, shifted and enlarged.

    Args:
        size: S.
        rotation: [N], radians.
        shift: [N, 2].
        zoom: [N], > 0.

    Returns:
        u and v, each [N, S, S] float32.
    """
    x, y = axes(size)
    cos, sin = column(np.cos(rotation)), column(np.sin(rotation))
    x, y = (x - column(shift[:, 0])) / column(zoom), (y - column(shift[:, 1])) / column(zoom)
    return cos * x + sin * y, cos * y - sin * x


def to_image(points: Array, rotation: Array, shift: Array, zoom: Array) -> Array:
    """Where points [N, K, 2] of the object lie in the image; the inverse of `to_object`."""
    cos, sin = np.cos(rotation), np.sin(rotation)
    turn = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], axis=1)
    return np.einsum("nij,nkj->nki", turn * zoom[:, None, None], points) + shift[:, None]


def spots(size: int, points: Array, radius: Array, weight: Array) -> Array:
    """A sum of Gaussian spots, [N, S, S] float32.

    Args:
        size: S.
        points: [N, K, 2].
        radius: [N, K], standard deviations.
        weight: [N, K], heights; 0 draws nothing.
    """
    grid = pixel_centres(size).astype(np.float32)
    points, radius = points.astype(np.float32), radius.astype(np.float32)[..., None]
    # A Gaussian of x and y is a product of one of each, so that the sum is a product of matrices.
    across, down = (np.exp(-0.5 * ((grid - points[..., [i]]) / radius) ** 2) for i in range(2))
    return (weight.astype(np.float32)[..., None] * down).transpose(0, 2, 1) @ across


def flat_topped(total: Array) -> Array:
    """A sum of spots as discs in [0, 1) that do not add up where they overlap."""
    return 1 - np.exp(-(total**2) * 3)


def scattered(rng: np.random.Generator, images: int, side: int, jitter: float) -> Array:
    """Places that fill the image about evenly, [images, side^2, 2].

    Args:
        rng: Where the draws come from.
        images: How many images.
        side: Places along either axis; the outermost lie at the border.
        jitter: How far one may be off, as a share of the spacing.
    """
    line = np.linspace(-1, 1, side)
    places = np.stack(np.meshgrid(line, line), axis=-1).reshape(1, -1, 2)
    spacing = 2 / (side - 1)
    return places + rng.uniform(-jitter, jitter, (images, side**2, 2)) * spacing


def draw_texture(rng: np.random.Generator, name: str, scales: Array) -> dict[str, Array]:
    """Latents of a random field of that wavelength per image; for `texture`."""
    waves = draw_fields(rng, scales)
    return {f"{name}_frequency": waves.frequency, f"{name}_phase": waves.phase}


def texture(latents: dict[str, Array], name: str, size: int) -> Array:
    """The field that `draw_texture` drew: [N, S, S] float32 of mean 0 and variance 1."""
    waves = Waves(latents[f"{name}_frequency"], latents[f"{name}_phase"])
    count = len(waves.phase)
    upright = np.broadcast_to(np.eye(2), (count, 2, 2))
    return evaluate(waves, upright, np.zeros((count, 2)), pixel_centres(size))


def inside(depth: Array, size: int, softness: float = 0.012) -> Array:
    """1 where `depth` is positive and 0 elsewhere, with an edge no sharper than the pixels."""
    return expit(depth / np.float32(softness + 0.5 / size))


def lay_over(film: Array, colour: Array, alpha: Array) -> Array:
    """Mixes a colour into a film.

    Args:
        film: [N, S, S, 3].
        colour: [3] or [N, 3].
        alpha: [N, S, S], 0 keeps the film and 1 is the colour.
    """
    colour = np.broadcast_to(np.asarray(colour, np.float32), (len(film), 3))[:, None, None]
    return film + alpha[..., None] * (colour - film)
