"""The page of explanations: contact sheets, every map as a file, and what they cannot show."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from remedis_jax.evaluation.explained import Explanation, Explanations
from remedis_jax.evaluation.not_defined import NotDefined
from remedis_jax.evaluation.saliency import GradCam
from remedis_jax.report.document import Document, Section, write_report
from remedis_jax.report.explanation_words import LIMITS, how, method_name, reading, sanity_text
from remedis_jax.report.saliency_figure import PAIRS_ON_A_SHEET, Panel, saliency_figure
from remedis_jax.report.tables import markdown_table, plain
from remedis_jax.report.wording import MINUS, percent
from remedis_jax.versions import versions

MAPS = "maps"

def write_explanation(
    out_dir: str | os.PathLike, content: Explanations, names: Sequence[str]
) -> Path:
    """Writes maps/NNN.npz, figures/saliency_NN.png, tables, report.md and report.html.

    Args:
        out_dir: Folder to write to; maps and sheets of an earlier call are deleted.
        content: See `Explanations`.
        names: Of the images of all rows.

    Returns:
        The HTML page.

    Raises:
        RunFailed: A file cannot be written.
    """
    out_dir = Path(out_dir)
    for old in [*out_dir.glob(f"{MAPS}/[0-9]*.npz"), *out_dir.glob("figures/saliency_*.???")]:
        old.unlink()
    (out_dir / MAPS).mkdir(parents=True, exist_ok=True)
    panels, records = [], []
    for e in content.each:
        inside = [names[i] for i in e.example.images]
        for number, image in enumerate(inside):
            file = f"{MAPS}/{len(panels) + 1:03d}.npz"
            np.savez(
                out_dir / file,
                map=e.maps[number],
                image=np.array(image),
                example=np.array(e.example.name),
                explained=np.array(content.classes[e.target]),
                score=np.float32(e.score),
                probability=np.float32(e.p),
            )
            panels.append(_panel(content, e, number, image, len(inside)))
            records.append(_record(content, e, number, image, file))
    signed = not isinstance(content.method, GradCam)
    pictures = []
    for start in range(0, len(panels), PAIRS_ON_A_SHEET):
        name = f"figures/saliency_{start // PAIRS_ON_A_SHEET + 1:02d}.png"
        part = panels[start : start + PAIRS_ON_A_SHEET]
        saliency_figure(out_dir / name, part, signed=signed, unit=content.unit)
        pictures.append(f"![Images and what the score rests on]({name})")
    return write_report(out_dir, _document(content, pictures, pd.DataFrame(records)))


def _panel(content: Explanations, e: Explanation, number: int, image: str, count: int) -> Panel:
    caption = [f"{content.classes[e.target]} {e.p:.2f}"]
    if e.example.label:
        caption.append(f"label {e.example.label}")
    if count > 1:
        caption.append(f"image {number + 1} of {count} of the case")
    return Panel(e.seen[number], e.maps[number], image, caption)


def _record(content: Explanations, e: Explanation, number: int, image: str, file: str) -> dict:
    record = {
        "example": e.example.name,
        "image": image,
        "label": e.example.label,
        "explained": content.classes[e.target],
        "score": e.score,
        "probability": e.p,
        "largest": float(e.maps[number].max()),
        "smallest": float(e.maps[number].min()),
        "file": file,
    }
    if e.gap is not None:
        record |= {"difference": e.difference, "gap": e.gap}
    for draw, correlation in enumerate(e.correlations, start=1):
        # Empty in the file where it is not defined; the page has the reason.
        number_of = None if isinstance(correlation, NotDefined) else correlation
        record[f"random_head_{draw}"] = number_of
    return record


def _document(content: Explanations, pictures: Sequence[str], records: pd.DataFrame) -> Document:
    count = len(content.each)
    lead = (
        f"{method_name(content.method)} for {count:,} "
        f"{'example' if count == 1 else 'examples'}: where the score of a class is sensitive, "
        "which does not prove why the model decided."
    )
    table = _examples_table(content)
    sections = [
        Section("Maps", "\n\n".join([*pictures, f"*{content.chosen} {reading(content)}*"])),
        Section("Examples", markdown_table(table), {"examples": records}),
        Section("How the maps are made", how(content)),
    ]
    if content.sanity:
        sections.insert(2, Section("Is it the head that the maps show?", sanity_text(content)))
    name, sha256 = content.weights
    sections += [
        Section("Limits", LIMITS),
        Section(
            "Provenance",
            f"- weights {plain(name)}, SHA-256 {sha256}\n"
            + (f"- seed of the randomised heads {content.seed}\n" if content.sanity else "")
            + "".join(f"- {plain(n)} {plain(v)}\n" for n, v in versions().items()),
        ),
    ]
    return Document("Explanations", lead, tuple(sections), {"Examples": table})


def _examples_table(content: Explanations) -> pd.DataFrame:
    rows = []
    for e in content.each:
        row = {
            "Example": e.example.name,
            "Label": e.example.label,
            "Explained": content.classes[e.target],
            "Score": f"{e.score:.2f}".replace("-", MINUS),
            "Risk" if content.kind == "survival" else "Probability": f"{e.p:.3f}",
        }
        if e.gap is not None:
            gap = e.relative_gap
            row["Completeness gap"] = str(gap) if isinstance(gap, NotDefined) else percent(gap, 2)
        if content.sanity:
            row["Correlation with random heads"] = _range_of(e.correlations)
        rows.append(row)
    return pd.DataFrame(rows, dtype=str)


def _range_of(correlations: Sequence[float | NotDefined]) -> str:
    """'+0.20 (−0.13 to +0.61)': mean, smallest and largest, and how many there are not."""
    known = [c for c in correlations if not isinstance(c, NotDefined)]
    if not known:
        return str(correlations[0])
    lacking = len(correlations) - len(known)
    mean, low, high = (f"{v:+.2f}".replace("-", MINUS) for v in (np.mean(known), min(known),
                                                                 max(known)))  # fmt: skip
    return f"{mean} ({low} to {high})" + (f", {lacking} not defined" if lacking else "")
