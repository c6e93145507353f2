"""Textured shapes that stand in for natural images in the first, supervised stage.

Ten classes: five shapes, each striped or spotted. Position, size, rotation, contrast, polarity and
background vary freely, so that a network has to learn edges, orientation and texture.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit

from remedis_jax.data.phantom.anatomy import Ranges, draw_ranges, pixel_centres
from remedis_jax.errors import UserError

Array = np.ndarray

SHAPES = ("disc", "square", "triangle", "star", "ring")
TEXTURES = ("striped", "spotted")
CLASSES = tuple(f"{texture} {shape}" for shape in SHAPES for texture in TEXTURES)

# All ranges: ours. Lengths in half image widths.
IMAGE_RANGES: Ranges = {
    "centre_u": (-0.25, 0.25),
    "centre_v": (-0.25, 0.25),
    "radius": (0.50, 0.80),
    "rotation": (0.0, 2 * np.pi),
    "level": (0.35, 0.65),  # mean brightness of the image
    "difference": (0.10, 0.30),  # of shape and background
    "polarity": (-1.0, 1.0),  # its sign tells which of the two is brighter
    "texture_angle": (0.0, np.pi),
    "texture_scale": (0.22, 0.42),  # wavelength; at least 4 pixels of a 40-pixel image
    "texture_phase": (0.0, 2 * np.pi),
    "texture_contrast": (0.08, 0.20),
    "slope_u": (-0.15, 0.15),
    "slope_v": (-0.15, 0.15),
    "noise": (0.01, 0.06),
}
_IMAGES_PER_BLOCK = 256


@dataclass(frozen=True)
class NaturalSet:
    """Images [N, S, S] uint8 and a table of N rows: image (file name), label (of `CLASSES`)."""

    images: Array
    table: pd.DataFrame


def generate_natural(seed: int, images: int, *, size: int = 40) -> NaturalSet:
    """Generates textured shapes; classes take turns, so every run of ten images has each once.

    Args:
        seed: Any non-negative integer; the same seed gives the same bytes.
        images: How many, at least 1. More images leave the earlier ones as they are.
        size: Height and width in pixels, 32 to 256.

    Raises:
        UserError: An argument is outside its range.
    """
    if seed < 0 or images < 1 or not 32 <= size <= 256:
        raise UserError(
            f"natural images with seed {seed}, {images} images, size {size}.",
            "Give a seed of 0 or more, at least one image and a size from 32 to 256.",
        )
    # Both streams are consumed image by image, so blocks and the number of images do not matter.
    latent_rng, noise_rng = (
        np.random.Generator(np.random.Philox(child))
        for child in np.random.SeedSequence(seed).spawn(2)
    )
    latents = draw_ranges(latent_rng, IMAGE_RANGES, images)
    kind = np.arange(images) % len(CLASSES)
    blocks = []
    for start in range(0, images, _IMAGES_PER_BLOCK):
        block = slice(start, start + _IMAGES_PER_BLOCK)
        chosen = {name: value[block] for name, value in latents.items()}
        blocks.append(_draw(chosen, kind[block], size, noise_rng))
    table = pd.DataFrame(
        {
            "image": [f"N{i:05d}.png" for i in range(images)],
            "label": [CLASSES[k] for k in kind],
        }
    )
    return NaturalSet(images=np.concatenate(blocks), table=table)


def _draw(
    latents: dict[str, Array], kind: Array, size: int, noise_rng: np.random.Generator
) -> Array:
    p = {name: value[:, None, None].astype(np.float32) for name, value in latents.items()}
    grid = pixel_centres(size).astype(np.float32)
    x, y = grid[None, None, :], grid[None, :, None]
    from_centre = (x - p["centre_u"]) / p["radius"], (y - p["centre_v"]) / p["radius"]
    u, v = _rotate(*from_centre, p["rotation"])
    along, across = _rotate(x, y, p["texture_angle"])
    turns = 2 * np.pi / p["texture_scale"]
    striped = np.sin(turns * along + p["texture_phase"])
    spotted = striped * np.sin(turns * across + 2 * p["texture_phase"])

    shape, texture = np.divmod(kind, len(TEXTURES))
    depth = np.empty_like(u)
    for k, name in enumerate(SHAPES):
        chosen = shape == k
        depth[chosen] = _depth(name, u[chosen], v[chosen])
    edge = np.float32(0.012 + 0.5 / size)
    inside = expit(depth * p["radius"] / edge)
    # Unit variance for both textures: a stripe's is 1/2, a product of two stripes' 1/4.
    pattern = np.where(texture[:, None, None] == 0, np.sqrt(2.0) * striped, 2 * spotted)

    image = p["level"] + p["slope_u"] * x + p["slope_v"] * y
    image += np.sign(p["polarity"]) * p["difference"] * (inside - 0.5)
    image += inside * p["texture_contrast"] * pattern
    image += p["noise"] * noise_rng.standard_normal(u.shape, np.float32)
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _rotate(x: Array, y: Array, angle: Array) -> tuple[Array, Array]:
    cos, sin = np.cos(angle), np.sin(angle)
    return cos * x + sin * y, cos * y - sin * x


def _depth(shape: str, u: Array, v: Array) -> Array:
    """How far inside the shape a point is, about in radii and negative outside."""
    radius = np.hypot(u, v)
    match shape:
        case "disc":
            return 0.9 - radius
        case "ring":
            return 0.22 - np.abs(radius - 0.75)
        case "square":
            return 0.78 - np.maximum(np.abs(u), np.abs(v))
        case "triangle":
            slanted = 0.5 * np.sqrt(3) * np.abs(u) + 0.5 * v
            return 0.52 - np.maximum(slanted, -v)
        case "star":
            return 0.72 + 0.28 * np.cos(5 * np.arctan2(v, u)) - radius
    raise ValueError(f"no shape {shape!r}")
