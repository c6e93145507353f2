"""The page of `remedis probe`: what the features of encoders hold, with few labels too."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from remedis_jax.evaluation.bootstrap import RESAMPLES, Interval
from remedis_jax.evaluation.metrics import NotDefined
from remedis_jax.evaluation.probe import NAMES, TITLES
from remedis_jax.evaluation.probe_protocol import FULL, SHARE, SHOTS
from remedis_jax.report.document import Document, Section, write_report
from remedis_jax.report.probe_figure import probe_figure
from remedis_jax.report.probe_results import ProbePoint, evaluate_probes, read_probes
from remedis_jax.report.tables import caveats, fenced, markdown_table, plain
from remedis_jax.report.wording import (
    comparison_clause,
    interval_text,
    metric_name,
    percent,
    signed,
    verdict,
)

TITLE = "Probes of frozen features"
READING = """
- The **linear probe** is a logistic regression on standardised features, the **k-NN probe** a vote
  of the nearest training images by cosine. The encoder is not trained: this says what its features
  hold, not what fine-tuning could make of them.
- Brackets hold the 95% interval from {resamples:,} resamples of the test patients, and of the seeds
  where there are several; differences are paired, on the same resamples.
- A seed decides which labels are drawn. A probe on all labels draws nothing.
- Scores are by {level}.
"""
LIMITS = """
- **Not for clinical use.** These are measurements on the images named here; no patient should be
  treated because of them.
- Whether an encoder has seen these patients or images while it was trained is not known here.
- Many intervals are shown and none is corrected for their number.
"""
OF_KIND = {SHOTS: "few_shot", SHARE: "label_shares"}


def report_from_probes(
    folder: str | os.PathLike,
    out_dir: str | os.PathLike | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    show: bool = False,
) -> Path:
    """Writes the page of a folder that `remedis probe` made.

    Args:
        folder: Holds `probe.json` and `probes.jsonl`.
        out_dir: Where the page goes; `folder`/probes if None.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.
        show: Print the tables to the terminal as well.

    Returns:
        The HTML page.

    Raises:
        UserError: The folder holds no probes.
    """
    folder = Path(folder)
    out_dir = folder / "probes" if out_dir is None else Path(out_dir)
    record, fits = read_probes(folder)
    points = evaluate_probes(folder, record, fits, resamples, seed)
    return write_report(out_dir, document_of(record, points, out_dir, resamples), show=show)


def document_of(
    record: Mapping[str, Any], points: Sequence[ProbePoint], out_dir: Path, resamples: int
) -> Document:
    """The page's text; draws its figures."""
    metric = record["metric"]
    full = [point for point in points if point.trained_on == FULL]
    values, differences = _values(full), _differences(full, metric)
    sections = [
        Section(
            "All training labels",
            f"{plain(metric_name(metric))} with 95% interval.\n\n{markdown_table(values)}",
            {"probes": _numbers(full)},
        )
    ]
    tables = {f"{TITLE}: {metric_name(metric)}": values}
    if len(differences):
        text = f"Difference in {plain(metric_name(metric))}, the first minus the second."
        sections.append(
            Section("Encoders compared", f"{text}\n\n{markdown_table(differences)}")
        )
        tables["Encoders compared"] = differences
    for kind, heading, x_label, intro in (
        (SHOTS, "A few images of each class", "training images of each class", "Nothing is chosen"
         " for these probes: their settings stand under “What chose what”."),
        (SHARE, "Shares of the labels", "share of the training patients", "Shares are nested,"
         " stratified, and drawn by patient."),
    ):  # fmt: skip
        of_kind = [point for point in points if point.trained_on == kind]
        if of_kind:
            sections.append(_curve_section(of_kind, record, out_dir, heading, x_label, intro))
    remarks = caveats(
        {f"{p.test}, {NAMES[p.probe]}, {e}": i for p in full for e, i in p.intervals.items()}
    )
    level = "image" if record["level"] == "image" else "patient (mean over the patient's images)"
    chose = "\n".join(
        f"- **{k.replace('_', ' ')}**: {plain(v)}" for k, v in record["selection"].items()
    )
    notes = "".join(f"- {plain(note)}\n" for note in [*remarks, *record["notes"]])
    sections += [
        Section("What chose what", chose),
        Section(
            "Leak guard",
            "No patient is in two of the training, validation and test rows. What the encoders were"
            " trained on is not known here.",
        ),
        Section("How to read this", READING.format(resamples=resamples, level=level)),
        Section("Limits", LIMITS + notes),
        Section("Provenance", _provenance(record)),
    ]
    return Document(TITLE, _lead(full[0], metric), tuple(sections), tables)


