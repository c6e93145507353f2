"""Images of a manifest that are copies of each other, and the groups that they tie together."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from remedis_jax.data.depth import deepest
from remedis_jax.data.fingerprints import FINGERPRINT_BYTES, near_pairs
from remedis_jax.data.inspection import inspect_images, unusable
from remedis_jax.data.manifest import Manifest
from remedis_jax.data.reading import Reading
from remedis_jax.data.stores import frame_of

Progress = Callable[[int, int], None]
Pair = tuple[int, int]


def equal_files(manifest: Manifest, progress: Progress | None = None) -> list[Pair]:
    """Images that are the same, byte for byte, under two names.

    Only images of equal size in bytes are read.

    Args:
        manifest: N images.
        progress: Called with (done, total) of those that are read.

    Returns:
        Each copy's position with that of the first of its kind.

    Raises:
        UserError: An image cannot be read.
    """
    store, names = manifest.store, manifest.images
    sizes = [store.size(name) for name in names]
    often = Counter(sizes)
    suspects = [i for i, size in enumerate(sizes) if often[size] > 1]

    def digest(i: int) -> tuple[str, int | None]:
        content = store.read(names[i])
        found = hashlib.sha256()
        if isinstance(content, np.ndarray):
            found.update(f"{content.dtype} {content.shape}".encode())
            content = np.ascontiguousarray(content).data
        found.update(content)
        # Two images of one file of several are no copies of each other.
        return found.hexdigest(), frame_of(names[i])

    pairs, first = [], {}
    with ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as pool:
        for done, (i, key) in enumerate(zip(suspects, pool.map(digest, suspects), strict=True), 1):
            if key in first:
                pairs.append((first[key], i))
            first.setdefault(key, i)
            if progress is not None:
                progress(done, len(suspects))
    return pairs


def similar_images(
    manifest: Manifest, most: int, progress: Progress | None = None
) -> list[Pair]:
    """Pairs of images whose fingerprints differ in `most` bits or fewer.

    Args:
        manifest: N images; each is decoded.
        most: Of 256 bits, see `data.fingerprints.NEAR_DUPLICATE_BITS`.
        progress: Called with (done, total).

    Raises:
        UserError: An image cannot be used.
    """
    # As training reads by default, which then finds the receipts of this.
    reading = Reading(bits=deepest(manifest), reduced=True)
    facts = inspect_images(manifest, reading, progress=progress)
    unusable(manifest, facts, "error", 0.0)
    where = [i for i, found in enumerate(facts) if found.fingerprint]
    data = b"".join(facts[i].fingerprint for i in where)
    prints = np.frombuffer(data, np.uint8).reshape(-1, FINGERPRINT_BYTES)
    pairs, _ = near_pairs(prints, None, most)
    return [(where[a], where[b]) for a, b in pairs.tolist()]


def joined_groups(groups: Sequence[str], pairs: Iterable[Pair]) -> np.ndarray:
    """Groups that share an image become one, under the name of the first of them in sorted order.

    Args:
        groups: Group of each image, [N].
        pairs: Positions of images that belong together.

    Returns:
        Text [N].
    """
    above: dict[str, str] = {}

    def top(group: str) -> str:
        while group in above:
            group = above[group]
        return group

    for a, b in pairs:
        low, high = sorted((top(groups[a]), top(groups[b])))
        if low != high:
            above[high] = low
    return np.array([top(group) for group in groups], object)
