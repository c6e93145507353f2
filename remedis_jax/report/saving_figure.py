"""The figure of the relative data saving: times fewer labels, per task and arm."""

import dataclasses
import math
import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import blended_transform_factory

from remedis_jax.evaluation.curves import NoCrossing
from remedis_jax.evaluation.label_saving import LabelSaving
from remedis_jax.evaluation.non_inferiority import Answer
from remedis_jax.evaluation.not_defined import NotDefined
from remedis_jax.report.figures import (
    COLOURS,
    GREY,
    LEGEND_CHARACTERS,
    MARKERS,
    WIDTH,
    save_figure,
    styled,
)
from remedis_jax.report.fraction_axis import drop_overlapping_ticks
from remedis_jax.report.saving_section import TIMES, fold_text

TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
ROW = 0.32  # inches
TASK_CHARACTERS = 22


@dataclasses.dataclass(frozen=True)
class SavingRow:
    """One interval of the figure.

    Attributes:
        task: Rows of one task stand together.
        arm: Key of the figure's labels.
        saving: What the arm saves there.
    """

    task: str
    arm: str
    saving: LabelSaving


def saving_figure(
    path: str | os.PathLike, rows: Sequence[SavingRow], labels: Mapping[str, str]
) -> Path:
    """Times fewer labels in log scale, one interval per task and arm.

    In the manner of REMEDIS (Azizi et al. 2023). "never reached" and "already at zero labels" have
    places of their own beyond both ends of the scale; they have no number and no distance.

    Args:
        path: PNG to write.
        rows: One or more, tasks together.
        labels: Arm -> name in the legend; its order is that of colours and markers.

    Returns:
        `path`.
    """
    tasks = list(dict.fromkeys(row.task for row in rows))
    places, y = [], 0.0
    for task in tasks:
        of_task = [row for row in rows if row.task == task]
        places += [y + index for index in range(len(of_task))]
        y += len(of_task) + 0.6
    shown = [arm for arm in labels if any(row.arm == arm for row in rows)]
    height = 1.65 + ROW * y + 0.2 * len(shown)
    with styled():
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = figure.subplots()
        scale = _Scale([row.saving for row in rows])
        scale.draw(axes)
        ordered = [row for task in tasks for row in rows if row.task == task]
        for place, row in zip(places, ordered, strict=True):
            _draw_row(axes, scale, row, place, list(labels).index(row.arm))
        middles = [
            sum(p for p, row in zip(places, ordered, strict=True) if row.task == task)
            / sum(row.task == task for row in rows)
            for task in tasks
        ]
        axes.set_yticks(middles, [textwrap.fill(task, TASK_CHARACTERS) for task in tasks])
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
        axes.set_ylim(max(places) + 0.7, -0.7)
        axes.set_xlabel("times fewer labels of the new site than the baseline (log scale)")
        handles = [_handle(list(labels).index(arm)) for arm in shown]
        names = [textwrap.fill(labels[arm], LEGEND_CHARACTERS) for arm in shown]
        handles.append(Line2D([], [], color=GREY, marker="|", ms=11, mew=2, ls="none"))
        names.append("not inferior within the margin (measured shares only)")
        figure.legend(handles, names, loc="outside lower left", ncols=1)
        drop_overlapping_ticks(figure, axes)
        return save_figure(figure, path)


