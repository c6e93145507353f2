"""The map of features: PCA and t-SNE, coloured by label and by site."""

import os
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from remedis_jax.evaluation.embedding_map import EmbeddingMap
from remedis_jax.evaluation.not_defined import NotDefined
from remedis_jax.report.figures import COLOURS, GREY, MARKERS, WIDTH, save_figure, styled
from remedis_jax.report.wording import percent

OTHERS, BLANK = "others", "not known"
_NAME = 24  # characters of a name in a legend
_Series = list[tuple[str, np.ndarray, str, str]]


def embedding_figure(
    path: str | os.PathLike, places: EmbeddingMap, labels: np.ndarray, sites: np.ndarray
) -> Path:
    """Four panels: PCA above t-SNE, coloured by label on the left and by site on the right.

    Args:
        path: PNG to write.
        places: Of N images.
        labels: str [N]; "" where unknown.
        sites: str [N]; "" where unknown.

    Returns:
        `path`.
    """
    with styled():
        columns = [("label", series_of(labels)), ("site", series_of(sites))]
        below = 0.4 + 0.21 * max(len(series) for _, series in columns)
        figure = Figure(figsize=(WIDTH, 7.2 + below))
        height = 7.2 + below
        grid = figure.subplots(
            2, 2,
            gridspec_kw={
                "left": 0.075, "right": 0.985, "wspace": 0.13, "hspace": 0.2,
                "top": 1 - 0.35 / height, "bottom": (below + 0.3) / height,
            },
        )  # fmt: skip
        order = np.random.default_rng(0).permutation(len(labels))
        for column, (title, series) in enumerate(columns):
            for row, points in enumerate((places.pca, places.tsne)):
                axes = grid[row, column]
                _draw(axes, points, series, order)
                if row == 0:
                    axes.set_title(f"coloured by {title}", fontsize=11)
                    axes.set_xlabel(f"component 1 ({percent(places.share[0])} of the variance)",
                                    fontsize=9)  # fmt: skip
                    if column == 0:
                        axes.set_ylabel(f"PCA: component 2 ({percent(places.share[1])})")
                elif column == 0:
                    axes.set_ylabel(f"t-SNE, perplexity {places.perplexity:g}")
            handles, names = grid[0, column].get_legend_handles_labels()
            figure.legend(
                handles, names, loc="upper left", fontsize=9, title=title, alignment="left",
                bbox_to_anchor=(0.06 + 0.48 * column, (below + 0.1) / height), borderaxespad=0,
                labelspacing=0.25, title_fontsize=9,
            )  # fmt: skip
        return save_figure(figure, path)


def series_of(names: np.ndarray) -> _Series:
    """What is drawn alike: (legend, mask, colour, marker), the most frequent first.

    There are seven colours; with more names the rarer ones are together in grey, and so are those
    without a name.
    """
    known, counts = np.unique(names[names != ""], return_counts=True)
    ordered = known[np.argsort(-counts, kind="stable")].tolist()
    shown = ordered if len(ordered) <= len(COLOURS) else ordered[: len(COLOURS) - 1]
    series = [
        (f"{_short(name)} (n = {(names == name).sum():,})", names == name, COLOURS[i], MARKERS[i])
        for i, name in enumerate(shown)
    ]
    rest = np.isin(names, ordered[len(shown) :])
    for name, mask in ((OTHERS, rest), (BLANK, names == "")):
        if mask.any():
            series.append((f"{name} (n = {mask.sum():,})", mask, GREY, "."))
    return series


def _draw(
    axes: Axes, points: np.ndarray | NotDefined, series: _Series, order: np.ndarray
) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    if isinstance(points, NotDefined):
        axes.text(0.5, 0.5, str(points), ha="center", transform=axes.transAxes, fontsize=9)
        return
    size = float(np.clip(9000 / len(order), 5, 36))
    axes.set_box_aspect(1)
    for label, _, colour, marker in series:
        axes.scatter([], [], s=30, color=colour, marker=marker, label=label)
    # In an order of no meaning, so that no group lies on top of the others; a piece at a time,
    # since the points of one call share their marker.
    for piece in np.array_split(order, min(8, len(order))):
        for _, mask, colour, marker in series:
            rows = piece[mask[piece]]
            axes.scatter(
                *points[rows].T, s=size, color=colour, marker=marker, alpha=0.75, linewidths=0,
                rasterized=True,
            )  # fmt: skip


def _short(name: str) -> str:
    return name if len(name) <= _NAME else name[: _NAME - 1] + "…"


