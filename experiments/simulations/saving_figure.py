"""The figure of `experiments.simulations.saving`: intervals around the planted saving, answers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from remedis_jax.evaluation.curves import NoCrossing
from remedis_jax.report.figures import COLOURS, GREY, WIDTH, save_figure, styled

ANSWERS = ("a number", NoCrossing.ALREADY_AT_ZERO.value, NoCrossing.NEVER_REACHED.value)
TITLES = {
    "planted": "planted: 4 times\nfewer labels",
    "noisy": "the same, noisy\nseeds",
    "never": "planted:\nnever reached",
    "zero": "planted: already\nat zero labels",
}


def draw(rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any], path: Path) -> Path:
    """Every interval of the planted saving, and how often each answer came out.

    Args:
        rows: From `saving.run`.
        summary: From `saving.summary_of`.
        path: PNG to write.

    Returns:
        `path`.
    """
    with styled():
        figure = Figure(figsize=(WIDTH, 7.6), layout="constrained")
        above, below = figure.subplots(2, height_ratios=(2.1, 1))
        planted = [row for row in rows if row["scenario"] == "planted"]
        _draw_intervals(above, planted, summary["planted"], summary["noisy"])
        _draw_answers(below, summary)
        return save_figure(figure, path)


def _draw_intervals(
    axes: Axes,
    rows: Sequence[Mapping[str, Any]],
    found: Mapping[str, Any],
    noisy: Mapping[str, Any],
) -> None:
    never, zero = NoCrossing.NEVER_REACHED, NoCrossing.ALREADY_AT_ZERO
    numbers = [row[name] for row in rows for name in ("low", "high") if _numeric(row[name])]
    # The two answers stand beyond the numbers, in the figure only.
    bottom, top = min([1.0, *numbers]) / 1.6, max([*numbers, found["truth"]]) * 1.6
    place = {never: bottom, zero: top}

    def height(answer: object) -> float:
        return answer if _numeric(answer) else place[NoCrossing(answer)]

    for index, row in enumerate(sorted(rows, key=lambda row: height(row["saving"]))):
        colour, width = (COLOURS[0], 1.0) if row["side"] == "holds" else (COLOURS[1], 1.8)
        axes.vlines(index, height(row["low"]), height(row["high"]), color=colour, lw=width)
        axes.plot(index, height(row["saving"]), ".", color=colour, ms=3.5)
        for name in ("low", "high"):
            if not _numeric(row[name]):
                axes.plot(index, height(row[name]), "x", color=colour, ms=5)
    axes.axhline(found["truth"], color="black", lw=1.2, ls=(0, (4, 2)))
    axes.set_yscale("log")
    ticks = [t for t in (1, 2, 4, 8, 16, 32, 64, 128) if bottom * 1.2 < t < top / 1.2]
    names = [f"{t}×" for t in ticks]
    for end in {row[name] for row in rows for name in ("low", "saving", "high")} & set(place):
        ticks.append(place[NoCrossing(end)])
        names.append(str(end).replace(" at ", "\nat "))
    axes.set_yticks(ticks, names)
    axes.minorticks_off()
    axes.grid(axis="x", visible=False)
    axes.set_ylabel("label saving, 95% interval")
    axes.set_xlabel(f"{len(rows)} simulations, by their estimate")
    missed = found["simulations"] - found["covered"]
    axes.set_title(
        f"{found['covered']} of {found['simulations']} intervals hold the planted saving of "
        f"{found['truth']:g} (dashed);\nthe {missed} that do not are orange and thicker. "
        f"With noisy seeds (not drawn): {noisy['covered']} of {noisy['simulations']}",
        fontsize=10,
        loc="left",
    )


def _draw_answers(axes: Axes, summary: Mapping[str, Any]) -> None:
    names = list(summary)[::-1]
    left = np.zeros(len(names))
    hatches = ("", "///", "...")
    for index, answer in enumerate(ANSWERS):
        counts = np.array([summary[name]["answers"][answer] for name in names])
        shares = counts / [summary[name]["simulations"] for name in names]
        axes.barh(
            range(len(names)),
            100 * shares,
            left=100 * left,
            color=(COLOURS[4], COLOURS[2], "#C8C8C8")[index],
            hatch=hatches[index],
            edgecolor="white",
            label=answer,
            height=0.6,
        )
        for row, (count, share) in enumerate(zip(counts, shares, strict=True)):
            if count:
                axes.text(
                    100 * (left[row] + share / 2),
                    row,
                    str(count),
                    ha="center",
                    va="center",
                    fontsize=9.5,
                    bbox={"boxstyle": "square,pad=0.15", "fc": "white", "ec": GREY, "lw": 0.5},
                )
        left += shares
    axes.set_yticks(range(len(names)), [TITLES[name] for name in names])
    axes.set_xlim(0, 101)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("answers of the simulations, % (counts in the bars)")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3, borderaxespad=0.2)


def _numeric(answer: object) -> bool:
    return isinstance(answer, float)
