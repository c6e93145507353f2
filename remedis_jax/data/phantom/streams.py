"""The random stream of each patient, so that more patients leave the earlier ones as they are."""

from zlib import crc32

import numpy as np

ID_LETTERS = {"hospital_a": "A", "hospital_b": "B", "archive": "U"}


def stream(seed: int, *key: str | int) -> np.random.Generator:
    """The generator that a key has; names enter by their checksum.

    Args:
        seed: Any non-negative integer.
        *key: For example site, number of the patient, number of the part.
    """
    numbers = tuple(crc32(k.encode()) if isinstance(k, str) else k for k in key)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=numbers)))
