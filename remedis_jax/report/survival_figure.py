"""The figure of survival: Kaplan-Meier curves of the lower and the higher risk."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from remedis_jax.evaluation.survival import kaplan_meier
from remedis_jax.report.figures import COLOURS, GREY, LINES, WIDTH, save_figure, styled


@dataclasses.dataclass(frozen=True, eq=False)
class Followed:
    """One line of `survival_figure`.

    Attributes:
        label: As it stands in the legend and beside the numbers at risk.
        time: float64 [N], N at least 1.
        event: [N], 1 where the event was seen at that time.
    """

    label: str
    time: np.ndarray
    event: np.ndarray


def risk_halves(
    time: np.ndarray, event: np.ndarray, risk: np.ndarray
) -> tuple[Followed, Followed] | None:
    """Those with a risk up to the median, and those above; None where all risks are equal."""
    high = risk > np.median(risk)
    if not high.any():
        # More than half share the greatest risk: they are the higher part.
        high = risk >= np.median(risk)
    if not len(risk) or high.all():
        return None
    names = ("lower risk", "higher risk")
    low, high = (
        Followed(f"{name} (n = {part.sum():,})", time[part], event[part])
        for name, part in zip(names, (~high, high), strict=True)
    )
    return low, high


def survival_figure(
    path: str | os.PathLike, groups: Sequence[Followed], *, horizon: float
) -> Path:
    """Kaplan-Meier curves with marks for the censored, and the numbers at risk below.

    Args:
        path: PNG to write.
        groups: One or more.
        horizon: Marked by a line; in the unit of the times.

    Returns:
        `path`.
    """
    last = max(float(group.time.max()) for group in groups)
    ticks = [t for t in MaxNLocator(6).tick_values(0, last) if 0 <= t <= last]
    with styled():
        height = 0.3 + 0.22 * len(groups)
        figure = Figure(figsize=(WIDTH, 3.9 + height), layout="constrained")
        curves, table = figure.subplots(2, sharex=True, height_ratios=[3.6, height])
        for index, group in enumerate(groups):
            _draw_curve(curves, group, COLOURS[index % len(COLOURS)], LINES[index % len(LINES)])
        curves.axvline(horizon, color=GREY, lw=1.2, ls=(0, (4, 2)), label=f"horizon {horizon:g}")
        curves.set_ylim(-0.01, 1.02)
        # The horizon may lie beyond everybody's time.
        curves.set_xlim(-0.02 * max(last, horizon), 1.02 * max(last, horizon))
        curves.set_xticks(ticks)
        curves.set_ylabel("share without the event")
        curves.tick_params(labelbottom=True)
        curves.set_xlabel("time, in the unit of the predictions (| censored)")
        curves.legend(loc="lower left")
        _draw_numbers(table, groups, ticks)
        return save_figure(figure, path)


def numbers_at_risk(time: np.ndarray, at: Sequence[float]) -> list[int]:
    """How many are still followed just before each time."""
    return [int((time >= t).sum()) for t in at]


def _draw_curve(axes: Axes, group: Followed, colour: str, line: object) -> None:
    times, curve = kaplan_meier(group.time, group.event)
    axes.step(
        np.r_[0.0, times], np.r_[1.0, curve], where="post", color=colour, ls=line, lw=1.8,
        label=group.label,
    )  # fmt: skip
    censored = np.unique(group.time[group.event != 1])
    axes.plot(
        censored, curve[np.searchsorted(times, censored)], color=colour, marker="|", ms=6, ls="none"
    )


def _draw_numbers(axes: Axes, groups: Sequence[Followed], ticks: Sequence[float]) -> None:
    axes.set_title("number at risk", fontsize=9, loc="left")
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_yticks(range(len(groups)), [group.label.partition(" (")[0] for group in groups])
    axes.grid(False)
    axes.tick_params(bottom=False, labelbottom=False, left=False)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    for row, group in enumerate(groups):
        for tick, number in zip(ticks, numbers_at_risk(group.time, ticks), strict=True):
            axes.text(
                tick, row, f"{number:,}", ha="center", va="center", fontsize=9,
                color=COLOURS[row % len(COLOURS)],
            )  # fmt: skip
