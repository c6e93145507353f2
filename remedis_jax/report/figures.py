"""The figures, as PNG and SVG files that are the same bytes for the same numbers.

Colours are those of Okabe and Ito (2008), told apart by colour-blind readers; every series differs
by marker or line style as well. Figures have a white ground of their own, so that they read the
same on a dark page and in print.
"""

import contextlib
import contextvars
import dataclasses
import os
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from remedis_jax.evaluation.bootstrap import Interval
from remedis_jax.evaluation.curves import LabelsToMatch, NoCrossing
from remedis_jax.evaluation.metrics import AT_THRESHOLD, LOWER_IS_BETTER, NAMES
from remedis_jax.report.fraction_axis import FractionAxis, drop_overlapping_ticks
from remedis_jax.report.wording import MINUS, metric_name, share_range, share_text

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", (0, (5, 1.5)), (0, (3, 1, 1, 1)), (0, (1, 1)))
GREY = "#7A7A7A"
DPI = 180
WIDTH = 7.5  # inches: 1350 pixels, so that 10 points are 17 pixels where the page shows 900
LEGEND_CHARACTERS = 80  # what a line of the width holds
_STYLE = {
    "figure.dpi": DPI,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "figure.constrained_layout.w_pad": 0.12,
    "figure.constrained_layout.h_pad": 0.06,
    # Text stays text: it can be searched, read aloud, and edited as journals ask for. Where the
    # reader lacks the font, the one that takes its place is narrower, so nothing runs together.
    "svg.fonttype": "none",
    "svg.hashsalt": "remedis",
}


@dataclasses.dataclass(frozen=True, eq=False)
class RocCurve:
    """One line of `roc_figure`.

    Attributes:
        label: As it stands in the legend.
        y: [N], 0 or 1, both present.
        score: float64 [N].
    """

    label: str
    y: np.ndarray
    score: np.ndarray


def label_fraction_figure(
    path: str | os.PathLike,
    curve: pd.DataFrame,
    labels: Mapping[str, str],
    *,
    metric_name: str,
    site: str,
    baseline: Interval | None = None,
    baseline_label: str = "",
    crossing: LabelsToMatch | None = None,
    crossing_arm: str = "",
) -> Path:
    """The metric over the share of the new hospital's labels, one line and band per arm.

    In the manner of REMEDIS (Azizi et al. 2023): zero-shot stands by itself on the left, then the
    share in log scale; the grey band is the baseline with all labels, and the share with which
    the other arm matches it is marked.

    Args:
        path: PNG to write.
        curve: From `evaluation.curves.curve_of`; points without a value are not drawn.
        labels: Arm -> name in the legend; its order is the order of colours.
        metric_name: For the axis.
        site: Name of the new hospital, for the axis.
        baseline: Mean and interval of the band; None for no band.
        baseline_label: Its name in the legend.
        crossing: What to mark; None for nothing.
        crossing_arm: Whose crossing it is.

    Returns:
        `path`.
    """
    curve = curve.dropna(subset="mean")
    place = FractionAxis(curve["fraction"].unique())
    with styled():
        figure = Figure(figsize=(WIDTH, 5.0), layout="constrained")
        axes = figure.subplots()
        legend = []
        if baseline is not None:
            band = axes.axhspan(baseline.low, baseline.high, color="#D0D0D0", alpha=0.6, lw=0)
            line = axes.axhline(baseline.value, color=GREY, lw=1.2, ls=(0, (4, 2)))
            legend.append(((band, line), baseline_label))
        for index, (arm, label) in enumerate(labels.items()):
            rows = curve[curve["arm"] == arm].sort_values("fraction")
            if not rows.empty:
                shift = place.width * 0.007 * (2 * index - len(labels) + 1)
                handle = _draw_arm(axes, rows, place(rows["fraction"]), shift, index)
                legend.append((handle, label))
        place.draw(axes, curve.groupby("fraction")["n_patients"].max())
        axes.set_xlabel(f"share of the training labels of {site} (n = labelled patients)")
        axes.set_ylabel(metric_name)
        if crossing is not None:
            colour = COLOURS[list(labels).index(crossing_arm) % len(COLOURS)]
            _draw_crossing(axes, crossing, place, colour, baseline)
        handles, names = zip(*legend, strict=True) if legend else ((), ())
        names = [textwrap.fill(name, LEGEND_CHARACTERS) for name in names]
        figure.legend(handles, names, loc="outside lower left", ncols=1, handlelength=2.6)
        drop_overlapping_ticks(figure, axes)
        return save_figure(figure, path)


