"""A manifest is examined before anything is trained on it."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence

import pandas as pd

from remedis_jax.data.census import census
from remedis_jax.data.findings import (
    WEIGHTS,
    Inspected,
    Weight,
    copies,
    crossing_table,
    crossings,
    groups_across,
    pair_table,
    remarks,
    unnamed_groups,
    unusable_images,
    wrong_labels,
)
from remedis_jax.data.findings import Problem as Problem
from remedis_jax.data.image_pairs import ImagePairs, equal_pairs, similar_pairs
from remedis_jax.data.inspection import ImageFacts
from remedis_jax.data.manifest import Manifest
from remedis_jax.data.seen import compare_facts
from remedis_jax.errors import UserError

Other = tuple[Manifest, Sequence[ImageFacts]]


@dataclasses.dataclass(frozen=True, eq=False)
class Examination:
    """What was found in a manifest.

    Attributes:
        rows: What was examined.
        facts: Of each of its images.
        problems: Errors first.
        tables: Title -> table of text, in the order of a report.
        duplicates: Pairs of equal files, `findings.PAIR_COLUMNS`.
        near_duplicates: Pairs of pictures that look the same and are not equal, likewise.
        groups: Groups with images of several splits, sites or labels.
        most: The bits in which the fingerprints of near-duplicates differ at most.
        redact: Whether ids and names are left out.
        compared: What was compared with other manifests, a sentence each.
    """

    rows: Manifest
    facts: Sequence[ImageFacts]
    problems: tuple[Problem, ...]
    tables: dict[str, pd.DataFrame]
    duplicates: pd.DataFrame
    near_duplicates: pd.DataFrame
    groups: pd.DataFrame
    most: int
    redact: bool = False
    compared: tuple[str, ...] = ()

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
    against: Iterable[Other] = (),
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
    of = Inspected(rows, facts, redact)
    equal, near = equal_pairs(facts), similar_pairs(facts, most, of.harmless)
    several = crossings(of)
    others = [_compared(of, other, most) for other in against]
    problems = [
        *unusable_images(of),
        *wrong_labels(of, check_labels),
        *unnamed_groups(of),
        *groups_across(of, several),
        *_copies(of, equal, near, most),
        *(problem for found, _ in others for problem in found),
        *remarks(of),
    ]
    problems.sort(key=lambda problem: WEIGHTS.index(problem.weight))
    return Examination(
        rows, facts, tuple(problems), census(of, equal), pair_table(of, equal),
        pair_table(of, near), crossing_table(of, several), most, redact,
        tuple(sentence for _, sentence in others),
    )  # fmt: skip


def _copies(of: Inspected, equal: ImagePairs, near: ImagePairs, most: int) -> Iterator[Problem]:
    yield from copies(of, equal, "are equal files", exact=True)
    alike = f"look the same (fingerprints differ in {most} or fewer of 256 bits)"
    yield from copies(of, near, alike, exact=False)


def _compared(of: Inspected, other: Other, most: int) -> tuple[list[Problem], str]:
    """What is wrong with another manifest beside this one, and what was compared."""
    others, facts = other
    problems = []
    bad = sum(bool(found.problem) for found in facts)
    if bad:
        problems.append(
            Problem(
                "error",
                f"{bad:,} of {len(others):,} image(s) of {others.path} cannot be used, and were not"
                " compared.",
                f"Look at them first: remedis check-data {others.path}.",
            )
        )
    found = compare_facts(
        of.facts, None if of.group is None else list(of.group),
        facts, None if others.columns.group is None else list(others.groups),
        name=str(others.path), most=most, training=str(of.rows.path),
    )  # fmt: skip
    try:
        found.raise_if_any(redact=of.redact)
    except UserError as error:
        text = error.problem.removeprefix("Leakage: ")
        problems.append(Problem("error", text, "Take them out of one of the two."))
    shared = {(leak.judged, leak.stage) for leak in found.leaks}
    return problems, " ".join(entry.sentence(shared) for entry in found.comparisons)
