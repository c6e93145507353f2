"""The forest plot: one line per subgroup, with its interval and its counts."""

import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from remedis_jax.evaluation.bootstrap import Interval
from remedis_jax.evaluation.subgroups import Subgroup
from remedis_jax.report.figures import (
    COLOURS,
    GREY,
    LEGEND_CHARACTERS,
    MARKERS,
    WIDTH,
    save_figure,
    styled,
)

_STEP = 0.24  # between arms of a group, where a group has a height of 1


def forest_figure(
    path: str | os.PathLike,
    arms: Mapping[str, Sequence[Subgroup]],
    overall: Mapping[str, float],
    *,
    metric: str,
    metric_name: str,
    characteristic: str,
    unit: str = "images",
) -> Path:
    """The metric of every group with its interval; a line is the arm's value on all images.

    Args:
        path: PNG to write.
        arms: Arm -> the groups of one test set, the same for all arms.
        overall: Arm -> the value on all images; arms without one have no line.
        metric: Which of the groups' values is shown.
        metric_name: Of the axis.
        characteristic: What the groups are groups of.
        unit: 'images' or 'patients', whichever are counted.

    Returns:
        `path`.
    """
    first = next(iter(arms.values()))
    height = max(1.0, 0.6 + _STEP * len(arms))
    with styled():
        size = (WIDTH, 1.5 + 0.22 * len(arms) + 0.5 * height * len(first))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        for index, (arm, groups) in enumerate(arms.items()):
            colour = COLOURS[index % len(COLOURS)]
            if arm in overall:
                axes.axvline(overall[arm], color=colour, lw=1.1, ls=(0, (4, 2)), alpha=0.7)
            for place, group in enumerate(groups):
                value = group.values[metric]
                y = height * place + _STEP * (index - (len(arms) - 1) / 2)
                if not isinstance(value, Interval):
                    # In the middle of nothing: an axis coordinate, not a value.
                    axes.text(
                        0.5, y, "not defined", color=GREY, ha="center", va="center",
                        fontsize=9, transform=axes.get_yaxis_transform(),
                        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
                    )  # fmt: skip
                    continue
                ends = [[max(value.value - value.low, 0)], [max(value.high - value.value, 0)]]
                axes.errorbar(
                    value.value, y, xerr=ends, fmt=MARKERS[index % len(MARKERS)], color=colour,
                    ms=7, capsize=3.5, lw=1.8,
                )  # fmt: skip
        axes.set_yticks(
            height * np.arange(len(first)),
            [
                f"{textwrap.shorten(group.name, 26, placeholder='…')}\n"
                f"{group.images:,} {unit}, {_events(group)}"
                for group in first
            ],
        )
        axes.set_ylim(height * (len(first) - 0.45), -0.55 * height)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(f"{metric_name}, 95% interval (dashed: all {unit})")
        axes.set_title(textwrap.shorten(characteristic, 60, placeholder="…"), loc="left")
        handles = [
            axes.plot([], [], color=COLOURS[i % len(COLOURS)], marker=MARKERS[i % len(MARKERS)],
                      ms=7, lw=1.8)[0]
            for i in range(len(arms))
        ]  # fmt: skip
        if len(arms) > 1:
            names = [textwrap.fill(arm, LEGEND_CHARACTERS) for arm in arms]
            figure.legend(handles, names, loc="outside lower left", ncols=1)
        return save_figure(figure, path)


def _events(group: Subgroup) -> str:
    """Of several classes every one that is scored has so many."""
    count = f"{group.events:,} event{'s' * (group.events != 1)}"
    return f"≥ {count} a class" if len(group.scored) > 1 else count
