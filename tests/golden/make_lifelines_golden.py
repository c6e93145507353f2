"""Records lifelines' concordance index, for tests/evaluation/test_survival.py.

    python -m tests.golden.make_lifelines_golden

needs lifelines, which wants an older pandas than this package: install it into an environment of
its own (`python -m venv ENV; ENV/bin/pip install lifelines`) and run this module with that
environment's Python from the repository's root. It imports nothing of the package. Arrays are named
CASE/WHAT; `WHAT` is `time`, `event`, `risk`, or lifelines' `concordance`.
"""

from importlib.metadata import version
from pathlib import Path

import numpy as np

PATH = Path(__file__).parent / "lifelines.npz"
# Case -> examples, distinct times (0: all of them distinct), decimals of the risk, share censored.
CASES = {
    "plain": (200, 0, 12, 0.4),
    "tied_risk": (200, 0, 0, 0.4),
    "tied_times": (200, 25, 12, 0.4),
    "all_tied": (300, 12, 0, 0.6),
    "uncensored": (80, 0, 1, 0.0),
    "rare_events": (400, 60, 1, 0.95),
}


def case(name: str) -> dict[str, np.ndarray]:
    """Times that fall with the risk, some of them censored."""
    count, times, decimals, censored = CASES[name]
    generator = np.random.default_rng([len(name), count])
    risk = np.round(generator.standard_normal(count), decimals)
    time = generator.exponential(np.exp(-0.8 * risk))
    if times:
        time = 1 + np.floor(time / time.max() * times)
    return {"time": time, "event": generator.random(count) >= censored, "risk": risk}


def record() -> dict[str, np.ndarray]:
    from lifelines.utils import concordance_index

    out = {"versions": np.array([f"lifelines {version('lifelines')}"])}
    for name in CASES:
        of_case = case(name)
        # lifelines takes what is larger the longer one lives.
        value = concordance_index(of_case["time"], -of_case["risk"], of_case["event"])
        out |= {f"{name}/{what}": values for what, values in of_case.items()}
        out[f"{name}/concordance"] = np.array(value)
    return out


if __name__ == "__main__":
    np.savez_compressed(PATH, **record())
    print(f"{PATH}: {PATH.stat().st_size / 1024:.0f} KB")
