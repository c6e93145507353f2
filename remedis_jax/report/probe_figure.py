"""The figure of probes: a metric over the number of labels, a line for each encoder."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from remedis_jax.report.figures import COLOURS, LINES, MARKERS, WIDTH, save_figure, styled


def probe_figure(
    path: str | os.PathLike,
    panels: Mapping[str, pd.DataFrame],
    encoders: Mapping[str, int],
    *,
    metric_name: str,
    x_label: str,
    percent: bool = False,
) -> Path:
    """One panel above the other, of equal scale, intervals as bars.

    Args:
        path: PNG to write; the SVG has its name.
        panels: Title -> columns encoder, amount (above 0), value, low, high; rows without a value
            are not drawn.
        encoders: Name -> its place in the order of colours.
        metric_name: For the axis.
        x_label: What the amount is.
        percent: Whether amounts are shares.

    Returns:
        `path`.
    """
    with styled():
        figure = Figure(figsize=(WIDTH, 1.0 + 3.1 * len(panels)), layout="constrained")
        every = figure.subplots(len(panels), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        handles = {}
        for axes, (title, curve) in zip(every, panels.items(), strict=True):
            axes.set_title(title, loc="left", fontsize=10.5)
            for encoder, place in encoders.items():
                rows = curve[curve["encoder"] == encoder].dropna(subset="value")
                rows = rows.sort_values("amount")
                # Side by side, since bars of encoders that are alike would lie on each other.
                x = rows["amount"] * 1.025 ** (2 * place - len(encoders) + 1)
                lengths = [rows["value"] - rows["low"], rows["high"] - rows["value"]]
                bars = axes.errorbar(
                    x, rows["value"], yerr=np.clip(lengths, 0, None),
                    color=COLOURS[place % len(COLOURS)], marker=MARKERS[place % len(MARKERS)],
                    ls=LINES[place % len(LINES)], ms=6, lw=1.6, capsize=2.5, elinewidth=1.2,
                )  # fmt: skip
                handles.setdefault(encoder, bars)
            axes.set_ylabel(metric_name)
            axes.set_xscale("log")
        amounts = sorted({amount for curve in panels.values() for amount in curve["amount"]})
        texts = [f"{100 * a:g}%" if percent else f"{a:g}" for a in amounts]
        every[-1].xaxis.set_major_locator(FixedLocator(amounts))
        every[-1].xaxis.set_minor_locator(NullLocator())
        every[-1].set_xticks(amounts, texts)
        every[-1].set_xlabel(x_label)
        figure.legend(
            handles.values(), handles.keys(), loc="outside lower left", ncols=1, handlelength=2.6
        )
        return save_figure(figure, path)
