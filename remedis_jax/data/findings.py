"""What is wrong with a manifest and its images, each thing with its weight and its remedy.

An *error* makes training or its judgement wrong: images that cannot be used, labels that are none,
a patient or an image on both sides of a split, one image with two labels. A *warning* may: copies
under two patients, images of one grey, text burned into the pixels. A *note* is good to know.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from remedis_jax.data.image_pairs import ImagePairs
from remedis_jax.data.inspection import ImageFacts
from remedis_jax.data.leaks import redacted
from remedis_jax.data.manifest import Manifest
from remedis_jax.data.messages import SHOWN, first_few
from remedis_jax.errors import UserError

Weight = Literal["error", "warning", "note"]
WEIGHTS: tuple[Weight, ...] = ("error", "warning", "note")
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


class Inspected:
    """The rows of a manifest with what was found in their images, as they may be shown.

    Args:
        rows: The manifest, or a part of it.
        facts: Of each of its images.
        redact: Show hashes in place of ids, and rows in place of names.

    Attributes:
        group: Patient, case or lesion of each image, object [N]; None where no column names it.
        site: As `group`, as is `split`.
        labels: Column -> cells without spaces around them, object [N].
        by_group: The columns 'split', 'site' and 'label NAME' that there are, indexed by group;
            None where no column names these.
    """

    def __init__(self, rows: Manifest, facts: Sequence[ImageFacts], redact: bool):
        columns = rows.columns
        self.rows, self.facts, self.redact = rows, facts, redact
        self.group, self.site, self.split = (
            rows.column(name) if name else None
            for name in (columns.group, columns.site, columns.split)
        )
        self.labels = {
            name: np.array([str(cell).strip() for cell in rows.column(name)], object)
            for name in columns.labels
        }
        self.by_group: pd.DataFrame | None = None
        if self.group is not None:
            values = {"split": self.split, "site": self.site}
            values |= {f"label {name}": cells for name, cells in self.labels.items()}
            known = {name: cells for name, cells in values.items() if cells is not None}
            self.by_group = pd.DataFrame(known, index=pd.Index(self.group, name="group"))

    def __len__(self) -> int:
        return len(self.rows)

    def image(self, index: int) -> str:
        """What an image is called."""
        row = self.rows.rows[index]
        return f"row {row}" if self.redact else f"row {row} ({self.facts[index].image})"

    def person(self, group: str) -> str:
        """What a patient, case or lesion is called."""
        return redacted(group) if self.redact else group

    def listed(self, indices: Sequence[int]) -> str:
        """The first five images of some, and how many more there are."""
        return shown_of([self.image(int(i)) for i in indices[:SHOWN]], len(indices))

    def different(self, what: str, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Of pairs of images, whether their group, split or labels differ; False where unknown.

        Args:
            what: 'group', 'split' or 'labels'.
            first: Positions, int64 [K].
            second: As `first`.
        """
        values = list(self.labels.values()) if what == "labels" else [getattr(self, what)]
        differ = np.zeros(len(first), bool)
        for cells in values:
            if cells is not None:
                differ |= cells[first] != cells[second]
        return differ

    def harmless(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Of pairs of copies, whether they are of one group, in one split, and of one label."""
        wrong = self.different("split", first, second) | self.different("labels", first, second)
        if self.group is None:
            return np.zeros(len(first), bool)
        return ~(wrong | self.different("group", first, second))


def shown_of(first: Sequence[str], count: int) -> str:
    """The first few of `count` things, and how many more there are."""
    more = count - len(first)
    return ", ".join(first) + (f", and {more:,} more" if more > 0 else "")


def unusable_images(of: Inspected) -> Iterator[Problem]:
    """Images that cannot be decoded, or are refused by a rule."""
    bad = [i for i, found in enumerate(of.facts) if found.problem]
    if bad:
        listed = [f"{of.image(i)}: {of.facts[i].problem}" for i in bad]
        yield Problem(
            "error",
            f"{len(bad):,} of {len(of):,} image(s) cannot be used: {first_few(listed, '; ')}.",
            "Replace the files or leave the rows out; training can skip them (--on-bad-image"
            " skip).",
        )


def wrong_labels(of: Inspected, check: Callable[[Manifest], object]) -> Iterator[Problem]:
    """Label cells that training refuses.

    Args:
        of: The rows.
        check: Raises UserError where it does.
    """
    if of.labels:
        try:
            check(of.rows)
        except UserError as error:
            text = error.problem.removeprefix(f"{of.rows.path}: ")
            yield Problem("error", text, error.remedy)


def crossings(of: Inspected) -> pd.DataFrame:
    """Groups with images of several splits, sites or labels: in which columns they have several.

    Returns:
        Columns as `Inspected.by_group`, bool, indexed by group in sorted order.
    """
    if of.by_group is None:
        return pd.DataFrame()
    named = of.by_group[[bool(str(group).strip()) for group in of.by_group.index]]
    several = named.groupby(level="group", sort=True).nunique() > 1
    return several[several.any(axis=1)]


def crossing_table(of: Inspected, several: pd.DataFrame) -> pd.DataFrame:
    """The same groups with the number of their images and all their values, as text."""
    if of.by_group is None or several.empty:
        return pd.DataFrame(columns=["group", "images"])
    rows = of.by_group[of.by_group.index.isin(several.index)].groupby(level="group", sort=True)
    table = rows.agg(lambda cells: "; ".join(sorted({value or "(blank)" for value in cells})))
    table.insert(0, "images", rows.size())
    table.insert(0, "group", [of.person(group) for group in table.index])
    return table.reset_index(drop=True)


def groups_across(of: Inspected, several: pd.DataFrame) -> Iterator[Problem]:
    """Groups with images of several splits, labels or sites.

    Args:
        of: The rows.
        several: From `crossings`.
    """
    if of.group is None:
        return
    total = len(set(of.group))
    labels = [f"label {name}" for name in of.labels]
    for names, weight, what, remedy in (
        (["split"], "error", "are in several splits",
         "Put all images of a patient, case or lesion into one split (remedis split)."),
        (labels, "note", "have images with different labels", ""),
        (["site"], "note", "have images of several sites", ""),
    ):  # fmt: skip
        part = several[[name for name in names if name in several]]
        found = part.index[part.any(axis=1)]
        if len(found):
            each = ""
            if part.shape[1] > 1:
                counts = part.sum()
                listed = [f"{k.removeprefix('label ')} {n:,}" for k, n in counts.items() if n]
                each = f" ({first_few(listed)})"
            shown = shown_of([of.person(group) for group in found[:SHOWN]], len(found))
            text = f"{len(found):,} of {total:,} group(s) {what}{each}: {shown}."
            yield Problem(weight, text, remedy)


def unnamed_groups(of: Inspected) -> Iterator[Problem]:
    """Rows whose group is empty."""
    if of.group is None:
        return
    try:
        _ = of.rows.groups
    except UserError as error:
        yield Problem("error", error.problem.removeprefix(f"{of.rows.path}: "), error.remedy)


def copies(of: Inspected, pairs: ImagePairs, what: str, *, exact: bool) -> Iterator[Problem]:
    """Images that are copies of each other, by what is wrong with that.

    Args:
        of: The rows.
        pairs: The copies.
        what: What they are, as in 'are equal files'.
        exact: Whether they are equal, and do not only look so.
    """
    apart, differ, strangers = (
        of.different(name, pairs.first, pairs.second) for name in ("split", "labels", "group")
    )
    known = of.group is not None
    for chosen, weight, where, remedy, more in (
        (apart, "error", " and stand in different splits",
         "Delete one of each pair, or put both into one split (remedis split).", 0),
        (differ & ~apart, "error" if exact else "warning", " and have different labels",
         "Find out which label is right; delete the other row.", 0),
        (strangers & ~apart & ~differ, "warning", " without being of one group",
         "Delete copies, or give both the same group.", 0),
        (~(strangers | apart | differ), "note" if known else "warning",
         " within one group" if known else "", "" if known else "Delete copies.", pairs.more),
    ):  # fmt: skip
        found = np.flatnonzero(chosen)
        if not len(found):
            continue
        listed = []
        for i in found[:SHOWN]:
            a, b = of.image(pairs.first[i]), of.image(pairs.second[i])
            listed.append(f"{a} and {b}" if of.redact else f"{a} = {b}")
        count = len(found) + more
        text = f"{count:,} pair(s) of images {what}{where}: {shown_of(listed, count)}."
        yield Problem(weight, text, remedy)
    if not pairs.complete:
        yield Problem(
            "error",
            f"So many pairs of images {what} that the search was ended: what is beyond the first"
            f" {len(pairs):,} is not known.",
            "These images are too much alike to be told apart so; lower --near.",
        )


def pair_table(of: Inspected, pairs: ImagePairs) -> pd.DataFrame:
    """Pairs of copies with `PAIR_COLUMNS`; without names where these are not to be shown."""
    rows, names = of.rows.rows, np.array([found.image for found in of.facts], object)
    if of.redact:
        names[:] = ""

    def words(what: str, known: bool, same: str, other: str) -> np.ndarray:
        differ = of.different(what, pairs.first, pairs.second)
        return np.where(differ, other, same) if known else np.full(len(pairs), "", object)

    values = (
        rows[pairs.first], names[pairs.first], rows[pairs.second], names[pairs.second], pairs.bits,
        words("group", of.group is not None, "yes", "no"),
        words("split", of.split is not None, "one", "two"),
        words("labels", bool(of.labels), "equal", "differ"),
    )  # fmt: skip
    return pd.DataFrame(dict(zip(PAIR_COLUMNS, values, strict=True)))


def remarks(of: Inspected) -> Iterator[Problem]:
    """What is odd about images that can be used."""
    usable = [(i, found) for i, found in enumerate(of.facts) if not found.problem]
    for chosen, weight, what, remedy in (
        ([i for i, f in usable if f.constant], "warning", "are all but of one grey",
         "Leave out what shows nothing."),
        ([i for i, f in usable if f.burned_in], "warning",
         "say that text is burned into their pixels (BurnedInAnnotation)",
         "A name in the pixels stays in the pixels: de-identify them first."),
        ([i for i, f in usable if f.bits > 8], "note", "have more than 8 bits",
         "They keep them until the crop, unless data.bits=8."),
        ([i for i, f in usable if f.frames > 1], "note", "are of files of several images", ""),
    ):  # fmt: skip
        if chosen:
            yield Problem(weight, f"{len(chosen):,} image(s) {what}: {of.listed(chosen)}.", remedy)