def id_ood_figure(
    path: str | os.PathLike,
    points: pd.DataFrame,
    labels: Mapping[str, str],
    *,
    metric_name: str,
) -> Path:
    """One point with its interval per arm and setting, settings side by side.

    Args:
        path: PNG to write.
        points: Columns arm, setting, value, low, high; settings in the order of first appearance.
        labels: Arm -> name in the legend.
        metric_name: For the axis.

    Returns:
        `path`.
    """
    settings = list(dict.fromkeys(points["setting"]))
    with styled():
        figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
        axes = figure.subplots()
        step = min(0.22, 0.66 / len(labels))
        for index, (arm, label) in enumerate(labels.items()):
            rows = points[points["arm"] == arm]
            x = np.array([settings.index(setting) for setting in rows["setting"]], np.float64)
            x += step * (index - (len(labels) - 1) / 2)
            colour = COLOURS[index % len(COLOURS)]
            axes.errorbar(
                x,
                rows["value"],
                yerr=_errors(rows, "value"),
                fmt=MARKERS[index % len(MARKERS)],
                color=colour,
                ms=7,
                capsize=4,
                lw=1.8,
                label=textwrap.fill(label, LEGEND_CHARACTERS),
            )
            for position, value in zip(x, rows["value"], strict=True):
                axes.annotate(
                    f"{value:.3f}",
                    (position, value),
                    xytext=(7, 0),
                    textcoords="offset points",
                    va="center",
                    color=colour,
                    fontsize=9,
                )
        axes.set_xticks(range(len(settings)), settings)
        axes.set_xlim(-0.5, len(settings) - 0.5)
        axes.grid(axis="x", visible=False)
        axes.set_ylabel(metric_name)
        figure.legend(loc="outside lower left", ncols=1)
        return save_figure(figure, path)


def training_curve_figure(
    path: str | os.PathLike, history: pd.DataFrame, horizon: float | None = None
) -> Path:
    """Loss, learning rate and, where they are, contrastive accuracy, spread, validation scores.

    Args:
        path: PNG to write.
        history: Lines of `metrics.jsonl`: `step` and numbers; steps may repeat, numbers be blank
            or not finite (these are not drawn).
        horizon: Of survival, when the risk is judged.

    Returns:
        `path`.
    """
    panels = [("loss", {"loss": _finite(history, "loss")})]
    if "learning_rate" in history:
        panels.append(("learning rate", {"learning rate": _finite(history, "learning_rate")}))
    if "contrastive_accuracy" in history:
        name = "contrastive accuracy"
        panels.append((name, {name: _finite(history, "contrastive_accuracy")}))
    spread = {"feature_std": "encoder", "embedding_std": "head"}
    if set(spread) <= set(history):
        lines = {label: _finite(history, name) for name, label in spread.items()}
        panels.append(("spread", lines))
    scores = {
        metric_name(metric, horizon): _finite(history, f"validation_{metric}")
        for metric in NAMES
        if f"validation_{metric}" in history and metric not in LOWER_IS_BETTER + AT_THRESHOLD
    }
    if scores:
        panels.append(("validation score", scores))
    return _panels_over_steps(path, panels)


def monitor_figure(path: str | os.PathLike, history: pd.DataFrame) -> Path:
    """What `evaluation.monitor` measured: neighbours and probe, rank, alignment, uniformity.

    Args:
        path: PNG to write.
        history: Lines of `metrics.jsonl` with columns `monitor_*`; the scores are those of labels
            and need not be there.

    Returns:
        `path`.
    """
    lines = {
        name.removeprefix("monitor_"): _finite(history, name)
        for name in history
        if name.startswith("monitor_")
    }
    panels = [
        (title, {title: lines[name]})
        for title, name in (
            ("effective rank", "rankme"),
            ("alignment", "alignment"),
            ("uniformity", "uniformity"),
        )
    ]
    if "knn_balanced_accuracy" in lines:
        scores = {
            "k-NN": lines["knn_balanced_accuracy"],
            "linear probe": lines["probe_balanced_accuracy"],
        }
        panels.insert(0, ("balanced accuracy", scores))
    return _panels_over_steps(path, panels)


