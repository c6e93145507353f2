"""The committed augmentation outputs are what TensorFlow computes today."""

from pathlib import Path

import numpy as np

from tests.golden import make_augment_golden

GOLDEN = Path(__file__).parents[1] / "golden" / "augment.npz"


def test_recorded_outputs_are_tensorflows():
    recorded = np.load(GOLDEN)
    live = make_augment_golden.cases()
    assert sorted(recorded) == sorted(live)
    for name, values in live.items():
        np.testing.assert_allclose(recorded[name], values, atol=1e-6, err_msg=name)
