"""How a colour picture is taken: the settings of a hospital, drawn per image and applied to films.

Nothing here knows of patients or labels. Grey films are taken by `data.phantom.acquisition`.
"""

import dataclasses

import numpy as np
from scipy.special import expit

from remedis_jax.data.phantom.smoothing import gaussian, smooth
from remedis_jax.data.phantom.tasks.drawing import axes, column

Array = np.ndarray
Range = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Camera:
    """The settings of one hospital; a pair is a range from which each image draws uniformly.

    Attributes:
        red: Gain of the channel, > 0; the three together are exposure and colour cast.
        green: As red.
        blue: As red.
        gamma: Exponent of the intensity curve, > 0; above 1 darkens.
        blur: Standard deviation of the Gaussian blur, in image widths, > 0.
        noise: Standard deviation of the noise of each pixel and channel, in units of full scale.
        corner: How much the corners are darkened, in [0, 1].
    """

    red: Range
    green: Range
    blue: Range
    gamma: Range
    blur: Range
    noise: Range
    corner: Range


def draw_camera(rng: np.random.Generator, camera: Camera, count: int) -> dict[str, Array]:
    """Draws the settings of `count` images: 'camera_red' and its siblings -> [count] float64."""
    return {
        f"camera_{name}": rng.uniform(*span, size=count)
        for name, span in vars(camera).items()
    }


def take(film: Array, latents: dict[str, Array], noise: Array) -> Array:
    """Takes ideal films with the settings that were drawn.

    Order: corners, blur, gain, intensity curve, noise, quantisation.

    Args:
        film: [N, S, S, 3] float32 in [0, 1].
        latents: Those of `draw_camera`, of N images, among others.
        noise: [N, S, S, 3] float32, standard normal.

    Returns:
        [N, S, S, 3] uint8.
    """
    size = film.shape[1]
    x, y = axes(size)
    corner = expit((np.hypot(x, y) - 1.08) / np.float32(0.06))
    kept = 1 - column(latents["camera_corner"]) * corner
    blur = gaussian(latents["camera_blur"], size)
    gamma, strength = column(latents["camera_gamma"]), column(latents["camera_noise"])
    image = np.empty_like(film)
    for i, name in enumerate(("red", "green", "blue")):
        gain = column(latents[f"camera_{name}"])
        light = np.clip(gain * smooth(film[..., i] * kept, blur), 0, 1)
        image[..., i] = light**gamma + strength * noise[..., i]
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
