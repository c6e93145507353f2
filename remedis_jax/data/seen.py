"""The leak guard: are patients, files or pictures of a test among what was seen before?

Against weights (`compare`) only hashes are there to be compared with, so nothing of the earlier
images or patients can be named; against other rows (`compare_facts`) both sides are.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from remedis_jax.data.fingerprints import FINGERPRINT_BYTES, NEAR_DUPLICATE_BITS, near_pairs
from remedis_jax.data.inspection import ImageFacts
from remedis_jax.data.leak_parts import Against, Comparison, Kind, Leak
from remedis_jax.data.leaks import LeakFindings as LeakFindings
from remedis_jax.data.leaks import redacted
from remedis_jax.data.messages import SHOWN
from remedis_jax.data.processors import usable_processors
from remedis_jax.data.seen_stages import FILE_BYTES, SeenStage, group_hashes
from remedis_jax.data.seen_stages import Seen as Seen
from remedis_jax.data.seen_stages import after as after
from remedis_jax.data.seen_stages import remember as remember

# Pairs of pictures compared at a time; were all of them alike, their indices would take 800 MB.
_PAIRS = 2**25


def compare(
    seen: Seen | None,
    facts: Iterable[ImageFacts],
    groups: Sequence[str] | None,
    *,
    namespace: str = "",
    name: str = "the evaluation set",
    most: int = NEAR_DUPLICATE_BITS,
) -> LeakFindings:
    """Looks for a set of images among what weights have seen.

    Args:
        seen: From the weights; None where they do not say. Of random weights it is empty, and
            there is nothing to compare with.
        facts: Of the images; those that cannot be used, or are of one grey, are passed over.
        groups: Their patients, in any order; None where no column names them.
        namespace: Who gave out the ids of the patients. Equal ids of different namespaces are
            different patients.
        name: What the set is called in messages.
        most: Pictures whose fingerprints differ in so many bits or fewer count as one; -1 looks
            for equal files only.
    """
    if seen is not None and not seen.stages:
        return LeakFindings()
    judged = _Judged(facts, groups, name, most)
    leaks: list[Leak] = []
    against = []
    for number, stage in enumerate(() if seen is None else seen.stages, start=1):
        place = f"{stage.name!r} (training stage {number})"
        against.append(
            Against(
                place, stage.supervised, stage.images, stage.patients, stage.known, stage.leakage
            )
        )
        leaks += _group_leaks(judged, stage, namespace, place)
        leaks += _image_leaks(judged, _keys(stage.sha256), stage.fingerprints, place, None)
    return LeakFindings(tuple(leaks), (judged.comparison(against),))


def compare_facts(
    facts: Iterable[ImageFacts],
    groups: Sequence[str] | None,
    other_facts: Iterable[ImageFacts],
    other_groups: Sequence[str] | None,
    *,
    name: str,
    most: int = NEAR_DUPLICATE_BITS,
    training: str = "the training rows",
    namespace: str = "",
    other_namespace: str = "",
) -> LeakFindings:
    """Looks for a set of images among others whose facts are at hand.

    Args:
        facts: Of the images that are trained on.
        groups: Their patients, in any order; None where no column names them.
        other_facts: Of the images that judge.
        other_groups: Their patients.
        name: What the images that judge are called in messages.
        most: As for `compare`.
        training: What the images that are trained on are called in messages.
        namespace: Who gave out the ids of `groups`.
        other_namespace: Who gave out those of `other_groups`.
    """
    judged = _Judged(other_facts, other_groups, name, most)
    facts = [found for found in facts if not found.problem]
    own = None if groups is None else set(groups)
    leaks: list[Leak] = []
    if own is not None and judged.groups is not None and namespace == other_namespace:
        leaks += _group_leak(own & judged.groups, name, training)
    files = _keys_of(facts)
    pictures, owners = _pictures_of(facts)
    leaks += _image_leaks(judged, files, pictures, training, (facts, owners))
    against = Against(training, None, len(facts), None if own is None else len(own))
    return LeakFindings(tuple(leaks), (judged.comparison([against]),))


class _Judged:
    """The set of images that is looked for."""

    def __init__(
        self,
        facts: Iterable[ImageFacts],
        groups: Sequence[str] | None,
        name: str,
        most: int,
    ):
        usable = [found for found in facts if not found.problem]
        self.facts = [found for found in usable if not found.constant]
        self.images, self.flat = len(usable), len(usable) - len(self.facts)
        self.groups = None if groups is None else set(groups)
        self.name, self.most = name, most

    def comparison(self, against: Sequence[Against]) -> Comparison:
        groups = None if self.groups is None else len(self.groups)
        bits = 8 * FINGERPRINT_BYTES
        return Comparison(
            self.name, self.images, groups, self.flat, self.most, bits, tuple(against)
        )


def _group_leaks(judged: _Judged, stage: SeenStage, namespace: str, place: str) -> Iterable[Leak]:
    if judged.groups is None or not len(stage.groups):
        return ()
    ids = sorted(judged.groups)
    by_hash = dict(zip(group_hashes(ids, namespace, stage.salt), ids, strict=True))
    # The first half tells nearly all apart at the speed of numpy.
    own = _rows(b"".join(by_hash), stage.groups.shape[1])
    near = stage.groups[np.isin(_keys(stage.groups), _keys(own))]
    shared = {by_hash[row.tobytes()] for row in near if row.tobytes() in by_hash}
    return _group_leak(shared, judged.name, place)


def _group_leak(shared: set[str], name: str, place: str) -> list[Leak]:
    if not shared:
        return []
    first = sorted(shared)[:SHOWN]
    hidden = tuple(redacted(group) for group in first)
    return [Leak("group", name, place, len(shared), tuple(first), hidden)]


def _image_leaks(
    judged: _Judged,
    files: np.ndarray,
    pictures: np.ndarray,
    place: str,
    partners: tuple[list[ImageFacts], list[int]] | None,
) -> list[Leak]:
    """Equal files first; pictures that look the same only of the images that are left.

    Args:
        judged: The images that are looked for.
        files: Keys of the files that were seen, uint64 [N].
        pictures: Fingerprints that were seen, uint8 [M, 32].
        place: Where they were seen.
        partners: Facts of the images that were seen, and for each fingerprint the position of its
            image; None where nothing is known but hashes.
    """
    keys = _keys_of(judged.facts)
    equal = np.flatnonzero(np.isin(keys, files))
    owners: dict[int, ImageFacts] = {}
    if partners is not None and len(equal):
        by_key = {found.sha256[: 2 * FILE_BYTES]: found for found in reversed(partners[0])}
        for index in equal.tolist():
            owners[index] = by_key[judged.facts[index].sha256[: 2 * FILE_BYTES]]
    leaks = _image_leak("file", judged, equal.tolist(), owners, [], place)

    left = np.ones(len(judged.facts), bool)
    left[equal] = False
    own, positions = _pictures_of(judged.facts, left)
    matches = _near(pictures, own, judged.most)
    alike = [positions[index] for index in sorted(matches)]
    distances = [matches[index][1] for index in sorted(matches)]
    owners = {}
    if partners is not None:
        owners = {positions[i]: partners[0][partners[1][j]] for i, (j, _) in matches.items()}
    return leaks + _image_leak("picture", judged, alike, owners, distances, place)


def _image_leak(
    kind: Kind,
    judged: _Judged,
    indices: list[int],
    owners: dict[int, ImageFacts],
    distances: list[int],
    place: str,
) -> list[Leak]:
    if not indices:
        return []
    shown, hidden = [], []
    for number, index in enumerate(indices[:SHOWN]):
        found, owner = judged.facts[index], owners.get(index)
        words, row = f"row {found.row} ({found.image})", f"row {found.row}"
        if owner is not None:
            words += f" = row {owner.row} ({owner.image})"
            row += f" = row {owner.row}"
        if distances:
            words, row = (f"{text}, {distances[number]} bits apart" for text in (words, row))
        shown.append(words)
        hidden.append(row)
    return [Leak(kind, judged.name, place, len(indices), tuple(shown), tuple(hidden))]


def _near(seen: np.ndarray, judged: np.ndarray, most: int) -> dict[int, tuple[int, int]]:
    """For each judged picture that one seen before is near to: index of the latter, and bits."""
    if most < 0 or not len(seen) or not len(judged):
        return {}
    height = max(1, _PAIRS // len(judged))
    found: dict[int, tuple[int, int]] = {}

    def look(top: int) -> list[tuple[int, int, int]]:
        pairs, distances = near_pairs(seen[top : top + height], judged, most)
        # One match of a picture is enough: the nearest of this part.
        order = np.lexsort((pairs[:, 0], distances, pairs[:, 1]))
        pairs, distances = pairs[order], distances[order]
        indices, first = np.unique(pairs[:, 1], return_index=True)
        partners = (pairs[first, 0] + top).tolist()
        return list(zip(indices.tolist(), partners, distances[first].tolist(), strict=True))

    with ThreadPoolExecutor(usable_processors()) as pool:
        for part in pool.map(look, range(0, len(seen), height)):
            for index, partner, bits in part:
                if index not in found or bits < found[index][1]:
                    found[index] = (partner, bits)
    return found


def _keys_of(facts: Sequence[ImageFacts]) -> np.ndarray:
    """The files of images that are not of one grey, as `_keys`."""
    digests = (bytes.fromhex(found.sha256)[:FILE_BYTES] for found in facts if not found.constant)
    return _keys(_rows(b"".join(digests), FILE_BYTES))


def _pictures_of(
    facts: Sequence[ImageFacts], wanted: np.ndarray | None = None
) -> tuple[np.ndarray, list[int]]:
    """Fingerprints, uint8 [M, 32], of the images that have one, and the positions of these."""
    positions = [
        index
        for index, found in enumerate(facts)
        if found.fingerprint and (wanted is None or wanted[index])
    ]
    data = b"".join(facts[index].fingerprint for index in positions)
    return _rows(data, FINGERPRINT_BYTES), positions


def _keys(rows: np.ndarray) -> np.ndarray:
    """The first eight bytes of each row, uint64 [N]."""
    return np.ascontiguousarray(rows[:, :8]).view(np.uint64).reshape(-1)


def _rows(data: bytes, width: int) -> np.ndarray:
    return np.frombuffer(data, np.uint8).reshape(-1, width)
