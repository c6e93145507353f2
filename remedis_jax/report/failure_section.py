"""The failure gallery's section: the most confident errors of every set."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from remedis_jax.evaluation.failures import failures
from remedis_jax.evaluation.judged import JudgedSet
from remedis_jax.evaluation.operating_point import YOUDEN
from remedis_jax.report.document import Section
from remedis_jax.report.failure_sheet import SHOWN, write_sheet
from remedis_jax.report.judged_words import seeds_clause, set_name
from remedis_jax.report.subgroup_section import operating_sentence, with_thresholds
from remedis_jax.report.tables import plain

HEADING = "Failure gallery"
READING = """
The errors that the model is surest of, up to {shown} of each kind, the surest first{seeds}.
{decided} Look for what they share (a marker, a device, a wrong label), and do not read a rate off
them: they are the extremes and no sample. Names are those of the predictions file; patients are not
named. All errors are in the table of this section.
"""
ARGMAX = "Of several classes the most probable one is called."


def failure_section(
    sets: Sequence[JudgedSet], out_dir: Path, *, operating_point: str = YOUDEN
) -> Section:
    """Writes a sheet per set and returns the section; of classes or findings.

    Args:
        sets: By image; one or more of one kind.
        out_dir: Folder of the report.
        operating_point: Rule by which the thresholds are chosen on validation.
    """
    several = sets[0].runs[0].kind == "softmax" and not sets[0].runs[0].is_binary
    decided = ARGMAX if several else operating_sentence(sets, operating_point).replace(
        "Sensitivity and specificity are", "Positive is called"
    )  # fmt: skip
    seeds = f"; probabilities are {seeds_clause(sets)}" if seeds_clause(sets) else ""
    paragraphs = [READING.format(shown=SHOWN, seeds=seeds, decided=decided).strip()]
    frames = []
    for number, judged in enumerate(sets, start=1):
        errors = failures(with_thresholds(judged, operating_point).runs)
        name = f"failures-{number}.png" if len(sets) > 1 else "failures.png"
        paragraphs.append(_paragraph(judged, errors, out_dir / "figures" / name, len(sets) > 1))
        frames.append(errors.assign(arm=judged.arm, set=judged.name))
    table = pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)
    return Section(HEADING, "\n\n".join(paragraphs), {"failures": table})


def _paragraph(judged: JudgedSet, errors: pd.DataFrame, path: Path, several: bool) -> str:
    start = f"**{plain(set_name(judged))}**: " if several else ""
    images = len(judged.runs[0].images)
    if errors.empty:
        return f"{start}No error in {images:,} images."
    counts = errors.groupby("error", sort=False).size()
    listed = ", ".join(f"{count:,} × {kind}" for kind, count in counts.items())
    text = f"{start}{len(errors):,} errors in {images:,} images ({listed})."
    chosen = int(counts.clip(upper=SHOWN).sum())
    if judged.folder is None:
        return f"{text} The images are not at hand, so the {chosen} surest are in the table only."
    gallery = write_sheet(path, errors, judged.folder)
    if gallery.missing:
        text += (
            f" {gallery.missing} of the {chosen} surest could not be shown"
            f" ({plain(gallery.reason.rstrip('.'))})."
        )
    if gallery.shown.empty:
        return text
    return f"{text}\n\n![The most confident errors](figures/{path.name})"
