"""`histograms.jsonl`: similarities of views at each measurement of the monitor, a line each."""

import json
import os
from pathlib import Path
from typing import Any

from remedis_jax.errors import UserError

HISTOGRAMS = "histograms.jsonl"


def write_histograms(path: Path, row: dict[str, Any]) -> None:
    """Appends a line; lines of steps that are made again after a resume are dropped.

    Args:
        path: The file; replaced as a whole, so that a killed run leaves no half line.
        row: `step`, `edges` and counts.

    Raises:
        OSError: The file cannot be written.
        UserError: It cannot be read.
    """
    rows = [earlier for earlier in read_histograms(path) if earlier["step"] < row["step"]]
    temporary = path.with_suffix(".tmp")
    text = "".join(json.dumps(line) + "\n" for line in (*rows, row))
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def read_histograms(path: Path) -> list[dict[str, Any]]:
    """The lines of the file, [] where there is none.

    Raises:
        UserError: A line is not what `write_histograms` writes.
    """
    if not path.is_file():
        return []
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            rows.append({name: row[name] for name in ("step", "edges", "positive", "negative")})
        except (json.JSONDecodeError, TypeError, KeyError) as error:
            raise UserError(f"{path}, line {number} holds no histogram.", "Remove it.") from error
    return rows
