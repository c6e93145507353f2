"""Images and TensorFlow's answers for the augmentation tests."""

import pathlib

import numpy as np
import pytest


@pytest.fixture(scope="session")
def golden() -> dict[str, np.ndarray]:
    """What TensorFlow computed; see tests/golden/make_augment_golden.py."""
    path = pathlib.Path(__file__).parents[1] / "golden" / "augment.npz"
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


@pytest.fixture(scope="session")
def rgb(golden) -> np.ndarray:
    """float32 [19, 27, 3] in [0, 1]."""
    return golden["rgb"] / np.float32(255)


@pytest.fixture(scope="session")
def grey(golden) -> np.ndarray:
    """uint8 [23, 31, 1]."""
    return golden["grey"]
