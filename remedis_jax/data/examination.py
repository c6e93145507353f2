"""What is right and wrong with a manifest and its images, before anything is trained on them.

Three weights of problem. An *error* makes training or its judgement wrong: images that cannot be
used, labels that are none, a patient or an image on both sides of a split, one image with two
labels. A *warning* may: copies within a split, images of one grey, text burned into the pixels. A
*note* is good to know.
"""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from remedis_jax.data.fingerprints import FINGERPRINT_BYTES, near_pairs
from remedis_jax.data.inspection import ImageFacts
from remedis_jax.data.leaks import redacted
from remedis_jax.data.manifest import Manifest
from remedis_jax.data.messages import first_few
from remedis_jax.data.seen import compare_facts
from remedis_jax.errors import UserError

Weight = Literal["error", "warning", "note"]
PAIR_COLUMNS = (
    "row", "image", "other row", "other image", "bits", "same group", "splits", "labels",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something that was found.

    Attributes:
        weight: See this module.
        text: One sentence, with a count and the first five cases.
        remedy: What to do about it.
    """

    weight: Weight
    text: str
    remedy: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Examination:
    """What was found in a manifest.

    Attributes:
        rows: What was examined.
        facts: Of each of its images.
        problems: Errors first.
        tables: Title -> table of text, in the order of a report.
        duplicates: Pairs of equal files, `PAIR_COLUMNS`.
        near_duplicates: Pairs of pictures that look the same and are not equal, `PAIR_COLUMNS`.
        most: The bits in which they differ at most.
    """

    rows: Manifest
    facts: Sequence[ImageFacts]
    problems: tuple[Problem, ...]
    tables: dict[str, pd.DataFrame]
    duplicates: pd.DataFrame
    near_duplicates: pd.DataFrame
    most: int

    def of(self, weight: Weight) -> list[Problem]:
        """The problems of one weight."""
        return [problem for problem in self.problems if problem.weight == weight]


def examine(
    rows: Manifest,
    facts: Sequence[ImageFacts],
    *,
    most: int,
    redact: bool = False,
    check_labels: Callable[[Manifest], object] = lambda rows: None,
    against: Iterable[tuple[Manifest, Sequence[ImageFacts]]] = (),
) -> Examination:
    """Examines a manifest whose images have been inspected.

    Args:
        rows: The manifest, or a part of it.
        facts: From `inspection.inspect_images`.
        most: Pictures whose fingerprints differ in so many bits or fewer are near-duplicates; -1
            to look for none.
        redact: Show hashes in place of ids, and rows in place of names.
        check_labels: Raises UserError where the label cells are not what training takes.
        against: Other manifests that must share nothing with this one, such as the unlabelled pool
            of a test set, with their facts.
    """
    look = _Look(rows, facts, redact)
    duplicates = look.pairs(_equal_pairs(facts))
    near = look.pairs(_near_pairs(facts, most))
    problems = [
        *look.unusable(),
        *look.labels(check_labels),
        *look.groups(),
        *look.copies(duplicates, near, most),
        *look.remarks(),
    ]
    for other, other_facts in against:
        groups = None if other.columns.group is None else list(other.groups)
        own = None if rows.columns.group is None else list(rows.groups)
        found = compare_facts(
            facts, own, other_facts, groups, name=str(other.path), most=most,
            training=str(rows.path),
        )  # fmt: skip
        try:
            found.raise_if_any(redact=redact)
        except UserError as error:
            problems.append(Problem("error", error.problem, "Take them out of one of the two."))
    order = {"error": 0, "warning": 1, "note": 2}
    problems.sort(key=lambda problem: order[problem.weight])
    tables = {
        "Overview": look.overview(),
        **look.label_tables(),
        "Images": look.image_table(),
        "Participant flow": look.flow(duplicates),
    }
    return Examination(rows, facts, tuple(problems), tables, duplicates, near, most)


def _equal_pairs(facts: Sequence[ImageFacts]) -> list[tuple[int, int, int]]:
    """(first, other, 0 bits) of equal files: each other one with the first of its kind."""
    first: dict[str, int] = {}
    pairs = []
    for index, found in enumerate(facts):
        if found.sha256:
            earlier = first.setdefault(found.sha256, index)
            if earlier != index:
                pairs.append((earlier, index, 0))
    return pairs


def _near_pairs(facts: Sequence[ImageFacts], most: int) -> list[tuple[int, int, int]]:
    """(first, second, bits) of pictures that look the same, of each equal file only the first."""
    distinct: dict[str, int] = {}
    for index, found in enumerate(facts):
        if found.fingerprint:
            distinct.setdefault(found.sha256, index)
    positions = list(distinct.values())
    data = b"".join(facts[index].fingerprint for index in positions)
    hashes = np.frombuffer(data, np.uint8).reshape(-1, FINGERPRINT_BYTES)
    pairs, bits = near_pairs(hashes, None, most)
    return [
        (positions[a], positions[b], distance)
        for (a, b), distance in zip(pairs.tolist(), bits.tolist(), strict=True)
    ]


class _Look:
    """One manifest under examination."""

    def __init__(self, rows: Manifest, facts: Sequence[ImageFacts], redact: bool):
        self.manifest, self.facts, self.redact = rows, facts, redact
        columns = rows.columns
        self.n = len(rows)
        self.split = rows.column(columns.split) if columns.split else None
        self.site = rows.column(columns.site) if columns.site else None
        self.group = rows.groups if columns.group else None
        cells = [rows.column(name) for name in columns.labels]
        self.label = [
            tuple(str(cell).strip() for cell in row) for row in zip(*cells, strict=True)
        ] or None  # fmt: skip

    # --- Names as they may be shown ---

    def image(self, index: int) -> str:
        row = self.manifest.rows[index]
        return f"row {row}" if self.redact else f"row {row} ({self.facts[index].image})"

    def person(self, group: str) -> str:
        return redacted(group) if self.redact else group

    def pairs(self, found: list[tuple[int, int, int]]) -> pd.DataFrame:
        """Pairs as a table."""
        rows = self.manifest.rows
        records = [
            (
                rows[a], "" if self.redact else self.facts[a].image,
                rows[b], "" if self.redact else self.facts[b].image,
                bits,
                self._same(self.group, a, b, ("yes", "no")),
                self._same(self.split, a, b, ("one", "two")),
                self._same(self.label, a, b, ("equal", "differ")),
            )
            for a, b, bits in found
        ]  # fmt: skip
        return pd.DataFrame(records, columns=list(PAIR_COLUMNS))

    @staticmethod
    def _same(values: Sequence | None, a: int, b: int, words: tuple[str, str]) -> str:
        return "" if values is None else words[values[a] != values[b]]

    # --- Problems ---

    def unusable(self) -> list[Problem]:
        bad = [i for i, found in enumerate(self.facts) if found.problem]
        if not bad:
            return []
        listed = [f"{self.image(i)}: {self.facts[i].problem}" for i in bad]
        return [
            Problem(
                "error",
                f"{len(bad):,} of {self.n:,} image(s) cannot be used: {first_few(listed, '; ')}.",
                "Replace the files or leave the rows out; training can skip them "
                "(--on-bad-image skip).",
            )
        ]

    def labels(self, check: Callable[[Manifest], object]) -> list[Problem]:
        if self.label is None:
            return []
        try:
            check(self.manifest)
        except UserError as error:
            text = error.problem.removeprefix(f"{self.manifest.path}: ")
            return [Problem("error", text, error.remedy)]
        return []

    def groups(self) -> list[Problem]:
        if self.group is None:
            return []
        problems = []
        for values, weight, what, remedy in (
            (self.split, "error", "are in several splits",
             "Put all images of a patient, case or lesion into one split (remedis split)."),
            (self.label, "note", "have images with different labels", ""),
            (self.site, "note", "have images of several sites", ""),
        ):  # fmt: skip
            if values is None:
                continue
            found = defaultdict(set)
            for group, value in zip(self.group, values, strict=True):
                found[group].add(value)
            several = sorted(group for group, kinds in found.items() if len(kinds) > 1)
            if several:
                shown = first_few([self.person(group) for group in several])
                text = f"{len(several):,} of {len(found):,} group(s) {what}: {shown}."
                problems.append(Problem(weight, text, remedy))
        return problems

    def copies(self, equal: pd.DataFrame, near: pd.DataFrame, most: int) -> list[Problem]:
        problems = []
        alike = f"look the same (fingerprints differ in {most} or fewer of 256 bits)"
        for pairs, what in ((equal, "are equal files"), (near, alike)):
            apart = pairs["splits"] == "two"
            differ = (pairs["labels"] == "differ") & ~apart
            strangers = (pairs["same group"] != "yes") & ~apart & ~differ
            relatives = ~apart & ~differ & ~strangers
            exact = pairs is equal
            for chosen, weight, where, remedy in (
                (apart, "error", "and stand in different splits",
                 "Delete one of each pair, or put both into one split (remedis split)."),
                (differ, "error" if exact else "warning", "and have different labels",
                 "Find out which label is right; delete the other row."),
                (strangers, "warning", "without being of one group",
                 "Delete copies, or give both the same group."),
                (relatives, "note", "within one group", ""),
            ):  # fmt: skip
                part = pairs[chosen]
                if part.empty:
                    continue
                listed = [
                    f"rows {a} and {b}" if self.redact else f"row {a} ({x}) = row {b} ({y})"
                    for a, x, b, y in part.iloc[:5, :4].itertuples(index=False)
                ]
                more = len(part) - len(listed)
                shown = ", ".join(listed) + (f", and {more:,} more" if more else "")
                text = f"{len(part):,} pair(s) of images {what} {where}: {shown}."
                problems.append(Problem(weight, text, remedy))
        return problems

    def remarks(self) -> list[Problem]:
        problems = []
        usable = [(i, found) for i, found in enumerate(self.facts) if not found.problem]
        for chosen, weight, what, remedy in (
            ([i for i, f in usable if f.constant], "warning", "are all but of one grey",
             "Look at them (contact sheets), and leave out what shows nothing."),
            ([i for i, f in usable if f.burned_in], "warning",
             "say that text is burned into their pixels (BurnedInAnnotation)",
             "A name in the pixels stays in the pixels: de-identify them first."),
            ([i for i, f in usable if f.bits > 8], "note", "have more than 8 bits",
             "They keep them until the crop, unless data.bits=8."),
            ([i for i, f in usable if f.frames > 1], "note", "hold several frames or pages", ""),
        ):  # fmt: skip
            if chosen:
                shown = first_few([self.image(i) for i in chosen[:6]][:5])
                more = f", and {len(chosen) - 5:,} more" if len(chosen) > 5 else ""
                text = f"{len(chosen):,} image(s) {what}: {shown}{more}."
                problems.append(Problem(weight, text, remedy))
        return problems

    # --- Tables ---

    def overview(self) -> pd.DataFrame:
        """Rows and groups of every split and site."""
        parts: list[tuple[str, np.ndarray]] = [("all", np.ones(self.n, bool))]
        for what, values in (("split", self.split), ("site", self.site)):
            if values is not None:
                for value in sorted(set(values)):
                    parts.append((f"{what} {value or '(blank)'}", values == value))
        records = []
        for name, chosen in parts:
            record = {"Part": name, "Rows": f"{chosen.sum():,}"}
            if self.group is not None:
                sizes = Counter(self.group[chosen])
                record["Groups"] = f"{len(sizes):,}"
                record["Rows per group, most"] = f"{max(sizes.values()):,}"
            bad = sum(bool(f.problem) for f, c in zip(self.facts, chosen, strict=True) if c)
            records.append(record | {"Unusable": f"{bad:,}"})
        return pd.DataFrame(records, dtype=str)

    def label_tables(self) -> dict[str, pd.DataFrame]:
        """Rows and groups of every value of every label column."""
        columns = self.manifest.columns.labels
        tables = {}
        for column in columns:
            cells = np.array([str(cell).strip() for cell in self.manifest.column(column)], object)
            records = []
            for value in sorted(set(cells)):
                chosen = cells == value
                record = {column: value or "(blank)", "Rows": f"{chosen.sum():,}",
                          "Share": f"{chosen.mean():.1%}"}  # fmt: skip
                if self.group is not None:
                    record["Groups"] = f"{len(set(self.group[chosen])):,}"
                if self.split is not None:
                    for split in sorted(set(self.split)):
                        record[split or "(blank)"] = f"{(chosen & (self.split == split)).sum():,}"
                records.append(record)
            tables[f"Label {column}"] = pd.DataFrame(records, dtype=str)
        return tables

    def image_table(self) -> pd.DataFrame:
        """Kinds, depths, channels and sizes of the images."""
        usable = [found for found in self.facts if not found.problem]
        records = []
        for what, values in (
            ("pixels", [found.mode for found in usable]),
            ("bits", [str(found.bits) for found in usable]),
            ("channels", [str(found.channels) for found in usable]),
            ("size", [f"{found.width} x {found.height}" for found in usable]),
        ):
            counts = Counter(values).most_common()
            for value, count in counts[:5]:
                records.append((what, value, f"{count:,}"))
            if len(counts) > 5:
                rest = sum(count for _, count in counts[5:])
                records.append((what, f"{len(counts) - 5:,} others", f"{rest:,}"))
        if usable:
            sides = np.array([(found.width, found.height) for found in usable])
            for what, axis in (("width", 0), ("height", 1)):
                low, middle, high = np.percentile(sides[:, axis], [0, 50, 100])
                text = f"{low:.0f}, {middle:.0f}, {high:.0f}"
                records.append((what, "least, median, most", text))
        return pd.DataFrame(records, columns=["What", "Value", "Images"], dtype=str)

    def flow(self, equal: pd.DataFrame) -> pd.DataFrame:
        """From the rows of the manifest to those that can be used, by reason."""
        kept = np.ones(self.n, bool)
        records = [self._flow_row("rows of the manifest", kept)]
        reasons = Counter(found.problem.split(" (")[0] for found in self.facts if found.problem)
        for reason, _ in reasons.most_common():
            out = np.array([found.problem.split(" (")[0] == reason for found in self.facts])
            records.append(self._flow_row(f"- {reason}", out))
            kept &= ~out
        records.append(self._flow_row("can be used", kept))
        if len(equal):
            copy = np.isin(self.manifest.rows, equal["other row"])
            records.append(self._flow_row("of these, copies of an earlier row", kept & copy))
        grey = np.array([found.constant for found in self.facts])
        if grey.any():
            records.append(self._flow_row("of these, of one grey", kept & grey))
        return pd.DataFrame(records, dtype=str)

    def _flow_row(self, what: str, chosen: np.ndarray) -> dict[str, str]:
        record = {"Step": what, "Rows": f"{chosen.sum():,}"}
        if self.group is not None:
            record["Groups"] = f"{len(set(self.group[chosen])):,}"
        return record
