"""The figure of a grid: the validation metric of every point, an arm a panel, the choice marked."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from remedis_jax.report.figures import COLOURS, save_figure, styled
from remedis_jax.sweeps.cells import axis_name, value_text

_PANEL = (0.62, 0.5)  # inches of a point of the grid
_MARGIN = (1.5, 1.3)


def grid_figure(
    path: str | os.PathLike,
    scores: Mapping[str, Mapping[tuple[Any, ...], float | None]],
    axes: Sequence[tuple[str, Sequence[Any]]],
    chosen: Mapping[str, tuple[Any, ...]],
    *,
    metric_name: str,
) -> Path:
    """Draws the grid, the same bytes for the same numbers.

    The first axis runs to the right; all combinations of the others are the rows. Colours say more
    than a glance can read, so every point has its number as well; a point without one is crossed.

    Args:
        path: PNG to write; the SVG has its name.
        scores: Arm -> values of the axes -> validation metric, None where there is none.
        axes: (dotted key, values) pairs.
        chosen: Arm -> values of the axes of the chosen point.
        metric_name: For the colour bar.

    Returns:
        `path`.
    """
    (first, columns), *others = axes
    rows = [()]
    for _, values in others:
        rows = [(*row, value) for row in rows for value in values]
    known = [v for arm in scores.values() for v in arm.values() if v is not None]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    width = max(len(columns) * _PANEL[0], 2.0) + _MARGIN[0]
    # Two panels stand side by side on a page of the usual width.
    across = max(1, min(len(scores), int(10 // width)))
    down = math.ceil(len(scores) / across)
    with styled():
        figure = Figure(
            figsize=(across * width + 1.0, down * (len(rows) * _PANEL[1] + _MARGIN[1])),
            layout="constrained",
        )
        panels = figure.subplots(down, across, squeeze=False).ravel()
        for panel in panels[len(scores) :]:
            panel.set_axis_off()
        for panel, (arm, values) in zip(panels, scores.items(), strict=False):
            table = np.array(
                [[_number(values.get((column, *row))) for column in columns] for row in rows]
            )
            image = panel.imshow(
                table, cmap="cividis", vmin=low, vmax=high, aspect="auto", origin="lower"
            )
            _write_numbers(panel, table, (low + high) / 2)
            place = chosen.get(arm)
            if place is not None:
                x, y = list(columns).index(place[0]), rows.index(tuple(place[1:]))
                panel.add_patch(
                    Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, ec=COLOURS[1], lw=3)
                )
            panel.grid(visible=False)
            panel.spines[:].set_visible(True)
            panel.set_title(arm)
            panel.set_xticks(
                range(len(columns)), [value_text(v) for v in columns], rotation=45, ha="right"
            )
            panel.set_yticks(
                range(len(rows)), [", ".join(value_text(v) for v in row) for row in rows]
            )
            panel.set_xlabel(axis_name(first))
            panel.set_ylabel(", ".join(axis_name(key) for key, _ in others))
        figure.colorbar(image, ax=panels.tolist(), label=f"{metric_name} (validation)")
        return save_figure(figure, path)


def _write_numbers(panel: Any, table: np.ndarray, middle: float) -> None:
    for (y, x), value in np.ndenumerate(table):
        missing = math.isnan(value)
        panel.text(
            x, y, "\N{MULTIPLICATION SIGN}" if missing else f"{value:.3f}",
            ha="center", va="center", fontsize=8,
            color="black" if missing or value > middle else "white",
        )  # fmt: skip


def _number(value: float | None) -> float:
    return math.nan if value is None else value
