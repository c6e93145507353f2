"""Gaussian smoothing whose width differs from image to image, as products of matrices."""

import numpy as np

Array = np.ndarray


def gaussian(sigma: Array, size: int) -> Array:
    """Row-normalised Gaussian smoothing matrices, [N, size, size] float32; sigma in widths."""
    distance = np.arange(size)[:, None] - np.arange(size)[None, :]
    kernel = np.exp(-0.5 * (distance / (sigma[:, None, None] * size)) ** 2)
    return (kernel / kernel.sum(axis=2, keepdims=True)).astype(np.float32)


def smooth(image: Array, matrix: Array) -> Array:
    """Applies a smoothing matrix along both axes of [N, S, S], image by image."""
    return matrix @ image @ matrix.transpose(0, 2, 1)
