"""Whether an exported network computes what ours does, in numbers."""

from collections.abc import Mapping

import numpy as np

from remedis_jax.errors import RunFailed


def compare_outputs(
    name: str,
    found: Mapping[str, np.ndarray],
    expected: Mapping[str, np.ndarray],
    tolerance: float,
    *,
    hint: str = "Nothing was kept; this is a defect of the export.",
) -> dict[str, float | int]:
    """Largest differences between two sets of outputs, refused above the tolerance.

    An output passes where its largest absolute difference is at most `tolerance` times its largest
    expected value, or times 1 where that is smaller: absolute for outputs of order one,
    relative for larger ones.

    Args:
        name: What to call the export in the error.
        found: Outputs of the exported network; may hold more than `expected`.
        expected: Our outputs of the same images, by the same names; [N, ...] each.
        tolerance: See above.
        hint: The remedy in the error.

    Returns:
        "largest" absolute difference, "relative" (the largest ratio as defined above), "images"
        (N) and "tolerance".

    Raises:
        RunFailed: An output is absent, of another shape, not finite, or beyond the tolerance.
    """
    largest = relative = 0.0
    for output, values in expected.items():
        got = found.get(output)
        if got is None or got.shape != values.shape:
            shape = "absent" if got is None else f"of shape {got.shape}"
            raise RunFailed(
                f"The {name} is not the same network: its {output} are {shape}, ours are of shape "
                f"{values.shape}.",
                hint,
            )
        difference = float(np.max(np.abs(got.astype(np.float64) - values)))
        ratio = difference / max(1.0, float(np.max(np.abs(values))))
        if not ratio <= tolerance:
            raise RunFailed(
                f"The {name} is not the same network: its {output} of {len(values)} images differ "
                f"from ours by up to {difference:.3g}, which is {ratio:.3g} of their size where "
                f"{tolerance:g} is tolerated.",
                hint,
            )
        largest, relative = max(largest, difference), max(relative, ratio)
    images = len(next(iter(expected.values())))
    return {"largest": largest, "relative": relative, "images": images, "tolerance": tolerance}
