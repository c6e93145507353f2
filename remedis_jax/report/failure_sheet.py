"""The failure gallery: the most confident errors as one sheet of small images."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from remedis_jax.data.decode import decode_image, of_store
from remedis_jax.data.reading import Reading
from remedis_jax.data.stores import FolderStore, file_name, frame_of
from remedis_jax.errors import RunFailed, UserError
from remedis_jax.evaluation.failures import FALSE_NEGATIVE, FALSE_POSITIVE, WRONG_CLASS

# All ours: eight of each kind in two rows are looked at; more are not.
SHOWN, _COLUMNS, _SIDE, _GAP, _HEAD, _CAPTION = 8, 4, 120, 12, 30, 44
_SCALE = 2  # letters of twice the size, so that a page which shows the sheet smaller stays legible
_CHARACTERS = 26
_TITLES = {
    FALSE_POSITIVE: "false positives",
    FALSE_NEGATIVE: "false negatives",
    WRONG_CLASS: "called another class",
}
_GROUND, _INK, _FAINT = (255, 255, 255), (20, 20, 20), (90, 90, 90)
# The first frame of a file of several stands for it; a picture to look at needs no more.
_READING = Reading(reduced=True, frames="first")


@dataclasses.dataclass(frozen=True, eq=False)
class Gallery:
    """What a sheet shows.

    Attributes:
        shown: Rows of `failures` whose images are on the sheet.
        missing: How many of those that were to be shown could not be read.
        reason: Why the first of them could not; "" if none.
    """

    shown: pd.DataFrame
    missing: int
    reason: str


def write_sheet(path: Path, errors: pd.DataFrame, folder: Path) -> Gallery:
    """Writes a PNG of the first errors of each kind whose images can be read.

    Args:
        path: PNG to write; not written where no image can be read.
        errors: As from `evaluation.failures.failures`.
        folder: What the images' names are relative to; images outside it are not read.

    Returns:
        What is on it.

    Raises:
        RunFailed: The file cannot be written.
    """
    parts: list[tuple[str, pd.DataFrame, list[np.ndarray]]] = []
    missing, reason, shown = 0, "", []
    for kind, of_kind in errors.groupby("error", sort=False):
        first = of_kind.head(SHOWN)
        pictures, kept = [], []
        for place, name in zip(first.index, first["image"], strict=True):
            try:
                pictures.append(_picture(folder, name))
                kept.append(place)
            except UserError as error:
                missing += 1
                reason = reason or error.problem
        if kept:
            rows = first.loc[kept]
            shown.append(rows)
            title = f"{_TITLES[kind]}: {len(rows)} of {len(of_kind):,}"
            parts.append((title, rows, pictures))
    if parts:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _sheet(parts).save(path)
        except OSError as error:
            raise RunFailed(
                f"{path} could not be written ({error.strerror}).",
                "Free some space or choose another folder, then repeat the command.",
            ) from error
    table = pd.concat(shown) if shown else errors.head(0)
    return Gallery(table, missing, reason)


def _picture(folder: Path, name: str) -> np.ndarray:
    """uint8 [side, side, 3]."""
    root = folder.resolve()
    if not (root / file_name(name)).resolve().is_relative_to(root):
        raise UserError(f"{name} is outside {folder}.", "Keep the images in one folder.")
    content = of_store(FolderStore(root).read(name))
    return decode_image(
        content, size=_SIDE, reading=_READING, fit="pad", name=name, frame=frame_of(name)
    )


def _sheet(parts: Sequence[tuple[str, pd.DataFrame, list[np.ndarray]]]) -> Image.Image:
    step, tall = _SIDE * _SCALE + _GAP, _SIDE * _SCALE + _CAPTION * _SCALE + _GAP
    lines = [-(-len(pictures) // _COLUMNS) for _, _, pictures in parts]
    height = sum(_HEAD * _SCALE + count * tall for count in lines) + _GAP
    sheet = Image.new("RGB", (_COLUMNS * step + _GAP, height), _GROUND)
    draw = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(17 * _SCALE), ImageFont.load_default(9.5 * _SCALE)
    top = 0
    for (title, rows, pictures), count in zip(parts, lines, strict=True):
        draw.text((_GAP, top + 4 * _SCALE), title, _INK, large)
        top += _HEAD * _SCALE
        for place, (pixels, row) in enumerate(
            zip(pictures, rows.to_dict("records"), strict=True)
        ):
            x = _GAP + place % _COLUMNS * step
            y = top + place // _COLUMNS * tall
            # Enlarged by repeating pixels: nothing is made up, and it compresses to the same size.
            sheet.paste(
                Image.fromarray(pixels).resize((_SIDE * _SCALE,) * 2, Image.Resampling.NEAREST),
                (x, y),
            )
            for line, (text, colour) in enumerate(caption(row)):
                where = (x, y + (_SIDE + 3 + 13 * line) * _SCALE)
                draw.text(where, text, colour, small)
        top += count * tall
    return sheet


def caption(row: dict) -> list[tuple[str, tuple[int, int, int]]]:
    """Lines under an image: its label, the probability, its name; cut to the width."""
    name = str(row["image"])
    if len(name) > _CHARACTERS:
        name = "…" + name[1 - _CHARACTERS :]
    return [
        (_cut(f"is {row['label']}"), _INK),
        (_cut(f"p({row['class']}) = {row['probability']:.3f}"), _INK),
        (name, _FAINT),
    ]


def _cut(text: str) -> str:
    return text if len(text) <= _CHARACTERS else text[: _CHARACTERS - 1] + "…"
