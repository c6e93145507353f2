"""The committed BiT logits are what `transformers` computes today."""

from pathlib import Path

import numpy as np

from tests.golden.make_bit_golden import logits

GOLDEN = Path(__file__).parents[1] / "golden" / "bit.npz"


def test_recorded_logits_are_the_oracles():
    recorded = np.load(GOLDEN)
    live = logits()
    assert sorted(recorded) == sorted(live)
    for name, values in live.items():
        # Other processors order float32 sums differently.
        np.testing.assert_allclose(recorded[name], values, atol=2e-5)
