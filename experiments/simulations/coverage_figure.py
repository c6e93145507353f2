"""The figure of `experiments.simulations.coverage`."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.simulations.clustered import DESIGNS
from remedis_jax.report.figures import COLOURS, GREY, MARKERS, WIDTH, save_figure, styled

SHOWN = 50  # test sets whose intervals are drawn
METHODS = ("patients", "images", "patients and seeds")


def coverage_figure(path: Path, summary: pd.DataFrame, intervals: pd.DataFrame) -> Path:
    """Coverage of every method, and some of the intervals of one model's AUROC.

    Args:
        path: PNG to write.
        summary: From `coverage.summarise`.
        intervals: Rows of `coverage.simulate` of the design 'auroc'.

    Returns:
        `path`.
    """
    with styled():
        figure = Figure(figsize=(WIDTH, 9.4), layout="constrained")
        above, below = figure.subfigures(2, 1, height_ratios=(1.3, 1))
        _draw_coverage(above.subplots(), summary)
        columns = below.subplots(1, 2, sharex=True, sharey=True)
        for axes, method in zip(columns, METHODS[:2], strict=True):
            _draw_intervals(axes, intervals[intervals["method"] == method], method)
        below.supxlabel("AUROC (dashed: the truth)", fontsize=10)
        shown = min(SHOWN, intervals["number"].nunique())
        columns[0].set_ylabel(f"the first {shown} test sets, by AUROC")
        return save_figure(figure, path)


def _draw_coverage(axes, summary: pd.DataFrame) -> None:
    axes.axvspan(92, 98, color="#D0D0D0", alpha=0.6, lw=0)
    axes.axvline(95, color=GREY, lw=1.2, ls=(0, (4, 2)))
    place, ticks = 0.0, {}
    for design, rows in summary.groupby("design", sort=False):
        ticks[DESIGNS[design].title] = place - 0.25 * (len(rows) - 1)
        for row in rows.itertuples():
            kind = METHODS.index(row.method)
            share = 100 * row.coverage
            axes.errorbar(
                share, place, xerr=[[share - 100 * row.low], [100 * row.high - share]],
                color=COLOURS[kind], marker=MARKERS[kind], ms=6.5, capsize=3, lw=1.4,
            )  # fmt: skip
            axes.annotate(
                f"{share:.1f}%", (100 * row.low, place), (-6, 0), textcoords="offset points",
                ha="right", va="center", color=COLOURS[kind], fontsize=9.5,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5},
            )  # fmt: skip
            place -= 0.5
        place -= 0.45
    axes.set_yticks(list(ticks.values()), list(ticks))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    low = 100 * summary["low"].min()
    axes.set_xlim(min(80, low - 12), 100.5)
    counts = sorted({f"{n:,}" for n in summary["data_sets"]})
    axes.set_xlabel(
        f"share of {' or '.join(counts)} test sets whose 95% interval holds the truth, %\n"
        "(grey: 92% to 98%)"
    )
    handles = [
        Line2D([], [], color=COLOURS[kind], marker=MARKERS[kind], ms=6.5, ls="none")
        for kind in range(len(METHODS))
    ]
    axes.legend(handles, METHODS, title="resampled:", loc="lower left", fontsize=9.5)


def _draw_intervals(axes, rows: pd.DataFrame, method: str) -> None:
    rows = rows[rows["number"] < SHOWN].sort_values("value").reset_index(drop=True)
    axes.plot(rows["value"], rows.index, "o", ms=2.5, color=COLOURS[-1], zorder=3)
    axes.axvline(DESIGNS["auroc"].truth, color=GREY, lw=1.2, ls=(0, (4, 2)))
    for covers, colour, width in ((True, COLOURS[0], 1.4), (False, COLOURS[1], 2.2)):
        of = rows[rows["covers"] == covers]
        axes.hlines(of.index, of["low"], of["high"], color=colour, lw=width)
    missed = int((~rows["covers"]).sum())
    axes.set_title(f"{method} resampled: {missed} of {len(rows)} miss", fontsize=10)
    axes.grid(axis="y", visible=False)
    axes.set_yticks([])
