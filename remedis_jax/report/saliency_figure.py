"""Contact sheets of explanations: what the network read, and the map on top of it."""

import dataclasses
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure

from remedis_jax.report.figures import WIDTH, save_figure, styled

# ours: two pairs side by side are legible on a phone; more on a sheet nobody scrolls through.
_PAIRS_ACROSS = 2
PAIRS_ON_A_SHEET = 16
# Inches: around everything, within a pair, between pairs, below a panel for its words.
_MARGIN, _GAP, _BETWEEN, _WORDS, _BAR = 0.12, 0.08, 0.28, 0.72, 0.75
_SIDE = (WIDTH - 2 * _MARGIN - _BETWEEN - 2 * _GAP) / (2 * _PAIRS_ACROSS)
_ACROSS, _LINES = 25, 4  # characters and lines that fit below a panel
# How much of the grey image shows through the map.
_THROUGH = 0.4
# ours, as the published figures of integrated gradients: single pixels stand out far, and in
# shares of them all others would be dark.
_FULL_COLOUR = 99


@dataclasses.dataclass(frozen=True, eq=False)
class Panel:
    """One image with its map.

    Attributes:
        seen: float32 [H, W, 3] in [0, 1].
        map: float32 [h, w], whose places lie evenly over the image.
        name: Of the image.
        caption: Lines below the map, the label and the probability.
    """

    seen: np.ndarray
    map: np.ndarray
    name: str
    caption: Sequence[str]


def saliency_figure(
    path: str | os.PathLike, panels: Sequence[Panel], *, signed: bool, unit: str
) -> Path:
    """Pairs of an image and its map over the image in grey, with one bar of colours.

    Every map has a scale of its own, which stands under it: colours of two images do not compare.
    Full colour is the largest value, with signs the 99th percentile of the magnitudes. Maps with
    fewer places than the image has pixels are drawn smooth between them.

    Args:
        path: PNG to write.
        panels: At least one, `PAIRS_ON_A_SHEET` at most.
        signed: Whether values below zero speak against the class.
        unit: What the values are measured in.

    Returns:
        `path`.
    """
    rows = -(-len(panels) // _PAIRS_ACROSS)
    height = _MARGIN + rows * (_SIDE + _WORDS) + _BAR
    colours, scale = colours_of(signed), Normalize(-1 if signed else 0, 1)
    with styled():
        figure = Figure(figsize=(WIDTH, height))

        def axes_at(left: float, top: float, width: float, tall: float) -> Axes:
            return figure.add_axes(
                (left / WIDTH, (height - top - tall) / height, width / WIDTH, tall / height)
            )

        for place, panel in enumerate(panels):
            row, pair = divmod(place, _PAIRS_ACROSS)
            left = _MARGIN + pair * (2 * _SIDE + _GAP + _BETWEEN)
            top = _MARGIN + row * (_SIDE + _WORDS)
            plain = axes_at(left, top, _SIDE, _SIDE)
            overlaid = axes_at(left + _SIDE + _GAP, top, _SIDE, _SIDE)
            _draw(plain, overlaid, panel, colours, scale, unit)
        bar = figure.colorbar(
            ScalarMappable(scale, colours),
            cax=axes_at(0.12 * WIDTH, height - _BAR, 0.76 * WIDTH, 0.16),
            orientation="horizontal",
        )
        bar.outline.set_visible(False)
        if signed:
            bar.set_ticks([-1, 0, 1], labels=["against the class", "0", "for the class"])
        else:
            bar.set_ticks([0, 0.5, 1], labels=["0", "half", "full colour"])
        return save_figure(figure, path)


def colours_of(signed: bool) -> Colormap:
    """Perceptually uniform, and told apart by colour-blind readers.

    cividis from nothing to much (Nunez et al. 2018); with signs its blue and its yellow end each
    from a dark middle, so that both sides brighten alike.
    """
    if not signed:
        return colormaps["cividis"]
    return colormaps["berlin"]


def _draw(
    plain: Axes, overlaid: Axes, panel: Panel, colours: Colormap, scale: Normalize, unit: str
) -> None:
    height, width = panel.seen.shape[:2]
    side = max(height, width)
    grey = panel.seen @ np.array([0.299, 0.587, 0.114], np.float32)  # luma, ITU-R BT.601
    magnitude = np.abs(panel.map)
    full = float(magnitude.max() if scale.vmin == 0 else np.percentile(magnitude, _FULL_COLOUR))
    shown = {"extent": (0, width, height, 0), "interpolation": "nearest"}
    plain.imshow(panel.seen.clip(0, 1), **shown)
    overlaid.imshow(grey, cmap="gray", vmin=0, vmax=1, **shown)
    overlaid.imshow(
        panel.map / full if full else panel.map, cmap=colours, norm=scale, alpha=1 - _THROUGH,
        **shown | ({"interpolation": "bilinear"} if panel.map.shape[0] < side else {}),
    )  # fmt: skip
    most = f"full colour {full:.2g} {unit}" if full else "0 everywhere"
    for axes, lines in ((plain, _name_lines(panel.name)), (overlaid, [*panel.caption, most])):
        axes.set_axis_off()
        lines = [line if len(line) <= _ACROSS else line[: _ACROSS - 1] + "…" for line in lines]
        axes.text(
            0, -0.03, "\n".join(lines[:_LINES]), transform=axes.transAxes, va="top",
            fontsize=8, linespacing=1.25, parse_math=False,
        )  # fmt: skip


def _name_lines(name: str) -> list[str]:
    """A name over several lines; of one that is too long the end, in which files differ."""
    room = _ACROSS * (_LINES - 1)
    name = name if len(name) <= room else "…" + name[1 - room :]
    return textwrap.wrap(name, _ACROSS, break_on_hyphens=False)
