"""How much of what there is in a manifest, as tables of text."""

import posixpath
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pandas as pd

from remedis_jax.data.findings import Inspected
from remedis_jax.data.image_pairs import ImagePairs
from remedis_jax.data.stores import file_name

# ours: kinds and sizes of images beyond so many stand in one line.
_MOST_LINES = 5


def census(of: Inspected, equal: ImagePairs) -> dict[str, pd.DataFrame]:
    """Title -> table, in the order of a report.

    Args:
        of: The rows.
        equal: The equal files among them.
    """
    return {
        "Overview": overview(of),
        **dict(label_tables(of)),
        "Images": image_table(of),
        "Participant flow": participant_flow(of, equal),
    }


def overview(of: Inspected) -> pd.DataFrame:
    """Rows and groups of every split and site."""
    parts: list[tuple[str, np.ndarray]] = [("all", np.ones(len(of), bool))]
    for what, values in (("split", of.split), ("site", of.site)):
        if values is not None:
            for value in sorted(set(values)):
                parts.append((f"{what} {value or '(blank)'}", values == value))
    bad = np.array([bool(found.problem) for found in of.facts])
    records = []
    for name, chosen in parts:
        record = {"Part": name, "Rows": f"{chosen.sum():,}"}
        if of.group is not None:
            sizes = list(Counter(of.group[chosen]).values())
            record["Groups"] = f"{len(sizes):,}"
            record["Rows per group: median"] = f"{np.median(sizes):g}"
            record["most"] = f"{max(sizes):,}"
        records.append(record | {"Unusable": f"{(bad & chosen).sum():,}"})
    return pd.DataFrame(records, dtype=str)


def label_tables(of: Inspected) -> Iterator[tuple[str, pd.DataFrame]]:
    """Rows and groups of every value of every label column."""
    for column, cells in of.labels.items():
        records = []
        for value in sorted(set(cells)):
            chosen = cells == value
            record = {
                column: value or "(blank)",
                "Rows": f"{chosen.sum():,}",
                "Share": f"{chosen.mean():.1%}",
            }
            if of.group is not None:
                record["Groups"] = f"{len(set(of.group[chosen])):,}"
            if of.split is not None:
                for split in sorted(set(of.split)):
                    inside = chosen & (of.split == split)
                    record[f"split {split or '(blank)'}"] = f"{inside.sum():,}"
            records.append(record)
        yield f"Label {column}", pd.DataFrame(records, dtype=str)


def image_table(of: Inspected) -> pd.DataFrame:
    """Kinds, depths, channels and sizes of the images that can be used."""
    usable = [found for found in of.facts if not found.problem]
    records = []
    for what, values in (
        ("file name ends in", [_suffix(found.image) for found in usable]),
        ("pixels", [found.mode for found in usable]),
        ("bits", [str(found.bits) for found in usable]),
        ("channels", [str(found.channels) for found in usable]),
        ("size", [f"{found.width} x {found.height}" for found in usable]),
    ):
        counts = Counter(values).most_common()
        for value, count in counts[:_MOST_LINES]:
            records.append((what, value, f"{count:,}"))
        if len(counts) > _MOST_LINES:
            rest = counts[_MOST_LINES:]
            total = sum(count for _, count in rest)
            records.append((what, f"{len(rest):,} others", f"{total:,}"))
    if usable:
        sides = np.array([(found.width, found.height) for found in usable])
        for what, axis in (("width", 0), ("height", 1)):
            low, middle, high = np.percentile(sides[:, axis], [0, 50, 100])
            text = f"{low:.0f}, {middle:.0f}, {high:.0f}"
            records.append((f"{what}: least, median, most", text, f"{len(usable):,}"))
    return pd.DataFrame(records, columns=["What", "Value", "Images"], dtype=str)


def participant_flow(of: Inspected, equal: ImagePairs) -> pd.DataFrame:
    """From the rows of the manifest to those that can be used, by reason."""
    # What stands in brackets differs from file to file.
    reasons = np.array([found.problem.split(" (")[0] for found in of.facts], object)
    usable = reasons == ""
    steps = [("rows of the manifest", np.ones(len(of), bool))]
    steps += [
        (f"- {reason}", reasons == reason)
        for reason, _ in Counter(reasons[~usable]).most_common()
    ]
    steps.append(("can be used", usable))
    unlabelled = np.zeros(len(of), bool)
    if of.labels:
        unlabelled = np.logical_and.reduce([cells == "" for cells in of.labels.values()])
    copies = np.isin(np.arange(len(of)), equal.second)
    grey = np.array([found.constant for found in of.facts], bool)
    for what, chosen in (
        ("without a label", unlabelled), ("copies of an earlier file", copies),
        ("of one grey", grey),
    ):  # fmt: skip
        if (chosen & usable).any():
            steps.append((f"of these, {what}", chosen & usable))
    records = []
    for what, chosen in steps:
        record = {"Step": what, "Rows": f"{chosen.sum():,}"}
        if of.group is not None:
            record["Groups"] = f"{len(set(of.group[chosen])):,}"
        records.append(record)
    return pd.DataFrame(records, dtype=str)


def _suffix(name: str) -> str:
    return posixpath.splitext(file_name(name))[1].lower() or "(none)"
