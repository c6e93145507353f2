"""The participant flow, drawn: rows of a manifest, what was left out and why, what was used."""

import dataclasses
import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from remedis_jax.report.figures import COLOURS, GREY, WIDTH, save_figure, styled

_LINE = 0.185  # inches of a line of text
_PAD = 0.11  # inches between a box and its text
_GAP = 0.22  # inches between two parts
_TOP = 0.4  # inches, where a stamp finds its place
_BOX = 2.3  # inches, the width of every box
_CHARACTERS = 27  # what a line of a box holds
_LEFT, _MIDDLE, _RIGHT = 0.02, (WIDTH - _BOX) / 2, WIDTH - _BOX - 0.02
_Lines = list[tuple[str, bool]]  # (text, bold)


@dataclasses.dataclass(frozen=True)
class PartFlow:
    """What became of the rows of one part.

    Attributes:
        part: Its name.
        manifest: The manifest's file name.
        rows: Rows of the part in the manifest.
        left_out: Reason -> rows.
        images: Used.
        patients: Of the used images.
    """

    part: str
    manifest: str
    rows: int
    left_out: Mapping[str, int]
    images: int
    patients: int


def flow_figure(path: str | os.PathLike, parts: Sequence[PartFlow]) -> Path:
    """Three boxes for each part, one part below the other.

    Args:
        path: PNG to write.
        parts: At least one.

    Returns:
        `path`.
    """
    texts = [_texts(part) for part in parts]
    heights = [_height(left, middle, right) for left, middle, right in texts]
    total = _TOP + sum(heights) + _GAP * len(parts)
    with styled():
        figure = Figure(figsize=(WIDTH, total))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_xlim(0, WIDTH)
        axes.set_ylim(total, 0)
        top = _TOP
        for (left, middle, right), height in zip(texts, heights, strict=True):
            _draw_part(axes, top, left, middle, right)
            top += height + _GAP
        return save_figure(figure, path)


def _texts(part: PartFlow) -> tuple[_Lines, _Lines, _Lines]:
    """The three boxes; the middle one is empty where nothing was left out."""
    left = _wrapped(part.part, bold=True)
    left += _wrapped(f"{counted(part.rows, 'row')} of {part.manifest}")
    right = _wrapped(f"{counted(part.images, 'image')} used", bold=True)
    right += _wrapped(f"of {counted(part.patients, 'patient')}")
    middle = []
    if part.left_out:
        middle = _wrapped(f"{sum(part.left_out.values()):,} left out", bold=True)
        for reason, count in part.left_out.items():
            middle += _wrapped(f"{reason}: {count:,}", indent="   ")
    return left, middle, right


def counted(number: int, noun: str) -> str:
    """'1 patient', '1,200 patients'."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _wrapped(text: str, *, bold: bool = False, indent: str = "") -> _Lines:
    width = _CHARACTERS - 2 if bold else _CHARACTERS
    return [(line, bold) for line in textwrap.wrap(text, width, subsequent_indent=indent)]


def _box_height(lines: _Lines) -> float:
    return len(lines) * _LINE + 2 * _PAD


def _height(left: _Lines, middle: _Lines, right: _Lines) -> float:
    outer = max(_box_height(left), _box_height(right))
    # The middle box hangs below the arrow, which is at half the height of the outer ones.
    return max(outer, outer / 2 + _GAP + _box_height(middle) if middle else 0.0)


def _draw_part(axes: Axes, top: float, left: _Lines, middle: _Lines, right: _Lines) -> None:
    outer = max(_box_height(left), _box_height(right))
    centre = top + outer / 2
    _draw_box(axes, _LEFT, centre - _box_height(left) / 2, left, GREY)
    _draw_box(axes, _RIGHT, centre - _box_height(right) / 2, right, COLOURS[0])
    arrow = {"arrowstyle": "-|>", "color": GREY, "lw": 1.2, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (_RIGHT, centre), (_LEFT + _BOX, centre), arrowprops=arrow)
    half = _MIDDLE + _BOX / 2
    if middle:
        below = centre + _GAP
        axes.annotate("", (half, below), (half, centre), arrowprops=arrow)
        _draw_box(axes, _MIDDLE, below, middle, COLOURS[1])
    else:
        axes.text(half, centre - 0.05, "none left out", ha="center", va="bottom", color=GREY)


def _draw_box(axes: Axes, x: float, top: float, lines: _Lines, colour: str) -> None:
    axes.add_patch(
        FancyBboxPatch(
            (x + 0.05, top + 0.05), _BOX - 0.1, _box_height(lines) - 0.1,
            boxstyle="round,pad=0.05", fc="white", ec=colour, lw=1.4,
        )
    )  # fmt: skip
    for number, (line, bold) in enumerate(lines):
        axes.text(
            x + _PAD, top + _PAD + (number + 0.5) * _LINE, line, va="center", ha="left",
            fontweight="bold" if bold else "normal",
        )  # fmt: skip
