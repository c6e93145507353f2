"""The figure of decision curves: net benefit over the threshold probability."""

import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from remedis_jax.report.figures import (
    COLOURS,
    GREY,
    LEGEND_CHARACTERS,
    LINES,
    WIDTH,
    save_figure,
    styled,
)

_AFTER, _DOTTED = "the same after temperature scaling", (0, (1, 1.5))
MOST_PANELS = 8  # four rows of two; the rest stands in the table


def decision_figure(
    path: str | os.PathLike,
    curves: Mapping[str, pd.DataFrame],
    scaled: Mapping[str, pd.DataFrame],
    panels: Sequence[str],
) -> Path:
    """Net benefit of every arm, of treating all and of treating none, a panel per class.

    Args:
        path: PNG to write.
        curves: Arm -> table as from `evaluation.decision_curve.decision_curves`.
        scaled: The same after temperature scaling, of some of them; drawn dotted, without a band.
        panels: The classes, as they stand in the tables; [''] of two classes.

    Returns:
        `path`.
    """
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    with styled():
        height = 4.3 if columns == 1 else 0.7 + 2.9 * rows
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        legend: dict[str, object] = {}
        for index, axes in enumerate(grid.ravel()):
            if index >= len(panels):
                axes.set_axis_off()
                continue
            legend |= _draw_panel(axes, curves, scaled, panels[index])
            if index % columns == 0:
                axes.set_ylabel("net benefit")
            if index >= len(panels) - columns:
                axes.set_xlabel("threshold probability")
        names = [textwrap.fill(name, LEGEND_CHARACTERS) for name in legend]
        short = max(map(len, names)) < LEGEND_CHARACTERS // 2
        figure.legend(legend.values(), names, loc="outside lower left", ncols=2 if short else 1,
            handlelength=2.6,)
        return save_figure(figure, path)


def _draw_panel(
    axes: Axes,
    curves: Mapping[str, pd.DataFrame],
    scaled: Mapping[str, pd.DataFrame],
    panel: str,
) -> dict[str, object]:
    legend: dict[str, object] = {}
    top, bottom = 0.0, 0.0
    for index, (arm, table) in enumerate(curves.items()):
        rows = table[table["class"] == panel]
        if rows.empty:
            continue
        if "treat all" not in legend:
            (legend["treat all"],) = axes.plot(
                rows["threshold"], rows["treat_all"], color=GREY, lw=1.4, ls=(0, (4, 2))
            )
            legend["treat none"] = axes.axhline(0, color="black", lw=1.0)
            first = rows.iloc[0]
            title = f"{panel}: " if panel else ""
            axes.set_title(
                textwrap.fill(f"{title}{first['events']:,} events of {first['images']:,}", 44),
                fontsize=10,
            )
        colour = COLOURS[index % len(COLOURS)]
        axes.fill_between(
            rows["threshold"], rows["low"], rows["high"], color=colour, lw=0,
            alpha=0.2 if len(curves) == 1 else 0.1,
        )
        (legend[arm],) = axes.plot(
            rows["threshold"], rows["net_benefit"], color=colour, lw=1.8,
            ls=LINES[index % len(LINES)],
        )  # fmt: skip
        top = max(top, rows["treat_all"].max(), rows["net_benefit"].max(), rows["high"].max())
        bottom = min(bottom, rows["net_benefit"].min())
        after = scaled.get(arm)
        if after is not None:
            after = after[after["class"] == panel]
            axes.plot(
                after["threshold"], after["net_benefit"], color=colour, lw=1.4, ls=_DOTTED
            )
            # One line for all arms, which it has the colours of.
            legend[_AFTER] = Line2D([], [], color=GREY, lw=1.4, ls=_DOTTED)
    # Treating all falls without end, and would squeeze everything else.
    top = top if np.isfinite(top) and top > 0 else 0.01
    axes.set_ylim(max(bottom, -0.5 * top) - 0.05 * top, 1.08 * top)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    # The legend's order is that of reading: the models first.
    references = [name for name in (_AFTER, "treat all", "treat none") if name in legend]
    return {name: legend[name] for name in legend if name not in references} | {
        name: legend[name] for name in references
    }
