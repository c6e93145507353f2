"""The random R50x1 that the golden logits belong to, made by numpy alone."""

import zlib

import numpy as np

CLASSES = 7
SIZES = ((224, 224), (97, 75))


def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A parameter by its path. Gamma and beta are random too: at 1 and 0 a swap would hide."""
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    values = generator.standard_normal(shape)
    if name.endswith("gamma"):
        values = 1 + 0.3 * values
    elif name.endswith("beta"):
        values = 0.3 * values
    elif name.startswith("head"):
        values = 0.05 * values
    else:
        values = 0.1 * values
    return values.astype(np.float32)


def images(height: int, width: int) -> np.ndarray:
    """[2, height, width, 3] float32 in [-1, 1]."""
    generator = np.random.default_rng([height, width])
    return generator.uniform(-1, 1, (2, height, width, 3)).astype(np.float32)
