"""Provenance: what has to be known to get the same numbers again, as far as the record has it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from remedis_jax.hardware import hardware_text
from remedis_jax.report.document import Section
from remedis_jax.report.tables import fenced, plain

HEADING = "Provenance"
STEM = "hashes"
# What has a place of its own in the section; the rest of a record is shown word for word.
_WHOLE = "experiment.json"


def provenance_section(record: Mapping[str, Any], *, name: str = _WHOLE) -> Section:
    """Command, versions, seeds, hashes, hardware, hours and config, where the record has them.

    Args:
        record: Of an experiment or a report. Read are command (text), versions {name: version},
            seeds, manifests {path: SHA-256}, weights {name or path: SHA-256}, predictions
            {path: SHA-256}, hardware (of `remedis_jax.hardware`), hours (of computing), config
            (any). Keys may lack; the whole record is shown as well.
        name: Of the file that holds it, for the heading above it.

    Returns:
        The section, folded; with hashes also as CSV.
    """
    paragraphs = []
    if record.get("command"):
        paragraphs.append(fenced(str(record["command"]), "sh"))
    facts = {
        "Seeds": ", ".join(str(seed) for seed in record.get("seeds", ())),
        "Hardware": hardware_text(record.get("hardware") or {}),
        "Computing time": hours_text(record.get("hours")),
    }
    lines = [f"- {plain(label)}: {plain(text)}" for label, text in facts.items() if text]
    if lines:
        paragraphs.append("\n".join(lines))
    if record.get("versions"):
        lines = [f"- {plain(tool)} {plain(v)}" for tool, v in record["versions"].items()]
        paragraphs.append("### Versions\n\n" + "\n".join(lines))
    hashes = [
        (kind, str(path), str(sha256))
        for kind in ("manifests", "weights", "predictions")
        for path, sha256 in (record.get(kind) or {}).items()
    ]
    if hashes:
        lines = [f"- {plain(path)}\n  `{sha256}`" for _, path, sha256 in hashes]
        paragraphs.append("### Files and their SHA-256\n\n" + "\n".join(lines))
    rest = {key: value for key, value in record.items() if key != "config"}
    if record.get("config"):
        paragraphs.append("### Config\n\n" + fenced(_json(record["config"]), "json"))
    without = " without the config" if record.get("config") else ""
    paragraphs.append(f"### {plain(Path(name).name)}{without}\n\n" + fenced(_json(rest), "json"))
    table = pd.DataFrame(hashes, columns=["kind", "file", "sha256"])
    return Section(HEADING, "\n\n".join(paragraphs), {STEM: table} if hashes else {}, folded=True)


def hours_text(hours: float | None) -> str:
    """1.234 -> '1.2 hours', 0.05 -> '3.0 minutes'; '' for None."""
    if hours is None:
        return ""
    return f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False)
