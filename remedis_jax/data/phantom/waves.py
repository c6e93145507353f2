"""Random fields as sums of plane waves: the same field at every resolution."""

from dataclasses import dataclass

import numpy as np

Array = np.ndarray

WAVES_PER_FIELD = 24


@dataclass(frozen=True)
class Waves:
    """A random field per image as a sum of plane waves, in anatomical coordinates.

    Attributes:
        frequency: [N, K, 2] float64, radians per unit of u and v.
        phase: [N, K] float64, radians.
    """

    frequency: Array
    phase: Array


def draw_fields(rng: np.random.Generator, scales: Array) -> Waves:
    """Draws a random field per scale.

    The directions of a field's K waves are evenly spread with a random offset and jitter, their
    wavelengths within 15 % of the field's scale, so each field is isotropic and narrow-banded.

    Args:
        rng: Where the draws come from.
        scales: [N], the wavelengths.

    Returns:
        `Waves` with a row per scale.
    """
    shape = (len(scales), WAVES_PER_FIELD)
    spread = np.arange(WAVES_PER_FIELD) + rng.uniform(size=shape)
    angle = np.pi * (spread / WAVES_PER_FIELD + rng.uniform(size=(shape[0], 1)))
    jitter = rng.uniform(1 / 1.15, 1.15, size=shape)
    phase = rng.uniform(0, 2 * np.pi, size=shape)
    radius = 2 * np.pi * jitter / np.asarray(scales)[:, None]
    return Waves(np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1), phase)


def evaluate(waves: Waves, matrix: Array, offset: Array, grid: Array) -> Array:
    """Values of a random field at the pixels: [N, S, S] float32 of mean 0 and variance 1.

    A plane wave of an affine map of the pixel grid is a product of a function of the row and one
    of the column, so that a field of K waves is one [S, 2K] x [2K, S] product per image.

    Args:
        waves: The fields of N images.
        matrix: [N, 2, 2] and `offset` [N, 2]: the affine map from the image to the field.
        offset: See `matrix`.
        grid: [S], coordinates of the pixels along either axis.
    """
    along_x, along_y = np.einsum("nki,nij->jnk", waves.frequency, matrix)
    phase = waves.phase + np.einsum("nki,ni->nk", waves.frequency, offset)
    # The angles stay below 100 radians, so single precision leaves them 1e-5 exact.
    column = (along_x[:, :, None] * grid).astype(np.float32)
    row = (along_y[:, None, :] * grid[:, None] + phase[:, None, :]).astype(np.float32)
    rows = np.concatenate([np.cos(row), -np.sin(row)], axis=2)
    columns = np.concatenate([np.cos(column), np.sin(column)], axis=1)
    return rows @ columns * np.float32(np.sqrt(2 / waves.phase.shape[1]))
