"""Figures over several tasks: one small panel per task, in the style of the single ones."""

import dataclasses
import os
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from remedis_jax.evaluation.bootstrap import Interval
from remedis_jax.report.figures import (
    COLOURS,
    GREY,
    LEGEND_CHARACTERS,
    MARKERS,
    WIDTH,
    save_figure,
    styled,
)
from remedis_jax.report.fraction_axis import FractionAxis
from remedis_jax.report.wording import percent

COLUMNS, PANEL_HEIGHT, TITLE_CHARACTERS = 2, 2.7, 40
TICK_ROOM = 0.14  # of the axis's width, for "100%" at this size of panel


@dataclasses.dataclass(frozen=True, eq=False)
class TaskPanel:
    """One task of the figures.

    Attributes:
        title: Its name.
        metric_name: For the axis.
        curve: From `evaluation.curves.curve_of`.
        settings: Columns arm, setting, value, low, high, as `figures.id_ood_figure` takes them.
        baseline: Mean and interval of the baseline with all labels; None for no band.
    """

    title: str
    metric_name: str
    curve: pd.DataFrame
    settings: pd.DataFrame
    baseline: Interval | None


def curves_figure(
    path: str | os.PathLike, panels: Sequence[TaskPanel], labels: Mapping[str, str]
) -> Path:
    """The metric over the share of the new hospital's labels, a panel per task.

    Args:
        path: PNG to write.
        panels: One or more.
        labels: Arm -> name in the legend; its order is that of colours and markers.

    Returns:
        `path`.
    """

    def draw(axes: Axes, panel: TaskPanel) -> None:
        curve = panel.curve.dropna(subset="mean")
        if curve.empty:
            _say_nothing(axes)
            return
        if panel.baseline is not None:
            axes.axhspan(panel.baseline.low, panel.baseline.high, color="#D0D0D0", alpha=0.6, lw=0)
            axes.axhline(panel.baseline.value, color=GREY, lw=1.2, ls=(0, (4, 2)))
        place = FractionAxis(curve["fraction"].unique())
        for index, arm in enumerate(labels):
            rows = curve[curve["arm"] == arm].sort_values("fraction")
            if not rows.empty:
                shift = place.width * 0.008 * (2 * index - len(labels) + 1)
                _draw_curve(axes, rows, place(rows["fraction"]) + shift, index)
        place.draw(axes, curve.groupby("fraction")["n_patients"].max())
        axes.set_xticks(place(place.fractions), _tick_names(place))

    band = (Patch(color="#D0D0D0", alpha=0.6), Line2D([], [], color=GREY, ls=(0, (4, 2))))
    return _panels(
        path,
        panels,
        labels,
        draw,
        [(band, "baseline with all labels of the new site, 95% interval")],
        "share of the new site's labels (0: zero-shot)",
    )


def settings_figure(
    path: str | os.PathLike, panels: Sequence[TaskPanel], labels: Mapping[str, str]
) -> Path:
    """In distribution and zero-shot, an interval per arm and a panel per task.

    Arguments as `curves_figure`.
    """

    def draw(axes: Axes, panel: TaskPanel) -> None:
        if panel.settings.empty:
            _say_nothing(axes)
            return
        settings = list(dict.fromkeys(panel.settings["setting"]))
        step = min(0.24, 0.72 / len(labels))
        for index, arm in enumerate(labels):
            rows = panel.settings[panel.settings["arm"] == arm]
            x = np.array([settings.index(setting) for setting in rows["setting"]], np.float64)
            x += step * (index - (len(labels) - 1) / 2)
            _draw_points(axes, rows.rename(columns={"value": "mean"}), x, index)
            for position, value, top in zip(x, rows["value"], rows["high"], strict=True):
                axes.annotate(
                    f"{value:.2f}", (position, max(value, top)), xytext=(0, 3), ha="center",
                    textcoords="offset points", color=COLOURS[index % len(COLOURS)], fontsize=8,
                )  # fmt: skip
        axes.set_xticks(range(len(settings)), settings)
        axes.set_xlim(-0.6, len(settings) - 0.4)
        axes.margins(y=0.15)
        axes.grid(axis="x", visible=False)

    return _panels(path, panels, labels, draw, [], "")


