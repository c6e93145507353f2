"""Splits and label fractions by patient, and the guard against leaks.

The order of the groups within a stratum is the order of SHA-256(seed, group id). It depends on
neither the order of the rows nor the version of a random generator, so the same seed gives the
same split on every machine. scikit-learn's splitters are not used here because none of them draws
nested subsets by group and stratum.
"""

import hashlib
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from remedis_jax.data.messages import first_few
from remedis_jax.errors import UserError


def group_strata(groups: Sequence[str], strata: Sequence[Hashable]) -> dict[str, Hashable]:
    """The label of each group.

    Binary labels (all of them 0 or 1, as number or text): the maximum, because a patient with one
    positive image is a positive patient. Otherwise the most frequent; of equally frequent ones
    the first in sorted order.

    Args:
        groups: Group of each image, [N].
        strata: Label of each image, [N].

    Returns:
        Label by group, in sorted order of the groups.

    Raises:
        UserError: A label is nan.
    """
    if missing := sum(stratum != stratum for stratum in strata):
        raise UserError(
            f"{missing:,} image(s) have no label (nan) to stratify by.",
            "Choose a label that all images have, or leave the others out.",
        )
    by_group: dict[str, list[Hashable]] = {}
    for group, stratum in zip(groups, strata, strict=True):
        by_group.setdefault(group, []).append(stratum)
    binary = {str(stratum) for stratum in strata} <= {"0", "1", "0.0", "1.0"}
    most = max if binary else lambda found: Counter(sorted(found)).most_common(1)[0][0]
    return {group: most(by_group[group]) for group in sorted(by_group)}


def split_by_group(
    groups: Sequence[str],
    strata: Sequence[Hashable] | None,
    fractions: Mapping[str, float],
    seed: int,
) -> dict[str, np.ndarray]:
    """Splits images so that no group is in two parts and every label is spread over all parts.

    Within each stratum the groups are cut at the cumulative fractions, to the nearest group.

    Args:
        groups: Group of each image, [N].
        strata: Label of each image, [N], see `group_strata`; None to split without labels.
        fractions: Share of the groups by name of the part; they add up to 1.
        seed: Another seed gives another split.

    Returns:
        By name of the part, sorted indices of its images, int64. Together they are 0..N-1.

    Raises:
        UserError: The fractions are not positive or do not add up to 1, or a part gets no group.
    """
    check_fractions(fractions)
    parts: dict[str, set[str]] = {name: set() for name in fractions}
    for members in _ordered_groups(groups, strata, seed).values():
        start, cumulative = 0, 0.0
        for name, fraction in fractions.items():
            cumulative += fraction
            stop = _nearest(cumulative * len(members))
            parts[name].update(members[start:stop])
            start = stop
    refuse_empty_parts(parts)
    return {name: indices_of(members, groups) for name, members in parts.items()}


def check_fractions(fractions: Mapping[str, float]) -> None:
    """Refuses fractions of a split that are not positive or do not add up to 1."""
    if min(fractions.values(), default=0) <= 0 or abs(sum(fractions.values()) - 1) > 1e-6:
        raise UserError(
            f"the split fractions {dict(fractions)} are not positive numbers that add up to 1.",
            "Correct them, for example train=0.7, validation=0.1, test=0.2.",
        )


def refuse_empty_parts(parts: Mapping[str, set[str]]) -> None:
    """Refuses a split of which a part got no group; `parts` are the groups of each."""
    empty = [name for name, members in parts.items() if not members]
    if empty:
        raise UserError(
            f"the split leaves no group for {', '.join(map(repr, empty))}: there are"
            f" {sum(map(len, parts.values())):,} groups.",
            "Enlarge that fraction, or add data.",
        )


