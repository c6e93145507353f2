"""Splits by patient that spread several labels at once over all parts.

Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011, "On the Stratification of
Multi-Label Data", ECML PKDD, algorithm 1): the rarest label that is left is dealt out first, each
of its examples to the part that lacks most of it. Here the examples are groups (patients), which
have a label if one of their images has it; and what the algorithm leaves to chance is the order of
SHA-256(seed, group), as in `data.splits`, so that a seed gives the same split on every machine.
The package iterative-stratification knows no groups.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from remedis_jax.data.splits import check_fractions, indices_of, refuse_empty_parts, seeded_order


def split_by_labels(
    groups: Sequence[str],
    positive: np.ndarray,
    fractions: Mapping[str, float],
    seed: int,
) -> dict[str, np.ndarray]:
    """Splits images so that no group is in two parts and every label is spread over all parts.

    Args:
        groups: Group of each image, [N].
        positive: Whether an image has a label, bool [N, L]; it may have several or none.
        fractions: Share of the groups by name of the part; they add up to 1.
        seed: Another seed gives another split.

    Returns:
        By name of the part, sorted indices of its images, int64. Together they are 0..N-1.

    Raises:
        UserError: The fractions are not positive or do not add up to 1, or a part gets no group.
    """
    check_fractions(fractions)
    names, index = np.unique(np.asarray(groups, str), return_inverse=True)
    has = np.stack([np.bincount(index[column], minlength=len(names)) > 0 for column in positive.T])
    place = {name: i for i, name in enumerate(names)}
    order = np.array([place[name] for name in seeded_order(names.tolist(), seed)], np.int64)
    chosen = _deal(has[:, order], list(fractions.values()))
    parts = {
        name: set(names[order[chosen == part]].tolist()) for part, name in enumerate(fractions)
    }
    refuse_empty_parts(parts)
    return {name: indices_of(members, groups) for name, members in parts.items()}


def _deal(has: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """The part of each group, int64 [G], for labels bool [L, G] of groups in their order."""
    labels, count = has.shape
    labels_of = [np.flatnonzero(column).tolist() for column in has.T]
    # What each part still lacks: of groups at all, and of groups with each label.
    lacks = [share * count for share in shares]
    lacks_of = [[share * int(n) for share in shares] for n in has.sum(axis=1)]
    left = has.sum(axis=1)
    chosen = np.full(count, -1, np.int64)

    def put(group: int, wish: Sequence[float]) -> None:
        # The most lacking of the label; of equals the one that lacks most groups; then the first.
        part = max(range(len(shares)), key=lambda p: (round(wish[p], 9), round(lacks[p], 9), -p))
        chosen[group] = part
        lacks[part] -= 1
        for label in labels_of[group]:
            lacks_of[label][part] -= 1
            left[label] -= 1

    while left.any():
        rarest = min(np.flatnonzero(left).tolist(), key=lambda label: (left[label], label))
        for group in np.flatnonzero(has[rarest] & (chosen < 0)).tolist():
            put(group, lacks_of[rarest])
    for group in np.flatnonzero(chosen < 0).tolist():
        put(group, lacks)
    return chosen