def similarity_figure(path: str | os.PathLike, rows: Sequence[Mapping]) -> Path:
    """Histograms of cosine similarity at the first and the last measurement.

    Args:
        path: PNG to write.
        rows: From `evaluation.histograms.read_histograms`, at least one, by step.

    Returns:
        `path`.
    """
    shown = rows[:1] if len(rows) == 1 else [rows[0], rows[-1]]
    with styled():
        figure = Figure(figsize=(WIDTH, 0.8 + 1.9 * len(shown)), layout="constrained")
        for axes, row in zip(
            figure.subplots(len(shown), sharex=True, squeeze=False)[:, 0], shown, strict=True
        ):
            for index, (name, label) in enumerate(
                (("negative", "views of two images"), ("positive", "two views of one image"))
            ):
                counts = np.array(row[name], np.float64)
                axes.stairs(
                    counts / counts.sum(), row["edges"], color=COLOURS[index], label=label,
                    lw=1.8, fill=False, ls=LINES[index],
                )  # fmt: skip
            axes.set_ylabel(f"share at step {row['step']:,}")
        axes.set_xlabel("cosine similarity of encoder features")
        occupied = [
            edge
            for row in shown
            for edge, *counts in zip(
                row["edges"][:-1], row["negative"], row["positive"], strict=True
            )
            if sum(counts)
        ]
        axes.set_xlim(min(occupied) - 0.05, 1.02)
        handles, names = axes.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower left", ncols=2)
        return save_figure(figure, path)


def _panels_over_steps(
    path: str | os.PathLike, panels: Sequence[tuple[str, Mapping[str, pd.Series]]]
) -> Path:
    """One panel below the other; lines of 100 steps and more are drawn with their running mean."""
    with styled():
        figure = Figure(figsize=(WIDTH, 0.6 + 1.9 * len(panels)), layout="constrained")
        rows = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
        for axes, (title, lines) in zip(rows, panels, strict=True):
            axes.set_ylabel(title)
            for index, (label, line) in enumerate(lines.items()):
                colour = COLOURS[index]
                if len(line) >= 100 and title != "learning rate":
                    window = len(line) // 25
                    axes.plot(line.index, line, color=colour, lw=0.8, alpha=0.35)
                    line = line.rolling(window, center=True, min_periods=1).mean()
                    label = f"mean of {window} lines" if label == title else label
                marker = MARKERS[index] if len(line) < 30 else None
                axes.plot(line.index, line, color=colour, marker=marker, ms=4, lw=1.8, label=label)
            if axes.get_legend_handles_labels()[1] != [title]:
                axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=9)
        rows[-1].set_xlabel("step")
        return save_figure(figure, path)


def roc_figure(path: str | os.PathLike, curves: Sequence[RocCurve]) -> Path:
    """Receiver operating characteristics, the chance diagonal in grey.

    Args:
        path: PNG to write.
        curves: One or more.

    Returns:
        `path`.
    """
    from sklearn.metrics import roc_curve

    with styled():
        figure = Figure(figsize=(WIDTH, 4.4 + 0.19 * len(curves)), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls=(0, (4, 2)))
        for index, curve in enumerate(curves):
            false_positives, sensitivity, _ = roc_curve(curve.y, curve.score)
            axes.plot(
                false_positives,
                sensitivity,
                color=COLOURS[index % len(COLOURS)],
                ls=LINES[index % len(LINES)],
                lw=1.8,
                label=textwrap.fill(curve.label, LEGEND_CHARACTERS),
            )
        axes.set_aspect("equal")
        axes.set_xlim(-0.01, 1.01)
        axes.set_ylim(-0.01, 1.01)
        axes.set_xlabel(f"1 {MINUS} specificity")
        axes.set_ylabel("sensitivity")
        figure.legend(loc="outside lower center", ncols=1)
        return save_figure(figure, path)


