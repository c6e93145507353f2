"""The committed losses and gradients are what lightly computes today."""

import numpy as np

from tests.golden.make_objectives_golden import PATH, record


def test_recorded_losses_are_the_oracles():
    recorded, live = np.load(PATH), record()
    assert sorted(recorded) == sorted(live)
    for name, values in live.items():
        if name != "versions":
            np.testing.assert_allclose(recorded[name], values, rtol=1e-10, atol=1e-12)
