"""Pairs of images that are copies of each other: equal files, and pictures that look the same.

Images that cannot be used, and those of one grey, are copies of nothing.
"""

import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from remedis_jax.data.fingerprints import FINGERPRINT_BYTES, near_pairs
from remedis_jax.data.inspection import ImageFacts
from remedis_jax.data.processors import usable_processors

# ours: more of them nobody reads, and they fit into memory.
MOST_PAIRS = 100_000
# ours: pairs that a thread compares at a time; were all of them alike, they would take 100 MB.
_COMPARED = 2**22

Harmless = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class ImagePairs:
    """Pairs of images that are copies of each other.

    Attributes:
        first: Positions in the facts, int64 [K].
        second: As `first`, each larger.
        bits: In how many bits the fingerprints of each pair differ, int64 [K].
        more: Harmless pairs that are not among these.
        complete: Whether there are no others that matter.
    """

    first: np.ndarray
    second: np.ndarray
    bits: np.ndarray
    more: int = 0
    complete: bool = True

    def __len__(self) -> int:
        return len(self.first)


def equal_pairs(facts: Sequence[ImageFacts]) -> ImagePairs:
    """Equal files: each of them with the first of its kind."""
    first: dict[str, int] = {}
    pairs = []
    for index, found in enumerate(facts):
        if _comparable(found):
            earlier = first.setdefault(found.sha256, index)
            if earlier != index:
                pairs.append((earlier, index))
    a, b = np.array(pairs, np.int64).reshape(-1, 2).T
    return ImagePairs(a, b, np.zeros_like(a))


def similar_pairs(
    facts: Sequence[ImageFacts], most: int, harmless: Harmless, *, limit: int = MOST_PAIRS
) -> ImagePairs:
    """Pictures whose fingerprints differ in few bits; of equal files only the first takes part.

    Args:
        facts: Of N images.
        most: Bits in which they differ at most; -1 for no pair.
        harmless: Says of pairs, given as two arrays of positions, which do no harm. A clip of 100
            frames that hardly differ has 4,950 of them.
        limit: Harmless pairs beyond so many are only counted. Beyond so many others the search
            ends, since then `most` tells these images apart no more.
    """
    distinct: dict[str, int] = {}
    for index, found in enumerate(facts):
        if found.fingerprint and _comparable(found):
            distinct.setdefault(found.sha256, index)
    places = np.fromiter(distinct.values(), np.int64, len(distinct))
    data = b"".join(facts[index].fingerprint for index in distinct.values())
    hashes = np.frombuffer(data, np.uint8).reshape(-1, FINGERPRINT_BYTES)
    height = max(1, _COMPARED // max(1, len(hashes)))

    def look(top: int) -> tuple[np.ndarray, np.ndarray]:
        pairs, bits = near_pairs(hashes[top : top + height], hashes[top:], most)
        once = pairs[:, 0] < pairs[:, 1]
        return places[pairs[once] + top], bits[once]

    kept = [(np.zeros((0, 2), np.int64), np.zeros(0, np.int64))]
    counts = {True: 0, False: 0}
    workers = usable_processors()
    tops = range(0, len(hashes), height)
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(tops), workers):
            for pairs, bits in pool.map(look, tops[start : start + workers]):
                mild = harmless(pairs[:, 0], pairs[:, 1])
                for kind in (True, False):
                    chosen = np.flatnonzero(mild == kind)
                    chosen_few = chosen[: max(0, limit - counts[kind])]
                    kept.append((pairs[chosen_few], bits[chosen_few]))
                    counts[kind] += len(chosen)
            if counts[False] > limit:
                break
    pairs, bits = (np.concatenate(parts) for parts in zip(*kept, strict=True))
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return ImagePairs(
        *pairs[order].T, bits[order], max(0, counts[True] - limit), counts[False] <= limit
    )


def _comparable(found: ImageFacts) -> bool:
    return bool(found.sha256) and not found.problem and not found.constant
