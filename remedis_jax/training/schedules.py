"""Learning rates: scaling with the batch size, warm-up, cosine and BiT's steps.

A schedule is a function of the step (0 for the first update) that traces under jit.
"""

import bisect
from collections.abc import Callable

import jax.numpy as jnp

from remedis_jax.errors import UserError

Schedule = Callable[[jnp.ndarray], jnp.ndarray]


def scaled_learning_rate(base: float, scaling: str, batch_size: int) -> float:
    """Peak learning rate for a global batch.

    Args:
        base: The rate that the scaling rule starts from.
        scaling: "linear": base * batch / 256; "sqrt": base * sqrt(batch), which the SimCLR README
            advises for small batches (both official-code); "none": base.
        batch_size: Global batch.

    Raises:
        UserError: Unknown scaling.
    """
    if scaling == "linear":
        return base * batch_size / 256
    if scaling == "sqrt":
        return base * batch_size**0.5
    if scaling == "none":
        return base
    raise UserError(
        f"There is no learning-rate scaling {scaling!r}.", "Use linear, sqrt or none."
    )


def warmup_cosine(peak: float, warmup_steps: int, total_steps: int) -> Schedule:
    """Linear warm-up from 0 at step 0, then a half cosine to 0 at `total_steps` (official-code).

    rate(t) = peak * t / warmup                                       for t < warmup
            = peak * (1 + cos(pi (t - warmup) / (total - warmup))) / 2  afterwards

    The first update of a run with warm-up has rate 0, as in google-research/simclr.
    """

    def schedule(step):
        step = jnp.asarray(step, jnp.float32)
        rising = peak * step / max(warmup_steps, 1)
        share = (step - warmup_steps) / max(total_steps - warmup_steps, 1)
        falling = peak * 0.5 * (1 + jnp.cos(jnp.pi * jnp.clip(share, 0.0, 1.0)))
        return jnp.where(step < warmup_steps, rising, falling)

    return schedule


def warmup_constant(peak: float, warmup_steps: int) -> Schedule:
    """Linear warm-up from 0 at step 0, then constant."""

    def schedule(step):
        step = jnp.asarray(step, jnp.float32)
        return peak * jnp.minimum(step / max(warmup_steps, 1), 1.0) if warmup_steps else (
            jnp.full_like(step, peak)
        )

    return schedule


# bit: BiT-HyperRule's [end of warm-up, three drops, end] by size of the training set.
_HYPERRULE = (
    (20_000, (100, 200, 300, 400, 500)),
    (500_000, (500, 3_000, 6_000, 9_000, 10_000)),
    (float("inf"), (500, 6_000, 12_000, 18_000, 20_000)),
)


def bit_hyperrule_steps(num_examples: int) -> tuple[int, int, int, int, int]:
    """BiT-HyperRule's (warm-up, drop, drop, drop, total) in steps (big_transfer, bit_hyperrule)."""
    sizes = [size for size, _ in _HYPERRULE]
    return _HYPERRULE[bisect.bisect_right(sizes, num_examples)][1]


def bit_hyperrule_mixup(num_examples: int) -> float:
    """BiT-HyperRule's alpha of mixup: 0.1 from 20,000 images on, none below (big_transfer)."""
    return 0.1 if num_examples >= _HYPERRULE[0][0] else 0.0


def bit_steps(peak: float, boundaries: tuple[int, ...]) -> Schedule:
    """BiT's schedule: linear warm-up from 0, then a tenth of the rate after each boundary.

    The official test is `boundary < step`, so a drop takes effect one step after its boundary
    (bit). `boundaries` is (end of warm-up, drop, ..., drop).
    """
    warmup, *drops = boundaries

    def schedule(step):
        step = jnp.asarray(step, jnp.float32)
        passed = sum((step > drop).astype(jnp.float32) for drop in drops)
        return jnp.where(step < warmup, peak * step / max(warmup, 1), peak * 0.1**passed)

    return schedule
