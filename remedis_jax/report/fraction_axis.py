"""The axis of the share of labels: zero stands by itself, then the share in log scale."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from remedis_jax.report.wording import percent


class FractionAxis:
    """Where a share of labels stands: zero by itself, then log10."""

    def __init__(self, fractions: np.ndarray):
        above = sorted(f for f in fractions if f > 0) or [1.0]
        self.fractions = sorted(fractions)
        span = math.log10(above[-1] / above[0]) or 1.0
        self.zero = math.log10(above[0]) - max(0.2 * span, 0.15)
        first = self.zero if 0 in self.fractions else math.log10(above[0])
        self.break_at = (self.zero + math.log10(above[0])) / 2
        self.width = (math.log10(above[-1]) - first) or 1.0
        self.limits = (first - 0.06 * self.width, math.log10(above[-1]) + 0.06 * self.width)

    def __call__(self, fractions: Sequence[float] | float) -> np.ndarray:
        fractions = np.asarray(fractions, np.float64)
        return np.where(
            fractions > 0, np.log10(np.where(fractions > 0, fractions, 1.0)), self.zero
        )

    def draw(self, axes: Axes, patients: pd.Series) -> None:
        names = [
            "0%\nzero-shot" if f == 0 else f"{percent(f)}\nn={patients[f]:,}"
            for f in self.fractions
        ]
        axes.set_xticks(self(self.fractions), names)
        axes.set_xlim(*self.limits)
        if 0 in self.fractions and len(self.fractions) > 1:
            # Two strokes on the axis say that the scale is interrupted here.
            axes.text(
                self.break_at,
                0,
                "//",
                transform=axes.get_xaxis_transform(),
                ha="center",
                va="center",
                fontsize=11,
                bbox={"boxstyle": "square,pad=0.05", "fc": "white", "ec": "none"},
            )


def drop_overlapping_ticks(figure: Figure, axes: Axes) -> None:
    """Blanks tick labels that would touch a neighbour; the first and the last one stay."""
    figure.draw_without_rendering()
    labels = axes.get_xticklabels()
    boxes = [label.get_window_extent() for label in labels]
    pad = 0.05 * figure.dpi  # inches to pixels
    right = boxes[0].x1 + pad
    for index in range(1, len(labels) - 1):
        if boxes[index].x0 < right or boxes[index].x1 + pad > boxes[-1].x0:
            labels[index].set_visible(False)
        else:
            right = boxes[index].x1 + pad
