"""The figure of reliability: predicted against observed, with the counts below."""

import dataclasses
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from remedis_jax.report.figures import COLOURS, GREY, LINES, MARKERS, WIDTH, save_figure, styled

_COLUMNS = 2  # panels side by side: three would be too small on a phone
AS_PREDICTED, SCALED = "as predicted", "after temperature scaling"


@dataclasses.dataclass(frozen=True, eq=False)
class ReliabilityPanel:
    """One test set.

    Attributes:
        title: Name of the set.
        curves: 'as predicted' and, where there is one, 'after temperature scaling' -> a table as
            from `evaluation.reliability.reliability_curve`.
    """

    title: str
    curves: dict[str, pd.DataFrame]


def reliability_figure(
    path: str | os.PathLike, panels: Sequence[ReliabilityPanel], *, predicted: str, observed: str
) -> Path:
    """Observed share over predicted probability, panels of test sets side by side.

    Args:
        path: PNG to write.
        panels: One or more.
        predicted: Name of the horizontal axis.
        observed: Name of the vertical one.

    Returns:
        `path`.
    """
    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    with styled():
        width = WIDTH if columns > 1 else 0.72 * WIDTH
        figure = Figure(figsize=(width, 0.5 + 4.4 * rows), layout="constrained")
        grid = figure.subplots(
            2 * rows, columns, squeeze=False, height_ratios=[3.2, 1.1] * rows, sharex=True
        )
        legend = {}
        for index in range(rows * columns):
            row, column = divmod(index, columns)
            curve, counts = grid[2 * row, column], grid[2 * row + 1, column]
            if index >= len(panels):
                curve.set_axis_off()
                counts.set_axis_off()
                continue
            legend |= _draw_curves(curve, panels[index])
            _draw_counts(counts, panels[index])
            counts.tick_params(labelbottom=True)
            counts.set_xlabel(predicted)
            if column == 0:
                curve.set_ylabel(observed)
                counts.set_ylabel("labels")
        figure.legend(
            legend.values(), legend.keys(), loc="outside lower center", ncols=2, handlelength=2.6
        )
        return save_figure(figure, path)


def _draw_curves(axes: Axes, panel: ReliabilityPanel) -> dict[str, object]:
    axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls=(0, (4, 2)))
    legend = {}
    for index, (name, curve) in enumerate(panel.curves.items()):
        colour = COLOURS[index]
        errors = np.stack(
            [(curve["observed"] - curve["low"]), (curve["high"] - curve["observed"])]
        ).clip(min=0)
        axes.errorbar(
            curve["predicted"], curve["observed"], yerr=errors, fmt="none", ecolor=colour,
            elinewidth=1.1, capsize=2, alpha=0.75,
        )  # fmt: skip
        (line,) = axes.plot(
            curve["predicted"], curve["observed"], color=colour, marker=MARKERS[index], ms=5,
            lw=1.6, ls=LINES[index],
        )  # fmt: skip
        legend[name] = line
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_title("\n".join(textwrap.wrap(panel.title, 34)), fontsize=10)
    return legend


def _draw_counts(axes: Axes, panel: ReliabilityPanel) -> None:
    for index, curve in enumerate(panel.curves.values()):
        axes.stairs(
            *_steps(curve), color=COLOURS[index], fill=index == 0, alpha=0.3 if index == 0 else 1.0,
            lw=1.6, ls=LINES[index],
        )  # fmt: skip
    axes.set_ylim(bottom=0)
    axes.grid(axis="x", visible=False)
    axes.locator_params(axis="y", nbins=3)


def _steps(curve: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Counts and edges of the bins, empty ones included."""
    edges = np.unique(np.r_[0.0, curve["from"], curve["to"], 1.0])
    counts = np.zeros(len(edges) - 1)
    counts[np.searchsorted(edges, curve["from"])] = curve["labels"]
    return counts, edges