class _Scale:
    """Where an answer stands: log10 of the saving, and the two words beyond its ends."""

    def __init__(self, savings: Sequence[LabelSaving]):
        self.largest = max((s.largest for s in savings if s.largest is not None), default=1.0)
        numbers = [1.0, self.largest]
        for saving in savings:
            amount = saving.saving
            if not isinstance(amount, NotDefined):
                ends = (amount.value, amount.low, amount.high)
                numbers += [end for end in ends if isinstance(end, float)]
        low = math.log10(min(numbers))
        high = math.log10(self.largest)
        self.low, self.high = low, max(high, low + 0.3)
        span = self.high - self.low
        self.beyond = self.high + 0.09 * span if max(numbers) > self.largest else self.high
        self.never, self.zero = self.low - 0.15 * span, self.beyond + 0.15 * span
        self.edges = (self.low - 0.06 * span, self.beyond + 0.06 * span)
        self.limits = (self.never - 0.09 * span, self.zero + 0.09 * span)

    def __call__(self, answer: Answer, largest: float | None) -> float:
        if isinstance(answer, NoCrossing):
            return self.never if answer is NoCrossing.NEVER_REACHED else self.zero
        if largest is not None and answer > largest:
            # Between this arm's largest value that can be told and the next place to the right.
            return self.beyond if largest == self.largest else math.log10(largest) + 0.03
        return math.log10(answer)

    def draw(self, axes: Axes) -> None:
        for left, right in ((self.limits[0], self.edges[0]), (self.edges[1], self.limits[1])):
            axes.axvspan(left, right, color="#F0F0F0", lw=0, zorder=0)
        for place, name in ((self.never, "never\nreached"), (self.zero, "already at\nzero labels")):
            axes.text(
                place, 1.0, name, transform=axes.get_xaxis_transform(), ha="center", va="bottom",
                fontsize=9,
            )  # fmt: skip
        ticks = [t for t in TICKS if self.low - 1e-9 <= math.log10(t) <= self.high + 1e-9]
        places = {math.log10(t): f"{t}{TIMES}" for t in ticks}
        if self.beyond > self.high:
            places[self.beyond] = f">{fold_text(self.largest)}"
        axes.set_xticks(list(places), list(places.values()))
        axes.set_xlim(*self.limits)
        if self.low <= 0 <= self.high:
            axes.axvline(0, color=GREY, lw=1, ls=(0, (4, 2)), zorder=1)


def _draw_row(axes: Axes, scale: _Scale, row: SavingRow, y: float, index: int) -> None:
    colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
    saving, amount = row.saving, row.saving.saving
    beside = blended_transform_factory(axes.transAxes, axes.transData)
    if isinstance(amount, NotDefined):
        text = "not defined"
    else:
        low, value, high = (
            scale(answer, saving.largest) for answer in (amount.low, amount.value, amount.high)
        )
        axes.plot([low, high], [y, y], color=colour, lw=2, solid_capstyle="butt", zorder=3)
        for end, answer in ((low, amount.low), (high, amount.high)):
            if isinstance(answer, NoCrossing):
                cap = "<" if answer is NoCrossing.NEVER_REACHED else ">"
            elif saving.largest is not None and answer > saving.largest:
                cap = ">"
            else:
                cap = "|"
            if end != value:
                axes.plot(end, y, marker=cap, color=colour, ms=7, mew=1.6, zorder=3)
        axes.plot(value, y, marker=marker, color=colour, ms=7.5, mec="white", mew=0.8, zorder=4)
        text = _short(amount.value, amount.low, amount.high, saving)
    other = saving.non_inferior_saving
    if not isinstance(other, NotDefined):
        x = scale(other, None)
        axes.plot(x, y + 0.3, marker="|", color=colour, ms=7, mew=2, zorder=3)
    axes.text(1.015, y, text, transform=beside, va="center", ha="left", color=colour, fontsize=9)


def _short(value: Answer, low: Answer, high: Answer, saving: LabelSaving) -> str:
    """The numbers beside the row, on two lines where words are among them."""
    texts = [fold_text(answer, saving.largest) for answer in (value, low, high)]
    texts = [text.replace("more than ", ">").replace(" labels", "") for text in texts]
    first = ("≥" if saving.at_most else "") + texts[0]
    if len(set(texts)) == 1:
        return first
    words = any(isinstance(answer, NoCrossing) for answer in (value, low, high))
    return f"{first}{chr(10) if words else ' '}({texts[1]} to {texts[2]})"


def _handle(index: int) -> Line2D:
    colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
    return Line2D([], [], color=colour, marker=marker, ms=7.5, lw=2, mec="white", mew=0.8)