def _draw_arm(
    axes: Axes, rows: pd.DataFrame, x: np.ndarray, shift: float, index: int
) -> tuple[Artist, ...]:
    """Draws one arm; returns what stands for it in the legend."""
    colour = COLOURS[index % len(COLOURS)]
    above = (rows["fraction"] > 0).to_numpy()
    if above.sum() > 1:
        axes.fill_between(
            x[above], rows["low"][above], rows["high"][above], color=colour, alpha=0.15, lw=0
        )
    marker = MARKERS[index % len(MARKERS)]
    axes.errorbar(
        x + shift,
        rows["mean"],
        yerr=_errors(rows, "mean"),
        fmt="none",
        ecolor=colour,
        capsize=2.5,
        elinewidth=1.2,
    )
    (points,) = axes.plot(x + shift, rows["mean"], color=colour, marker=marker, ms=6, ls="none")
    (line,) = axes.plot((x + shift)[above], rows["mean"][above], color=colour, lw=1.8)
    if not above.all() and above.any():
        # Across the interruption of the axis there is no scale, so no solid line either.
        axes.plot((x + shift)[:2], rows["mean"][:2], color=colour, lw=1.4, ls=(0, (2, 2)))
    return line, points


def _draw_crossing(
    axes: Axes,
    crossing: LabelsToMatch,
    place: FractionAxis,
    colour: str,
    baseline: Interval | None,
) -> None:
    if crossing.value is NoCrossing.NEVER_REACHED:
        x, text = place.limits[1], "the baseline is not reached at any measured share"
    elif crossing.value is NoCrossing.ALREADY_AT_ZERO:
        x, text = place.zero, "matches the baseline without labels of this site"
    else:
        x = float(place(crossing.value))
        text = f"matches the baseline with {share_text(crossing.value)} of the labels"
    text += f"\n95% interval: {share_range(crossing)}"
    if crossing.value is not NoCrossing.NEVER_REACHED:
        bottom, top = axes.get_ylim()
        axes.vlines(x, baseline.value if baseline else bottom, top, color=colour, lw=1.2, ls=":")
        axes.set_ylim(bottom, top)
    low, high = place.limits
    position = (x - low) / (high - low)
    side = "left" if position < 0.3 else "right" if position > 0.7 else "center"
    axes.annotate(
        text,
        (0.0 if side == "left" else 1.0 if side == "right" else position, 1.0),
        xycoords="axes fraction",
        xytext=(0, 5),
        textcoords="offset points",
        ha=side,
        va="bottom",
        color=colour,
        fontsize=9.5,
    )


def _errors(rows: pd.DataFrame, centre: str) -> np.ndarray:
    """Lengths of error bars; a percentile interval need not hold its value, hence the clip."""
    return np.stack(
        [(rows[centre] - rows["low"]).clip(lower=0), (rows["high"] - rows[centre]).clip(lower=0)]
    )


def _finite(history: pd.DataFrame, column: str) -> pd.Series:
    line = history.set_index("step")[column].astype(np.float64)
    return line[np.isfinite(line)]


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """The default style with ours on top, whatever the user's matplotlibrc says."""
    with style.context(["default", _STYLE]):
        yield


_stamp: contextvars.ContextVar[str] = contextvars.ContextVar("stamp", default="")


@contextlib.contextmanager
def stamped(text: str) -> Iterator[None]:
    """Figures that are drawn inside bear a red line at the top; none for "".

    A figure leaves its page for slides, and has to say by itself that its data leaked.
    """
    token = _stamp.set(text)
    try:
        yield
    finally:
        _stamp.reset(token)


def save_figure(figure: Figure, path: str | os.PathLike) -> Path:
    """Writes a PNG and, beside it, an SVG under their stamp; the same bytes for the same figure.

    Args:
        figure: Drawn within `styled`.
        path: PNG to write; the SVG has its name.

    Returns:
        `path`.
    """
    if _stamp.get():
        figure.suptitle(_stamp.get(), color="#B3261E", fontsize=13, fontweight="bold")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Neither the library's version nor a date is part of the figure; PNG has no date of its own.
    figure.savefig(path, dpi="figure", metadata={"Software": None}, facecolor="white")
    # As it was laid out for the PNG: both show the same picture, and once is quicker than twice.
    figure.set_layout_engine("none")
    figure.savefig(
        path.with_suffix(".svg"),
        dpi="figure",
        metadata={"Date": None, "Creator": None},
        facecolor="white",
    )
    return path
