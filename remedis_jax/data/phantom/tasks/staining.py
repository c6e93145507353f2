"""Tissue on a slide: where the two dyes are becomes colour, as a laboratory's stain has it.

Haematoxylin colours nuclei blue, eosin all else pink. Light that passes a dye falls off with its
amount (Beer and Lambert); the colours of the dyes are those of Ruifrok and Johnston 2001
("Quantification of histochemical staining by color deconvolution"). Laboratories differ in how
strongly they stain and in the hue of their dyes.
"""

import dataclasses

import numpy as np

from remedis_jax.data.phantom.tasks.drawing import column

Array = np.ndarray
Range = tuple[float, float]

# Optical density of red, green and blue per unit of dye.
HAEMATOXYLIN = np.array([0.65, 0.70, 0.29], np.float32)
EOSIN = np.array([0.07, 0.99, 0.11], np.float32)


@dataclasses.dataclass(frozen=True)
class Stain:
    """How one laboratory stains; a pair is a range from which each slide draws uniformly.

    Attributes:
        haematoxylin: Factor of its amount.
        eosin: Factor of its amount.
        blueness: Moves haematoxylin's absorption from blue to red light: its hue.
        orange: Moves eosin's absorption from red to blue light: its hue.
    """

    haematoxylin: Range
    eosin: Range
    blueness: Range
    orange: Range


# All values of the presets: ours. Laboratory B stains strongly in both, more violet and orange.
STAINS = {
    "hospital_a": Stain((0.9, 1.1), (0.85, 1.05), (-0.06, 0.04), (0.06, 0.12)),
    "hospital_b": Stain((0.80, 1.0), (1.15, 1.45), (-0.20, -0.08), (0.18, 0.30)),
    "archive": Stain((0.80, 1.1), (0.85, 1.40), (-0.18, 0.04), (0.06, 0.28)),
}


def draw_stain(rng: np.random.Generator, stain: Stain) -> dict[str, Array]:
    """Draws how one slide is stained: 'stain_haematoxylin' and its siblings -> [1] float64."""
    return {
        f"stain_{name}": rng.uniform(*span, size=1)
        for name, span in vars(stain).items()
    }


def dye(haematoxylin: Array, eosin: Array, latents: dict[str, Array]) -> Array:
    """The light that comes through: [N, S, S, 3] float32 in (0, 1].

    Args:
        haematoxylin: [N, S, S], amount of dye, at least 0.
        eosin: As haematoxylin.
        latents: Those of `draw_stain`, of N images, among others.
    """
    blueness, orange = latents["stain_blueness"][:, None], latents["stain_orange"][:, None]
    blue = HAEMATOXYLIN + blueness * np.array([1, 0, -1], np.float32)
    pink = EOSIN + orange * np.array([-0.2, 0, 1], np.float32)
    density = 0.0
    for amount, colour, name in ((haematoxylin, blue, "haematoxylin"), (eosin, pink, "eosin")):
        strength = column(latents[f"stain_{name}"]) * amount
        density = density + strength[..., None] * colour[:, None, None]
    return np.exp(-density).astype(np.float32)
