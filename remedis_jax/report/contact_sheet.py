"""Contact sheets: some images of each split and class side by side, to be looked at."""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from remedis_jax.data.decode import decode_image, of_store
from remedis_jax.data.inspection import ImageFacts
from remedis_jax.data.manifest import Manifest
from remedis_jax.data.processors import usable_processors
from remedis_jax.data.reading import Reading
from remedis_jax.data.stores import frame_of
from remedis_jax.errors import RunFailed

# All ours: eight by eight is what the eye takes in; more sheets than that nobody looks at.
_COLUMNS, _ROWS, _SIDE, _GAP, _HEAD = 8, 8, 112, 6, 34
MOST_SHEETS = 60
# Of PNG: a third of the time of the usual 6, and 5% larger.
_EFFORT = 3
_GROUND, _INK, _FAINT = (255, 255, 255), (20, 20, 20), (110, 110, 110)


def parts_of(rows: Manifest) -> Iterator[tuple[str, np.ndarray]]:
    """What gets a sheet of its own: (title, positions) for each split and class.

    A column of classes gives a sheet to each; of several findings each gives one of its positives.
    """
    columns = rows.columns
    splits = rows.column(columns.split) if columns.split else np.full(len(rows), "", object)
    for split in sorted(set(splits)):
        inside = splits == split
        start = f"{columns.split} {split or '(blank)'}" if columns.split else "all"
        if not columns.labels:
            yield start, np.flatnonzero(inside)
        for column in columns.labels:
            cells = np.array([str(cell).strip() for cell in rows.column(column)], object)
            values = sorted(set(cells[inside]))
            if len(columns.labels) > 1:
                values = [value for value in values if value in ("1", "1.0", "true", "True")]
            for value in values:
                chosen = np.flatnonzero(inside & (cells == value))
                yield f"{start}, {column} {value or '(blank)'}", chosen


def write_contact_sheets(
    folder: Path, rows: Manifest, facts: Sequence[ImageFacts], reading: Reading
) -> list[tuple[str, Path | None]]:
    """Writes a PNG for each part of the rows; those that cannot be used are not shown.

    Sheets of an earlier check in the folder are deleted.

    Args:
        folder: Where to.
        rows: The manifest.
        facts: Of its images.
        reading: How they are read.

    Returns:
        Title and file of each, `MOST_SHEETS` at most; and of those beyond, the title and None.

    Raises:
        RunFailed: A file cannot be written.
    """
    reading = dataclasses.replace(reading, bits=8, reduced=True)
    for old in folder.glob("contact_sheet_*.png"):
        old.unlink()
    sheets: list[tuple[str, Path | None]] = []
    for title, positions in parts_of(rows):
        usable = [i for i in positions.tolist() if not facts[i].problem]
        if not usable:
            continue
        if len(sheets) >= MOST_SHEETS:
            sheets.append((title, None))
            continue
        # Spread over the rows: neighbours are often of one patient.
        chosen = [usable[k * len(usable) // min(len(usable), _COLUMNS * _ROWS)]
                  for k in range(min(len(usable), _COLUMNS * _ROWS))]  # fmt: skip
        stem = re.sub(r"[^A-Za-z0-9.]+", "_", title).strip("_")[:60]
        path = folder / f"contact_sheet_{len(sheets) + 1:02d}_{stem}.png"
        shown = f"{title}: {len(chosen)} of {len(usable):,} images, with their rows"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _sheet(shown, rows, chosen, reading).save(path, compress_level=_EFFORT)
        except OSError as error:
            raise RunFailed(
                f"{path} could not be written ({error.strerror}).",
                "Free some space or choose another --out.",
            ) from error
        sheets.append((title, path))
    return sheets


def _sheet(title: str, rows: Manifest, chosen: Sequence[int], reading: Reading) -> Image.Image:
    lines = -(-len(chosen) // _COLUMNS)
    step, tall = _SIDE + _GAP, _SIDE + _GAP + 14
    sheet = Image.new("RGB", (_COLUMNS * step + _GAP, _HEAD + lines * tall + _GAP), _GROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, 8), title, _INK, ImageFont.load_default(15))
    part = rows.select(chosen)

    def picture(name: str) -> np.ndarray:
        return decode_image(
            of_store(rows.store.read(name)), size=_SIDE, reading=reading, fit="pad", name=name,
            frame=frame_of(name),
        )  # fmt: skip

    small = ImageFont.load_default(10)
    with ThreadPoolExecutor(2 * usable_processors()) as pool:
        for place, pixels in enumerate(pool.map(picture, part.images)):
            left, top = _GAP + place % _COLUMNS * step, _HEAD + place // _COLUMNS * tall
            sheet.paste(Image.fromarray(pixels.squeeze()), (left, top))
            draw.text((left, top + _SIDE + 1), str(part.rows[place]), _FAINT, small)
    return sheet
