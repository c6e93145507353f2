"""What an image looks like, in 256 bits that survive another name, another format, another size.

A perceptual hash of the kind called pHash (Zauner 2010, "Implementation and Benchmarking of
Perceptual Image Hash Functions"): the image is brought to 64 x 64 pixels of grey, and of the 255
lowest frequencies of its cosine transform after the mean each bit says whether it is above their
median.

The usual 64 bits do not tell medical images apart: dermoscopies of different lesions share all of
them, and chest X-rays of different patients all but 4, which is where re-encoded copies lie. Of 256
bits (`benchmarks/fingerprints.py` prints the table, docs/data_checks.md keeps it):

* the nearest images of different patients or lesions differ in 42 bits or more (6,954 dermoscopies
  of 96 pixels), 52 (1,000 chest X-rays of 128 pixels), 30 (the demo's generated films, 32 pixels);
* copies differ in 20 or less in 99 of 100 cases: re-encoded as JPEG of quality 95 or 75, resized to
  three quarters or to twice the size, or (from 96 pixels on) to a half, or made 10% brighter.

Not found are mirrored or rotated copies, and tiny pictures (28 to 32 pixels) at half their size.
"""

import cv2
import numpy as np

# Several images are worked on at a time by threads of our own.
cv2.setNumThreads(1)

FINGERPRINT_BYTES = 32
# ours: between copies and different images, see above.
NEAR_DUPLICATE_BITS = 24
_SIDE, _LOW = 64, 16
# ours: an image whose greys span less has no picture that could be compared.
_FLATTEST = 8
# ours: pairs compared at a time; their intermediate results stay in the processor's cache.
_BLOCK = 2**16


def is_constant(grey: np.ndarray) -> bool:
    """Whether an image is all but of one grey.

    Args:
        grey: uint8 [H, W].
    """
    return int(grey.max()) - int(grey.min()) < _FLATTEST


def fingerprint(grey: np.ndarray) -> np.ndarray:
    """The perceptual hash of an image.

    Args:
        grey: uint8 [H, W].

    Returns:
        uint8 [32], 256 bits, of which the last is 0.
    """
    shrinks = min(grey.shape) > _SIDE
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=method)
    frequencies = cv2.dct(small.astype(np.float32))[:_LOW, :_LOW].ravel()[1:]
    return np.packbits(frequencies > np.median(frequencies))


def near_pairs(a: np.ndarray, b: np.ndarray | None, most: int) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of fingerprints that differ in so many bits or fewer.

    Args:
        a: uint8 [N, 32].
        b: uint8 [M, 32]; None for the pairs within `a`, each once.
        most: Bits; -1 for no pair.

    Returns:
        (int64 [K, 2], the indices in `a` and `b`, in order of the first and then the second;
        int64 [K], in how many bits they differ).
    """
    first = _words(a)
    second = first if b is None else _words(b)
    pairs, distances = [np.zeros((0, 2), np.int64)], [np.zeros(0, np.int64)]
    height = max(1, _BLOCK // max(second.shape[1], 1))
    for top in range(0, first.shape[1] if most >= 0 and second.shape[1] else 0, height):
        rows = first[:, top : top + height]
        # Within `a` a pair is looked at from its first member only.
        left = top if b is None else 0
        # The first 64 bits alone leave 2 of 100 unlike pairs for a second look, if most is 24.
        differing = np.bitwise_count(rows[0][:, None] ^ second[0, None, left:])
        i, j = np.divmod(np.flatnonzero(differing <= most), second.shape[1] - left)
        counts = differing[i, j].astype(np.int64)
        if b is None:
            later = j > i
            i, j, counts = i[later], j[later], counts[later]
        for word in range(1, len(first)):
            counts += np.bitwise_count(rows[word, i] ^ second[word, left + j])
            near = counts <= most
            i, j, counts = i[near], j[near], counts[near]
        pairs.append(np.stack([i + top, j + left], axis=1))
        distances.append(counts)
    return np.concatenate(pairs), np.concatenate(distances)


def _words(fingerprints: np.ndarray) -> np.ndarray:
    """uint64 [4, N]: the words of the fingerprints, the first of all together."""
    rows = np.ascontiguousarray(fingerprints, np.uint8).reshape(-1, FINGERPRINT_BYTES)
    return np.ascontiguousarray(rows.view(np.uint64).T)
