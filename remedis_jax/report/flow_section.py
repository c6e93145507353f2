"""Participant flow: from the rows of the manifests to the images that were used, with reasons."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from remedis_jax.report.document import FIGURES, Section
from remedis_jax.report.flow_figure import PartFlow, flow_figure
from remedis_jax.report.tables import markdown_table, plain

HEADING = "Participant flow"
STEM = "participant_flow"
UNSTATED = "no stated reason"
READING = """\
A row is left out for one reason, the first that applies. The files are named in full, with their
hashes, under Provenance."""


def flow_section(
    flow: Sequence[Mapping[str, Any]],
    out_dir: Path,
    counts: Mapping[str, Mapping[str, int]] | None = None,
) -> Section:
    """Draws the flow and puts it into words; no row disappears without being counted.

    Rows that neither are used nor have a reason are shown as such, and so is a part of which more
    images were used than its manifest has rows.

    Args:
        flow: One record per part: part (name), manifest (path), rows, excluded {reason: rows},
            images (used), patients (of these). [] for old records.
        out_dir: Folder of the report; the figure goes to its figures/.
        counts: Part -> patients and images, for parts of which no flow is known, such as
            unlabelled images.

    Returns:
        The section with its table as CSV.
    """
    counts = counts or {}
    parts = [_part_of(record) for record in flow]
    remarks = _disagreements(parts, counts)
    paragraphs = []
    if parts:
        flow_figure(Path(out_dir) / FIGURES / f"{STEM}.png", parts)
        alt = "Rows of each part, how many were left out and why, images and patients used"
        paragraphs += [
            f"![{alt}]({FIGURES}/{STEM}.png)",
            "*What became of the rows of every part.*",
        ]
    rest = {name: count for name, count in counts.items() if name not in {p.part for p in parts}}
    if parts or rest:
        paragraphs.append(markdown_table(_table(parts, rest)))
    if parts:
        paragraphs.append(READING)
    if rest:
        paragraphs.append("What became of rows that were not used is not recorded for every part.")
    if not paragraphs:
        paragraphs.append("Not recorded.")
    paragraphs += [plain(remark) for remark in remarks]
    return Section(HEADING, "\n\n".join(paragraphs), {STEM: _numbers(parts, rest)})


def _part_of(record: Mapping[str, Any]) -> PartFlow:
    left_out = {reason: n for reason, n in record["excluded"].items() if n}
    unstated = record["rows"] - sum(left_out.values()) - record["images"]
    if unstated > 0:
        left_out[UNSTATED] = unstated
    return PartFlow(
        part=record["part"],
        manifest=Path(record["manifest"]).name,
        rows=record["rows"],
        left_out=left_out,
        images=record["images"],
        patients=record["patients"],
    )


def _disagreements(
    parts: Iterable[PartFlow], counts: Mapping[str, Mapping[str, int]]
) -> list[str]:
    """Sentences on numbers that do not fit."""
    sentences = []
    for part in parts:
        surplus = part.images + sum(part.left_out.values()) - part.rows
        if surplus > 0:
            sentences.append(
                f"Of {part.part}, {surplus:,} more images are counted than its manifest has rows."
            )
        count = counts.get(part.part)
        if count is not None and (count["patients"], count["images"]) != (
            part.patients,
            part.images,
        ):
            sentences.append(
                f"Of {part.part}, {count['images']:,} images of {count['patients']:,} patients are"
                " counted elsewhere in the record."
            )
    return sentences


def _table(parts: Sequence[PartFlow], rest: Mapping[str, Mapping[str, int]]) -> pd.DataFrame:
    rows = [
        {
            "Part": part.part,
            "Rows": f"{part.rows:,}",
            "Left out": "; ".join(f"{reason}: {n:,}" for reason, n in part.left_out.items())
            or "none",
            "Images used": f"{part.images:,}",
            "Patients": f"{part.patients:,}",
            "Manifest": part.manifest,
        }
        for part in parts
    ]
    unknown = "not recorded"
    rows += [
        {
            "Part": name,
            "Rows": unknown,
            "Left out": unknown,
            "Images used": f"{count['images']:,}",
            "Patients": f"{count['patients']:,}",
            "Manifest": unknown,
        }
        for name, count in rest.items()
    ]
    return pd.DataFrame(rows, dtype=str)


def _numbers(parts: Sequence[PartFlow], rest: Mapping[str, Mapping[str, int]]) -> pd.DataFrame:
    """Long: part, manifest, what is counted, the reason where rows were left out, n."""
    columns = ["part", "manifest", "counted", "reason", "n"]
    rows = []
    for part in parts:
        rows.append((part.part, part.manifest, "rows", "", part.rows))
        for reason, n in part.left_out.items():
            rows.append((part.part, part.manifest, "left out", reason, n))
        rows.append((part.part, part.manifest, "images used", "", part.images))
        rows.append((part.part, part.manifest, "patients", "", part.patients))
    for name, count in rest.items():
        rows.append((name, "", "images used", "", count["images"]))
        rows.append((name, "", "patients", "", count["patients"]))
    return pd.DataFrame(rows, columns=columns)
