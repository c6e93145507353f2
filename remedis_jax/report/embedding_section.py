"""What the features of each arm know of label and of site, as pictures and as numbers."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from threadpoolctl import threadpool_limits

from remedis_jax.evaluation.bootstrap import RESAMPLES, Interval
from remedis_jax.evaluation.embedding_map import (
    COMPONENTS,
    FOLDS,
    MOST_POINTS,
    Features,
    drawn,
    embedding_map,
    names_told_apart,
    read_features,
    silhouette,
    told_apart,
)
from remedis_jax.evaluation.not_defined import NotDefined
from remedis_jax.report.document import Section
from remedis_jax.report.embedding_figure import embedding_figure
from remedis_jax.report.tables import markdown_table, plain
from remedis_jax.report.wording import MINUS, interval_text

HEADING = "What the features know"
_OF = {"label": "labels", "site": "sites"}


def embedding_sections(
    folder: str | os.PathLike,
    out_dir: str | os.PathLike,
    labels: Mapping[str, str] | None = None,
    seed: int = 0,
) -> list[Section]:
    """Draws figures/embedding_ARM.png for every arm and returns the section that shows them.

    Args:
        folder: With ARM.npz files, see `evaluation.embedding_map.read_features`.
        out_dir: Folder of the report.
        labels: Arm -> its name in the text, whose order is that of the arms; arms that are not in
            it come last, by name.
        seed: Of the points that are drawn, of t-SNE and of the folds.

    Returns:
        One section; none where the folder has no such file.

    Raises:
        UserError: A file cannot be used.
    """
    labels = labels or {}
    order = list(labels)
    paths = sorted(
        Path(folder).glob("*.npz"),
        key=lambda path: (order.index(path.stem) if path.stem in order else len(order), path.stem),
    )
    if not paths:
        return []
    # On cores that others use too, threads of t-SNE wait for one another many times longer than
    # they compute: 4 s an arm by one thread, minutes by two.
    with threadpool_limits(1):
        return [_section(paths, Path(out_dir), labels, seed)]


def _section(paths: list[Path], out_dir: Path, labels: Mapping[str, str], seed: int) -> Section:
    pictures, rows, records, counts = [], [], [], []
    for path in paths:
        everything = read_features(path)
        part = drawn(everything, seed)
        name = labels.get(part.arm, part.arm)
        places = embedding_map(part.features, seed)
        stem = re.sub(r"[^a-z0-9_.-]+", "_", part.arm.lower())
        picture = f"figures/embedding_{stem}.png"
        embedding_figure(out_dir / picture, places, part.labels, part.sites)
        shown = f"{len(part):,} of {len(everything):,} images"
        pictures.append(
            f"![Features of {plain(name)} by label and by site]({picture})\n\n"
            f"*{plain(name)}: {shown}, {part.features.shape[1]:,} features.*"
        )
        row, record = _numbers(part, seed)
        rows.append({"Arm": name} | row)
        records.append({"arm": name, "images": len(part)} | record)
        counts.append(len(everything))
    text = "\n\n".join([*pictures, markdown_table(pd.DataFrame(rows, dtype=str)), _reading(counts)])
    return Section(HEADING, text, {"embedding_knowledge": pd.DataFrame(records)})


def _numbers(part: Features, seed: int) -> tuple[dict[str, str], dict[str, float | int | str]]:
    """A row of the table as text, and as numbers."""
    row: dict[str, str] = {}
    record: dict[str, float | int | str] = {}
    for what, attribute in _OF.items():
        names = getattr(part, attribute)
        value = silhouette(part.features, names)
        row[f"Silhouette by {what}"] = (
            str(value) if isinstance(value, NotDefined) else f"{value:+.3f}".replace("-", MINUS)
        )
        record[f"silhouette_{what}"] = str(value) if isinstance(value, NotDefined) else value
    for what, attribute in _OF.items():
        names = getattr(part, attribute)
        told = told_apart(part.features, names, part.groups, seed)
        classes = len(names_told_apart(names, part.groups))
        row[f"Telling the {what}"] = interval_text(told)
        if isinstance(told, Interval):
            row[f"Telling the {what}"] += f"; chance {1 / classes:.3f}"
            record |= {
                f"balanced_accuracy_{what}": told.value,
                f"low_{what}": told.low,
                f"high_{what}": told.high,
                f"chance_{what}": 1 / classes,
            }
        else:
            record[f"balanced_accuracy_{what}"] = str(told)
    return row, record


def _reading(counts: list[int]) -> str:
    many = (
        f" Of more than {MOST_POINTS:,} images so many are drawn by seed, of every site and label "
        "as many as is their share; the numbers are of the same images."
        if max(counts) > MOST_POINTS
        else ""
    )
    return f"""
- **The pictures suggest and do not prove.** t-SNE keeps neighbours together; sizes of clusters and
  distances between them mean nothing, and another seed gives another picture. PCA shows what two
  directions of many hold.{many}
- Silhouette: how much nearer images are to others of their label (site) than to those of the next
  one, from {MINUS}1 to 1, by distances of all features; 0 for no order.
- Telling the label (site): balanced accuracy with 95% interval of a logistic regression on the
  features (standardised, {COMPONENTS} principal components), of patients that it was not fitted to:
  {FOLDS} folds by patient, {RESAMPLES:,} resamples of the patients. The interval does not hold the
  choice of the folds. Labels and sites of fewer than {FOLDS} patients are left out.
- Features that tell the sites apart *can* be used as a short cut, where labels and sites go
  together; that a classifier does so is not shown by this. Sites also differ in their patients, so
  that some of it may be disease.
"""