def _panels(
    path: str | os.PathLike,
    panels: Sequence[TaskPanel],
    labels: Mapping[str, str],
    draw: Callable[[Axes, TaskPanel], None],
    legend: Sequence[tuple[object, str]],
    below: str,
) -> Path:
    columns = min(COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    with styled():
        figure = Figure(
            figsize=(WIDTH, PANEL_HEIGHT * lines + 0.3 + 0.22 * len(labels)), layout="constrained"
        )
        grid = figure.subplots(lines, columns, squeeze=False).ravel()
        for axes, panel in zip(grid, panels, strict=False):
            draw(axes, panel)
            axes.tick_params(labelsize=8.5)
            axes.set_ylabel(panel.metric_name, fontsize=9)
            axes.set_title(textwrap.fill(panel.title, TITLE_CHARACTERS), fontsize=10, loc="left")
        for axes in grid[max(0, len(panels) - columns) : len(panels)]:
            axes.set_xlabel(below, fontsize=9)
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        entries: list[tuple[object, str]] = [
            *legend,
            *((_handle(index), label) for index, label in enumerate(labels.values())),
        ]
        handles, names = zip(*entries, strict=True)
        names = [textwrap.fill(name, LEGEND_CHARACTERS) for name in names]
        figure.legend(handles, names, loc="outside lower left", ncols=1, handlelength=2.6)
        return save_figure(figure, path)


def _tick_names(place: FractionAxis) -> list[str]:
    """Names of the shares, "" where one would touch its neighbour to the right.

    By their places on the axis: to draw a figure of many panels only to measure text is slow.
    """
    names, right = [], float("inf")
    for fraction in reversed(place.fractions):
        x = float(place(fraction))
        # Zero has a place of its own, and is told by the reading of the axis to begin with.
        fits = right - x >= TICK_ROOM * place.width or fraction == 0
        names.append(("0" if fraction == 0 else percent(fraction)) if fits else "")
        right = x if fits else right
    return names[::-1]


def _draw_curve(axes: Axes, rows: pd.DataFrame, x: np.ndarray, index: int) -> None:
    colour = COLOURS[index % len(COLOURS)]
    above = (rows["fraction"] > 0).to_numpy()
    if above.sum() > 1:
        axes.fill_between(
            x[above], rows["low"][above], rows["high"][above], color=colour, alpha=0.15, lw=0
        )
    _draw_points(axes, rows, x, index)
    axes.plot(x[above], rows["mean"][above], color=colour, lw=1.5)
    if not above.all() and above.any():
        # Across the interruption of the axis there is no scale, so no solid line either.
        axes.plot(x[:2], rows["mean"][:2], color=colour, lw=1.2, ls=(0, (2, 2)))


def _draw_points(axes: Axes, rows: pd.DataFrame, x: np.ndarray, index: int) -> None:
    """Means with their intervals; a percentile interval need not hold its value, hence the clip."""
    axes.errorbar(
        x,
        rows["mean"],
        yerr=np.stack(
            [
                (rows["mean"] - rows["low"]).clip(lower=0),
                (rows["high"] - rows["mean"]).clip(lower=0),
            ]
        ),
        fmt=MARKERS[index % len(MARKERS)],
        color=COLOURS[index % len(COLOURS)],
        ms=4.5,
        capsize=2,
        elinewidth=1.1,
    )


def _say_nothing(axes: Axes) -> None:
    axes.text(0.5, 0.5, "not defined", transform=axes.transAxes, ha="center", color=GREY)
    axes.set_xticks([])
    axes.set_yticks([])


def _handle(index: int) -> Artist:
    colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
    return Line2D([], [], color=colour, marker=marker, ms=5.5, lw=1.5)