def _lead(point: ProbePoint, metric: str) -> str:
    (first, interval), *others = point.intervals.items()
    of = f"on the {point.test} rows"
    if others:
        second = others[0][0]
        clause = comparison_clause(
            f"“{first}”", f"“{second}”", point.differences[first, second], metric
        )
        return f"By the {NAMES[point.probe]} {of}, {clause}."
    return (
        f"{metric_name(metric)} of the {NAMES[point.probe]} of “{first}” {of} is"
        f" {interval_text(interval)}."
    )


def _values(points: Sequence[ProbePoint]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"Test set": p.test, "Probe": NAMES[p.probe]}
            | {name: interval_text(interval) for name, interval in p.intervals.items()}
            for p in points
        ],
        dtype=str,
    )


def _differences(points: Sequence[ProbePoint], metric: str) -> pd.DataFrame:
    rows = []
    for point in points:
        for (first, second), found in point.differences.items():
            defined = not isinstance(found, NotDefined)
            rows.append(
                {
                    "Test set": point.test,
                    "Probe": NAMES[point.probe],
                    "First": first,
                    "Second": second,
                    "Difference": signed(found.value) if defined else str(found),
                    "95% interval": f"{signed(found.low)} to {signed(found.high)}"
                    if defined
                    else "",
                    "p": f"{found.p_value:.3f}" if defined else "",
                    "The first is": verdict(found, metric),
                }
            )
    return pd.DataFrame(rows, dtype=str)


def _curve_section(
    points: Sequence[ProbePoint],
    record: Mapping[str, Any],
    out_dir: Path,
    heading: str,
    x_label: str,
    intro: str,
) -> Section:
    kind = points[0].trained_on
    name = metric_name(record["metric"])
    encoders = {encoder["name"]: i for i, encoder in enumerate(record["encoders"])}
    numbers = _numbers(points)
    paragraphs = [f"{intro} Mean over {len(record['seeds'])} draws."]
    for test in dict.fromkeys(point.test for point in points):
        of_test = numbers[numbers["test"] == test]
        panels = {
            f"{TITLES[probe]}, {test}": of_test[of_test["probe"] == probe]
            for probe in dict.fromkeys(of_test["probe"])
        }
        stem = OF_KIND[kind] + ("" if test == points[0].test else "_new_site")
        probe_figure(
            out_dir / "figures" / f"{stem}.png", panels, encoders, metric_name=name,
            x_label=x_label, percent=kind == SHARE,
        )  # fmt: skip
        paragraphs.append(f"![{plain(name)} over {x_label}, {plain(test)}](figures/{stem}.png)")
        paragraphs.append(f"*{plain(name)} on the {plain(test)} rows, with 95% intervals.*")
    rows = [
        {
            "Test set": p.test,
            "Probe": NAMES[p.probe],
            "Labels": percent(p.amount) if kind == SHARE else f"{p.amount:g} per class",
            "Patients": f"{p.n_patients:,}",
            "Images": f"{p.n_images:,}",
        }
        | {encoder: interval_text(interval) for encoder, interval in p.intervals.items()}
        for p in sorted(points, key=lambda p: (p.test, p.probe, p.amount))
    ]
    paragraphs.append(markdown_table(pd.DataFrame(rows, dtype=str)))
    return Section(heading, "\n\n".join(paragraphs), {OF_KIND[kind]: numbers})


def _numbers(points: Sequence[ProbePoint]) -> pd.DataFrame:
    """One row per point and encoder, numbers; blank where there is none."""
    return pd.DataFrame(
        [
            {
                "test": p.test, "probe": p.probe, "trained_on": p.trained_on, "amount": p.amount,
                "n_patients": p.n_patients, "n_images": p.n_images, "encoder": encoder,
                "value": getattr(interval, "value", None), "low": getattr(interval, "low", None),
                "high": getattr(interval, "high", None),
                "reason": "" if isinstance(interval, Interval) else interval.reason,
            }
            for p in points
            for encoder, interval in p.intervals.items()
        ]
    )  # fmt: skip


def _provenance(record: Mapping[str, Any]) -> str:
    lines = [f"{plain(path)}, SHA-256 {digest}" for path, digest in record["manifests"].items()]
    lines += [f"{plain(name)} {plain(version)}" for name, version in record["versions"].items()]
    listed = "\n".join(f"- {line}" for line in lines)
    return f"{fenced(record['command'], 'sh')}\n\n{listed}"