def nested_subsets(
    groups: Sequence[str],
    strata: Sequence[Hashable],
    fractions: Sequence[float],
    seed: int,
) -> dict[float, np.ndarray]:
    """Draws label fractions: the 10% are among the 25%, with all images of each patient drawn.

    Of each stratum the first ``round(fraction * groups)`` groups of one seeded order are taken.

    Args:
        groups: Group of each image, [N].
        strata: Label of each image, [N], see `group_strata`.
        fractions: Shares of the groups, in (0, 1].
        seed: Another seed draws other patients.

    Returns:
        By fraction, ascending, sorted indices of its images, int64. `split_counts` reports how
        many these are; a fraction of few patients can only be met to the nearest patient.

    Raises:
        UserError: A fraction is not in (0, 1], or the smallest holds no patient, or no image, of
            some class.
    """
    wanted = sorted(set(fractions))
    if not wanted or wanted[0] <= 0 or wanted[-1] > 1:
        raise UserError(
            f"the label fractions {list(fractions)} are not all above 0 and up to 1.",
            "Correct them, for example 0.1, 0.25, 0.5, 1.0.",
        )
    ordered = _ordered_groups(groups, strata, seed)
    for stratum, members in ordered.items():
        if _nearest(wanted[0] * len(members)) == 0:
            raise UserError(
                f"the fraction {wanted[0]:g} of the {len(members):,} group(s) with label"
                f" '{stratum}' is no group.",
                f"The smallest fraction that holds one is {0.5 / len(members):.3g}.",
            )
    subsets = {}
    for fraction in wanted:
        chosen: set[str] = set()
        for members in ordered.values():
            chosen.update(members[: _nearest(fraction * len(members))])
        subsets[fraction] = indices_of(chosen, groups)
    lacking = set(strata) - {strata[i] for i in subsets[wanted[0]]}
    if lacking:
        raise UserError(
            f"the fraction {wanted[0]:g} holds no image with label"
            f" {first_few([str(stratum) for stratum in sorted(lacking)])}, which is the main label"
            " of too few groups.",
            "Enlarge the smallest fraction, or draw with another seed.",
        )
    return subsets


def split_counts(
    parts: Mapping[Hashable, np.ndarray], groups: Sequence[str], strata: Sequence[Hashable]
) -> pd.DataFrame:
    """Reports what a split or a set of label fractions holds.

    Args:
        parts: Indices of the images by part, as from `split_by_group` or `nested_subsets`.
        groups: Group of each image, [N].
        strata: Label of each image, [N].

    Returns:
        One row per part: 'images', 'groups', and 'groups with LABEL' for each label.
    """
    label = group_strata(groups, strata)
    rows = {}
    for part, indices in parts.items():
        members = {groups[i] for i in indices}
        counts = Counter(label[group] for group in members)
        rows[part] = {"images": len(indices), "groups": len(members)} | {
            f"groups with {stratum}": counts[stratum] for stratum in sorted(set(label.values()))
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def assert_disjoint_groups(
    groups_by_split: Mapping[str, Sequence[str]], *, redact: bool = False
) -> None:
    """Refuses data in which a patient is in two splits.

    Args:
        groups_by_split: Groups of the images of each split.
        redact: Show the start of the SHA-256 of an id in place of the id.

    Raises:
        UserError: Two splits share groups: how many, and the first five.
    """

    def shown(group: str) -> str:
        return f"sha256:{hashlib.sha256(group.encode()).hexdigest()[:12]}" if redact else group

    for first, second, shared in _overlaps(groups_by_split):
        raise UserError(
            f"{len(shared):,} group(s) are in two splits, {first!r} and {second!r}:"
            f" {first_few([shown(group) for group in sorted(shared)])}.",
            "Put all images of a patient, case or lesion into one split.",
        )


def _overlaps(parts: Mapping[str, Iterable[str]]) -> Iterator[tuple[str, str, set[str]]]:
    """Yields (first, second, shared members) for each two parts that overlap."""
    names = list(parts)
    members = {name: set(parts[name]) for name in names}
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            if shared := members[first] & members[second]:
                yield first, second, shared


def _ordered_groups(
    groups: Sequence[str], strata: Sequence[Hashable] | None, seed: int
) -> dict[Hashable, list[str]]:
    """The groups of each stratum in their seeded order; strata in sorted order."""
    label = group_strata(groups, [0] * len(groups) if strata is None else strata)
    ordered: dict[Hashable, list[str]] = {stratum: [] for stratum in sorted(set(label.values()))}
    for group in seeded_order(label, seed):
        ordered[label[group]].append(group)
    return ordered


def seeded_order(groups: Iterable[str], seed: int) -> list[str]:
    """Groups in the order of SHA-256(seed, group), whatever order they come in."""
    return sorted(groups, key=lambda group: hashlib.sha256(f"{seed}:{group}".encode()).digest())


def _nearest(count: float) -> int:
    # Halves go up; the small term keeps 0.7 * 10 + 0.3 * 10 from falling short of a half.
    return int(np.floor(count + 0.5 + 1e-9))


def indices_of(members: set[str], groups: Sequence[str]) -> np.ndarray:
    """Where the images of some groups stand, int64, in order."""
    return np.array([i for i, group in enumerate(groups) if group in members], np.int64)
